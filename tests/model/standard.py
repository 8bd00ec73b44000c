# SPDX-License-Identifier: Apache-2.0
"""What the standard says must happen: sessions, subscriptions, retained messages, wills, and for each session what it is to
receive. It is told what clients do once the broker has answered it, and judges every packet that a client receives.

Where the standard leaves a choice, any choice passes, except where Sluice has promised one: a session gets one copy of a
message however many of its subscriptions match; QoS 0 is not kept for who is away; kill -9 loses nothing acknowledged."""
import dataclasses
import time

LATE = 1.6  # s: how late the broker may be with what has its time; it counts in seconds


class Violation(AssertionError):
    pass


class Undecided(Exception):
    """Something was to happen about now: it may have happened or not."""


def require(holds, *words):
    if not holds:
        raise Violation(" ".join(str(w) for w in words))


def matches(pattern, topic):
    """§4.7"""
    p, t = pattern.split("/"), topic.split("/")
    if topic.startswith("$") and p[0] in ("+", "#"):
        return False
    for i, level in enumerate(p):
        if level == "#":
            return True
        if i >= len(t) or level not in ("+", t[i]):
            return False
    return len(p) == len(t)


@dataclasses.dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    props: tuple = ()  # what is passed on, in order
    publisher: str = ""
    expiry: int = 0
    born: float = dataclasses.field(default_factory=time.monotonic, compare=False)

    @property
    def alive(self):
        """May still be sent."""
        return not self.expiry or time.monotonic() < self.born + self.expiry + LATE

    @property
    def due(self):
        """Must be sent, once there is room."""
        return not self.expiry or time.monotonic() < self.born + self.expiry - 0.2

    def __repr__(self):
        return f"<{self.topic} {self.payload[:12]!r}{'…' if self.large else ''} qos {self.qos}{' retain' if self.retain else ''}>"

    @property
    def large(self):
        return len(self.payload) > 500


@dataclasses.dataclass(frozen=True)
class Subscription:
    pattern: str
    qos: int
    no_local: bool = False
    as_published: bool = False
    handling: int = 0
    ident: int = 0

    @property
    def share(self):
        return tuple(self.pattern.split("/", 2)[1:]) if self.pattern.startswith("$share/") else None

    def takes(self, topic):
        return matches(self.share[1] if self.share else self.pattern, topic)


@dataclasses.dataclass(eq=False)
class Expected:
    """A copy that a session is to receive."""
    message: Message
    qos: set           # those that are right, as are
    retain: set        # these flags, and
    idents: list       # these lists of identifiers
    required: bool = True
    may_be_dup: bool = False
    share: "Shared" = None
    replay: str = ""  # of what is retained, for a new subscription to this: it comes when there is room for it


@dataclasses.dataclass(eq=False)
class Shared:
    """A message to a shared subscription: one of the members gets it."""
    group: tuple
    message: Message
    required: bool
    subs: list  # (name of a session, its subscription) when it was published
    arrived: int = 0
    may_repeat: bool = False


@dataclasses.dataclass(eq=False)
class Flight:
    """What a client has received with a packet identifier and not yet done with."""
    expected: Expected
    qos: int
    retain: bool
    connection: int
    released: bool = False
    optional: bool = False  # it may never be sent again


@dataclasses.dataclass(eq=False)
class Will:
    message: Message
    delay: int


class Session:
    def __init__(self, name, expiry):
        self.name, self.expiry, self.durable = name, expiry, expiry > 0
        self.subscriptions, self.will = {}, None
        self.expected, self.flight, self.found = [], {}, {}
        self.acked, self.may_repeat = {}, {}  # identifiers of what is done; and after kill -9
        self.inbound = {}                     # QoS 2 identifiers that the broker holds -> message
        self.connected, self.connection, self.window, self.most = False, 0, 65535, 0
        self.since = 0.0  # when its connection went, or the broker came back

    def forget_qos0(self):
        """It is not kept for who is away; what is may have been sent before."""
        self.expected = [e for e in self.expected if e.qos != {0} or e.replay]
        for e in self.expected:
            e.may_be_dup, e.required = True, e.required and 0 not in e.qos

    def in_flight(self):
        return sum(f.connection == self.connection for f in self.flight.values())


class Standard:
    def __init__(self):
        self.sessions, self.retained, self.shared, self.count = {}, {}, [], 0

    # --- time ---

    @staticmethod
    def passed(since, seconds):
        """Has it come to pass?"""
        gone = time.monotonic() - since - seconds
        if -0.2 < gone < LATE:
            raise Undecided
        return gone > 0

    def advance(self):
        """Ends sessions and publishes wills whose time has come."""
        for s in [s for s in self.sessions.values() if not s.connected]:
            if s.will and s.will.delay < s.expiry and self.passed(s.since, s.will.delay):
                self.fire(s)
            if s.expiry < 0xffffffff and self.passed(s.since, s.expiry):
                self.end(s)
        for topic in [t for t, m in self.retained.items() if m.expiry and self.passed(m.born, m.expiry)]:
            del self.retained[topic]
        for s in self.sessions.values():
            for e in s.expected:
                e.required &= e.message.due
        for sh in self.shared:
            sh.required &= sh.message.due

    # --- what clients do ---

    def connect(self, name, clean, expiry, will, window, most):
        """Returns Session Present."""
        s = self.sessions.get(name)
        if s and s.connected:
            self.close(s, will=True)
            s = self.sessions.get(name)
        if s and clean:
            self.end(s)
            s = None
        present = s is not None
        if not s:
            s = self.sessions[name] = Session(name, expiry)
        self.count += 1
        s.expiry, s.will, s.connected, s.connection, s.window, s.most = expiry, will, True, self.count, window, most
        s.durable |= expiry > 0
        if most:
            self.leave_out(s)
        return present

    def leave_out(self, s):
        """What is larger than the client takes is as if it had been sent."""
        self.unsure(s, large=True)
        for e in s.expected:
            e.required &= not e.message.large
        for f in s.flight.values():
            f.optional |= f.expected.message.large

    def close(self, s, will, blind=False):
        """The connection is gone; will: without a proper DISCONNECT; blind: what was last sent may not have been received."""
        s.connected, s.since = False, time.monotonic()
        lost = [e.message for e in s.expected if e.required and e.qos == {0} and not e.replay]
        require(blind or not lost, s.name, "got no", lost)
        s.forget_qos0()
        if not will:
            s.will = None
        if not s.expiry:
            self.end(s)
        elif s.will and not s.will.delay:
            self.fire(s)

    def fire(self, s):
        will, s.will = s.will, None
        if will:
            self.publish(will.message)
        for sh in self.shared:  # nobody was told that it is on disk: a member may go before it is, and take it along
            sh.required &= not will or sh.message is not will.message

    def end(self, s):
        self.fire(s)
        del self.sessions[s.name]
        for sh in self.shares_of(s):
            if any(f.qos == 1 and f.expected.message == sh.message for f in s.flight.values()):
                sh.may_repeat = True  # another member may get it
        self.review_shares()

    def members(self, group):
        return [(s, sub) for s in self.sessions.values() for sub in s.subscriptions.values() if sub.share == group]

    def review_shares(self):
        """A message whose last members have gone is nobody's; nor is one that those who are left would lose."""
        for sh in self.shared:
            if not any(sub.qos and (s.durable or s.connected) for s, sub in self.members(sh.group)):
                sh.required = False

    def subscribe(self, s, sub):
        old = s.subscriptions.get(sub.pattern)
        s.subscriptions[sub.pattern] = sub
        for e in s.expected:  # what this filter had still to get, it gets by its new subscription
            e.required &= e.replay != sub.pattern
        if sub.share or sub.handling == 2 or (sub.handling == 1 and old):
            return
        for topic in [t for t in self.retained if sub.takes(t)]:
            m = self.retained[topic]
            own = sub.no_local and m.publisher == s.name
            self.expect(s, m, {min(m.qos, sub.qos)}, {True}, [[sub.ident] if sub.ident else []], not own, sub.pattern)

    def unsubscribe(self, s, pattern):
        """Was there something to unsubscribe?"""
        if pattern.startswith("$share/"):
            self.unsure(s)
        for e in s.expected:
            e.required &= e.replay != pattern
        return s.subscriptions.pop(pattern, None) is not None

    def publish(self, m):
        """Returns whether anybody is to receive it."""
        if m.retain:
            self.replace_retained(m.topic)
            if m.payload:
                self.retained[m.topic] = m
            else:
                self.retained.pop(m.topic, None)
        anybody, groups = False, {}
        for s in list(self.sessions.values()):
            subs = [x for x in s.subscriptions.values() if x.takes(m.topic)]
            for sub in subs:
                if sub.share:
                    groups.setdefault(sub.share, []).append((s, sub))
            anybody |= self.offer(s, m, [x for x in subs if not x.share])
        for group, members in groups.items():
            anybody |= self.offer_shared(group, members, m)
        return anybody

    def replace_retained(self, topic):
        """The one before need not be sent any more to who has not had room for it since he subscribed."""
        for s in self.sessions.values():
            for e in s.expected:
                e.required &= e.message.topic != topic or not e.replay

    def is_shared(self, topic):
        return any(x.share and x.takes(topic) for s in self.sessions.values() for x in s.subscriptions.values())

    def publish_again(self, m):
        """The broker may have had it before it was killed: at QoS 1 it may come twice, at QoS 0 to who is there only now."""
        for s in self.sessions.values():
            for e in s.expected:
                e.may_be_dup |= e.message is m
            subs = [x for x in s.subscriptions.values() if x.takes(m.topic)]
            if min([m.qos] + [max(x.qos for x in subs)] if subs else [2]) < 2:
                self.offer(s, m, subs, required=False)

    def offer(self, s, m, subs, required=True):
        own = s.name == m.publisher
        others = [x for x in subs if not (own and x.no_local)]
        if not others:
            return False
        qos = {min(m.qos, max(x.qos for x in some)) for some in (others, subs)}
        flags = {x.as_published and m.retain for x in subs}
        idents = [sorted(x.ident for x in some if x.ident) for some in (others, subs)]
        self.expect(s, m, qos, flags, idents, required)
        return True

    def expect(self, s, m, qos, flags, idents, required=True, replay=""):
        if not s.connected:
            required &= 0 not in qos
            qos = qos - {0}
        if not qos:
            return
        s.expected.append(Expected(m, qos, flags, idents, required and not (s.most and m.large), replay=replay))

    def offer_shared(self, group, members, m):
        able = [s for s, sub in members if s.connected or min(sub.qos, m.qos)]
        if not able:
            return False
        small = any(s.most and m.large for s, _ in members)
        sh = Shared(group, m, not small, [(s.name, sub) for s, sub in members])
        self.shared.append(sh)
        return True

    # --- what the broker sends ---

    def receive(self, s, topic, payload, qos, retain, dup, pid, props, version):
        """A PUBLISH. True when the application sees it (QoS 2: not a repeat)."""
        what = f"{s.name} got {topic} {payload[:20]!r} qos {qos} retain {retain} dup {dup} id {pid}:"
        if qos and pid in s.flight:
            self.receive_again(s, s.flight[pid], what, (topic, payload, qos, retain), dup)
            return False
        e = s.may_repeat.get(pid) if qos == 1 and dup else None
        if e and (e.message.topic, e.message.payload) == (topic, payload):
            del s.may_repeat[pid]
        else:
            e = self.find(s, what, topic, payload, qos, retain, props, version)
            require(e.message.alive or dup, what, "its time is over")
            require(not dup or e.may_be_dup, what, "DUP at the first sending")
        if qos:
            s.flight[pid] = Flight(e, qos, retain, s.connection)
            require(s.in_flight() <= s.window, what, "over the receive maximum", s.window)
        return True

    @staticmethod
    def receive_again(s, f, what, said, dup):
        m = f.expected.message
        require(f.connection != s.connection, what, "sent twice on one connection")
        require(dup, what, "a repeat without DUP")
        require(not f.released, what, "repeated after PUBREC was answered with PUBREL")
        require(said == (m.topic, m.payload, f.qos, f.retain), what, "identifier of", m, "which is not done")
        order = [x for x in s.flight.values() if x.connection != s.connection and not x.released and (x is f or not x.optional)]
        f.connection = s.connection
        require(s.in_flight() <= s.window, what, "over the receive maximum", s.window)
        require(order[0] is f or f.expected.share, what, "repeated before", order[0].expected.message)

    def find(self, s, what, topic, payload, qos, retain, props, version):
        same = [e for e in s.expected if e.message.topic == topic and e.message.payload == payload]
        fit = [e for e in same if qos in e.qos and retain in e.retain and self.props_fit(e, props, version)]
        if not fit:
            e = self.find_shared(s, topic, payload, qos, retain, props, version) or self.trade(s, payload, qos, retain, props, version)
            require(e, what, props, "not expected;", "but for", same if same else "nothing like it")
            return e
        e = max(fit, key=lambda x: (x.message.alive, x.required))  # the first of these
        for other in s.expected[:s.expected.index(e)]:
            if other.message.topic == topic and other.qos == {qos} and other.message.payload != payload and not other.replay:
                require(not other.required, what, "before", other.message)
        s.expected.remove(e)
        s.found[payload] = e
        return e

    def trade(self, s, payload, qos, retain, props, version):
        """This is the copy of the session's own, and what was taken for it had come through a share."""
        e = s.found.get(payload)
        if not e or qos not in e.qos or retain not in e.retain or not self.props_fit(e, props, version):
            return None
        for sh in self.shared:
            if sh.message == e.message and not sh.arrived and any(name == s.name for name, _ in sh.subs):
                sh.arrived += 1
                return dataclasses.replace(e, share=sh)
        return None

    def find_shared(self, s, topic, payload, qos, retain, props, version):
        of = [sh for sh in self.shared if (sh.message.topic, sh.message.payload) == (topic, payload)]
        for sh in sorted(of, key=lambda x: x.message.qos):  # two that forget what is retained look alike
            m = sh.message
            if (sh.arrived and not sh.may_repeat) or qos > m.qos or retain > m.retain:
                continue
            now = [(x.name, sub) for x, sub in self.members(sh.group)]  # it may have come from one who has gone
            idents = [[sub.ident] if sub.ident else [] for name, sub in sh.subs + now if name == s.name]
            e = Expected(m, {qos}, {retain}, idents, share=sh, may_be_dup=True)
            if idents and self.props_fit(e, props, version):
                sh.arrived += 1
                sh.may_repeat = False
                return e
        return None

    def shares_of(self, s):
        """Messages of which s may have the copy."""
        for sh in self.shared:
            if any(name == s.name for name, _ in sh.subs) or any(x is s for x, _ in self.members(sh.group)):
                yield sh

    def unsure(self, s, large=False):
        """What was on its way to s may be lost, as far as it is shared."""
        for sh in self.shares_of(s):
            sh.required &= large and not sh.message.large

    @staticmethod
    def props_fit(e, props, version):
        if version < 5:
            return True
        idents, expiry, passed = props
        if sorted(idents) not in e.idents or passed != e.message.props:
            return False
        return 0 < expiry <= e.message.expiry if e.message.expiry else expiry is None

    def release(self, s, pid):
        """A PUBREL."""
        f = s.flight.get(pid)
        if not f:
            require(pid in s.may_repeat, f"{s.name}: PUBREL {pid} of nothing that it holds")
            return
        require(f.qos == 2, f"{s.name}: PUBREL {pid} for QoS 1")
        f.released = True

    def done(self, s, pid):
        """The client sends PUBACK or PUBCOMP."""
        f = s.flight.pop(pid, None)
        if f:
            s.acked[pid] = f.expected

    # --- what befalls the broker ---

    def restart(self, killed):
        """Everything acknowledged was on disk. After kill -9 what clients acknowledged last may be sent again."""
        for s in list(self.sessions.values()):
            s.forget_qos0()
            if killed:
                s.may_repeat.update(s.acked)
            s.acked = {}
            self.replay_again(s)
        for sh in self.shared:
            sh.may_repeat |= sh.message.qos == 1
            if any(not s.durable for s, _ in self.members(sh.group)):
                sh.required = False
        were_connected = [s for s in self.sessions.values() if s.connected]
        for s in were_connected:
            s.connected = False
            if killed and not s.durable:
                s.will = None  # it is forgotten with its session
        for s in were_connected:
            self.close(s, will=True, blind=True)
        for s in self.sessions.values():
            s.since = time.monotonic()
        for s in self.sessions.values() if not killed else []:
            s.forget_qos0()  # wills were published while it stopped
        self.review_shares()

    def replay_again(self, s):
        """Retained messages of which some were still to be sent begin anew with the broker."""
        if any(e.replay for e in s.expected):
            for sub in s.subscriptions.values():
                for topic in [t for t in self.retained if sub.takes(t) and not sub.share]:
                    m = self.retained[topic]
                    self.expect(s, m, {min(m.qos, sub.qos)}, {True}, [[sub.ident] if sub.ident else []], False, sub.pattern)

    @staticmethod
    def owes(s):
        """Is there anything that s must still get?"""
        return any(e.required and e.message.due for e in s.expected) or any(not f.optional for f in s.flight.values())

    def missing(self):
        """What should have arrived and has not."""
        for s in self.sessions.values():
            for e in s.expected:
                if e.required and not e.message.topic.startswith("$sync"):
                    yield f"{s.name}: {e.message} at QoS {e.qos}"
            for pid, f in s.flight.items():
                if not f.optional:
                    yield f"{s.name}: {pid} of {f.expected.message} is not done"
        for sh in self.shared:
            if sh.required and not sh.arrived:
                yield f"{sh.group}: {sh.message}"

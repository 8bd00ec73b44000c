# SPDX-License-Identifier: Apache-2.0
"""Plays a sequence of actions (actions.py) to a running daemon with real connections, and tells the model (standard.py) what was
done and what came. One thing at a time: the answer of the broker is awaited before the next action, so that the model knows
the order in which the broker saw them."""
import random
import select
import socket
import time

import mqtt5
import raw
import standard
from mqtt5 import ALIAS, CONTENT_TYPE, CORRELATION, EXPIRY, FORMAT, RESPONSE_TOPIC, SUBSCRIPTION_ID, USER
from raw import CONNACK, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, UNSUBACK
from standard import Message, require

SERVER_WINDOW = 20  # limits.inflight of the daemon's configuration
CONF = f'limits = {{ inflight = {SERVER_WINDOW}; }}; health = {{ every = "0s"; }};'
SAID = [(FORMAT, 1), (CONTENT_TYPE, "text/plain"), (RESPONSE_TOPIC, "r/t"), (CORRELATION, b"\0c"), (USER, ("k", "v")),
        (USER, ("k", "w"))]


class Client:
    """One client identifier: its connection, what it owes, and its session in the model."""

    def __init__(self, player, name):
        self.player, self.name, self.wire, self.version = player, name, None, 4
        self.hold, self.owed, self.half, self.pid, self.aliases, self.given = False, [], {}, 0, {}, {}

    @property
    def session(self):
        return self.player.standard.sessions[self.name]

    # --- the wire ---

    def ready(self):
        return self.wire and (self.wire.kept or select.select([self.wire.sock], [], [], 0)[0])

    def poll(self):
        while self.ready():
            p = self.wire.read()
            require(p, f"{self.name}: closed by the broker")
            self.handle(p)

    def wait(self, kind, pid=None):
        """The answer; what comes before it is dealt with."""
        while True:
            p = self.wire.read()
            require(p, f"{self.name}: closed by the broker, which owed packet {kind}")
            if p.kind == kind and (pid is None or p.pid == pid):
                return p
            self.handle(p)

    def drain(self, blind=False):
        """Reads until the broker has closed; blind: as if nothing had arrived any more."""
        while p := self.wire.read():
            if p.kind != DISCONNECT and not blind:
                self.handle(p, answer=False)
        self.wire.close()
        self.wire = None

    def handle(self, p, answer=True):
        if p.kind == PUBLISH:
            for seen in self.player.tamper(p):
                self.on_publish(seen, answer)
        elif p.kind == PUBREL:
            self.player.standard.release(self.session, p.pid)
            self.owe(PUBCOMP, p.pid, answer)
        else:
            require(False, f"{self.name}: not due: {p}")

    def on_publish(self, p, answer):
        topic, props = self.topic_of(p), None
        if self.version == 5:
            own = [(i, v) for i, v in p.props if i not in (ALIAS, SUBSCRIPTION_ID, EXPIRY)]
            props = (p.all(SUBSCRIPTION_ID), p.get(EXPIRY), tuple(own))
        most = self.session.most
        require(not most or len(p.body) + 2 <= most, f"{self.name}: larger than its maximum packet size: {len(p.body)}")
        if topic.startswith("$sync/"):
            self.player.synced = True
            if p.qos:
                self.wire.send(raw.ack(PUBACK, p.pid))
            return
        self.player.standard.receive(self.session, topic, p.payload, p.qos, p.retain, p.dup, p.pid, props, self.version)
        if p.qos:
            self.owe(PUBACK if p.qos == 1 else PUBREC, p.pid, answer)

    def topic_of(self, p):
        alias = p.get(ALIAS) if self.version == 5 else None
        if alias is None:
            return p.topic
        require(0 < alias <= self.most_aliases, f"{self.name}: topic alias {alias} of {self.most_aliases}")
        if p.topic:
            self.aliases[alias] = p.topic
        require(alias in self.aliases, f"{self.name}: alias {alias} without a topic")
        return self.aliases[alias]

    def owe(self, kind, pid, answer):
        if answer and not self.hold:
            self.pay(kind, pid)
        elif answer:
            self.owed.append((kind, pid))

    def pay(self, kind, pid):
        self.wire.send(raw.ack(kind, pid))
        if kind != PUBREC:
            self.player.standard.done(self.session, pid)

    def pay_all(self):
        self.hold = False
        while self.owed:
            self.pay(*self.owed.pop(0))

    def next_pid(self):
        self.pid = self.pid % 60000 + 1
        return self.pid

    # --- what it does ---

    def connect(self, version, clean, expiry, will, window, most, aliases):
        s = self.player.standard
        if self.player.brief and expiry == 1000:
            expiry = 4
        expiry = expiry if version == 5 else 0 if clean else 0xffffffff
        window, most, aliases = (window, most, aliases) if version == 5 else (0, 0, 0)
        if will and will[3] and self.player.brief:
            will = (*will[:3], 2)
        message = will and Message(will[0], self.player.payload(8), will[1], will[2], (), self.name)
        wire = self.player.open(version)
        words = dict(clean=clean, keepalive=0, will=message and (message.topic, message.payload, message.qos, message.retain))
        if version == 5:
            pairs = [(mqtt5.SESSION_EXPIRY, expiry), (mqtt5.RECEIVE_MAXIMUM, window), (mqtt5.MAXIMUM_PACKET, most),
                     (mqtt5.ALIAS_MAXIMUM, aliases)]
            delay = [(mqtt5.WILL_DELAY, will[3])] if will and will[3] else []
            wire.send(mqtt5.connect(self.name, pairs=[x for x in pairs if x[1]], will_pairs=delay, **words))
        else:
            wire.send(raw.connect(self.name, level=version, name="MQTT" if version == 4 else "MQIsdp", **words))
        if self.wire:
            self.drain()
        self.wire, self.version, self.most_aliases = wire, version, aliases
        self.owed, self.aliases, self.given = [], {}, {}
        present = s.connect(self.name, clean, expiry, message and standard.Will(message, will[3] if version == 5 else 0),
                            min(window or 65535, SERVER_WINDOW), most)
        answer = self.wire.read()
        require(answer and answer.kind == CONNACK and answer.body[1] == 0, f"{self.name}: CONNECT refused: {answer}")
        if version > 3:
            require(bool(answer.body[0] & 1) == present, f"{self.name}: session present {answer.body[0]}, should be {present}")
        if not present:
            self.half = {}
        self.resend()

    def resend(self):
        """What it has sent with QoS 2 and not completed: PUBREL, or the PUBLISH once more."""
        for pid, (packet, received) in list(self.half.items()):
            if not received:
                self.wire.send(bytes([packet[0] | 8]) + packet[1:])
                self.wait(PUBREC, pid)
            self.half[pid] = (packet, True)

    def release(self, pid):
        del self.half[pid]
        self.wire.send(raw.ack(PUBREL, pid))
        self.wait(PUBCOMP, pid)

    def subscribe(self, filters, ident):
        pid, s, five = self.next_pid(), self.player.standard, self.version == 5
        filters = [f for f in filters if not (f[0].startswith("$share/") and f[2])]  # a protocol error
        if not filters:
            return
        options = [(p, q | nl << 2 | rap << 3 | rh << 4 if five else q) for p, q, nl, rap, rh in filters]
        self.wire.send(mqtt5.subscribe(pid, *options, pairs=[(SUBSCRIPTION_ID, ident)] if ident else []) if five
                       else raw.subscribe(pid, *options))
        for p, q, nl, rap, rh in filters:
            s.subscribe(self.session, standard.Subscription(p, q, nl and five, rap and five, rh if five else 0, ident if five else 0))
        answer = self.wait(SUBACK, pid)
        codes = answer.codes if five else list(answer.body[2:])
        require(codes == [f[1] for f in filters], f"{self.name}: SUBACK {codes} for {filters}")

    def unsubscribe(self, filters):
        pid, five = self.next_pid(), self.version == 5
        self.wire.send(mqtt5.unsubscribe(pid, *filters) if five else raw.unsubscribe(pid, *filters))
        were = [self.player.standard.unsubscribe(self.session, p) for p in filters]
        answer = self.wait(UNSUBACK, pid)
        if five:
            require(answer.codes == [0 if w else 0x11 for w in were], f"{self.name}: UNSUBACK {answer.codes} for {filters}")

    def message(self, topic, qos, retain, size, said):
        props, expiry = [], 0
        if self.version == 5:
            props = [x for i, x in enumerate(SAID) if said >> i & 1]
            expiry = 1000 if said % 8 == 7 else 3 if said & self.player.brief else 0
        return Message(topic, self.player.payload(size), qos, retain, tuple(props), self.name, expiry)

    def encode(self, m, pid, alias):
        if self.version < 5:
            return raw.publish(m.topic, m.payload, m.qos, pid, m.retain)
        pairs, topic = list(m.props) + [(EXPIRY, m.expiry)] * bool(m.expiry), m.topic
        if alias:
            number = 1 + sorted(self.player.topics).index(topic)
            pairs.append((ALIAS, number))
            topic = "" if self.given.get(number) else topic
            self.given[number] = True
        return mqtt5.publish(topic, m.payload, m.qos, pid, pairs, retain=m.retain)

    def publish(self, topic, qos, retain, size, said, how, alias):
        m, pid = self.message(topic, qos, retain, size, said), self.next_pid() if qos else None
        self.wire.send(self.encode(m, pid, alias and how == "whole"))
        anybody = self.player.standard.publish(m)
        if not qos:
            self.wire.send(raw.packet(PINGREQ))
            self.wait(PINGRESP)
            return
        answer = self.wait(PUBACK if qos == 1 else PUBREC, pid)
        if self.version == 5:
            require(answer.reason == 0 or (answer.reason == 0x10 and not anybody), f"{self.name}: {answer} though {anybody} receives")
        if qos == 2:
            packet = self.encode(m, pid, False)
            if how == "repeat":
                self.wire.send(bytes([packet[0] | 8]) + packet[1:])
                self.wait(PUBREC, pid)
            self.half[pid] = (packet, True)
            if how != "half":
                self.release(pid)

    def burst(self, topic, qos, count, size):
        """Without waiting for the answers one by one."""
        pids = []
        for _ in range(count):
            m = self.message(topic, qos, False, size, 0)
            pids.append(self.next_pid())
            self.wire.send(self.encode(m, pids[-1], False))
            self.player.standard.publish(m)
        for pid in pids:
            self.wait(PUBACK if qos == 1 else PUBREC, pid)
        if qos == 2:
            self.wire.send(*[raw.ack(PUBREL, pid) for pid in pids])
            for pid in pids:
                self.wait(PUBCOMP, pid)

    def disconnect(self, how):
        s, sess, expiry = self.player.standard, self.session, None
        self.poll()
        if how == "expire" and self.version == 5:
            expiry = 0
        elif how == "keep" and self.version == 5 and sess.expiry:
            expiry = 5 if self.player.brief else 2000
        if how in ("cut", "blind"):
            self.wire.sock.shutdown(socket.SHUT_WR)
        elif self.version < 5:
            self.wire.send(raw.packet(DISCONNECT))
        else:
            pairs = [(mqtt5.SESSION_EXPIRY, expiry)] if expiry is not None else None
            self.wire.send(mqtt5.disconnect(4 if how == "with will" else 0, pairs))
        self.drain(how == "blind")
        if how == "blind":
            s.unsure(sess)
        if expiry is not None:
            sess.expiry = expiry
        will = how in ("cut", "blind") or (how == "with will" and self.version == 5)
        s.close(sess, will, how == "blind")


class Player:
    """Plays to one daemon, one sequence after the other; each must leave it without sessions and retained messages."""

    def __init__(self, daemon, topics, patience=10, tamper=lambda p: [p]):
        """tamper: for the test of the test, makes of a PUBLISH those that the clients see."""
        self.daemon, self.topics, self.patience, self.tamper, self.serial = daemon, topics, patience, tamper, 0

    def open(self, version):
        return (mqtt5.Client if version == 5 else raw.Raw)(self.daemon.port, timeout=self.patience)

    def payload(self, size):
        self.serial += 1
        return (b"%d " % self.serial).ljust(size, b".") if size else b""

    def play(self, actions):
        self.standard, self.clients = standard.Standard(), {}
        self.brief = 16 if any(a[0] == "wait" for a in actions) else 0  # then what lasts long lasts some seconds
        self.control = raw.client(self.daemon.port, "control")
        try:
            for self.at, action in enumerate(actions):
                self.step(*action)
            self.at = "the end"
            self.finish()
        except TimeoutError as e:
            raise standard.Violation("no answer") from e
        finally:
            for c in self.clients.values():
                if c.wire:
                    c.wire.close()
            self.control.close()

    def step(self, kind, *args):
        self.standard.advance()
        if kind == "restart":
            self.restart(*args)
        elif kind == "wait":
            time.sleep(*args)
            self.standard.advance()
        else:
            name, *args = args
            c = self.clients.setdefault(name, Client(self, name))
            if kind == "connect" or c.wire:
                getattr(self, "on_" + kind)(c, *args)
        for c in self.clients.values():
            c.poll()

    def on_connect(self, c, *args):
        *args, c.hold = args
        c.connect(*args)

    def on_disconnect(self, c, how):
        c.disconnect(how)

    def on_subscribe(self, c, filters, ident):
        c.subscribe(filters, ident)

    def on_unsubscribe(self, c, filters):
        c.unsubscribe(filters)

    def on_publish(self, c, *args):
        c.publish(*args)

    def on_burst(self, c, *args):
        c.burst(*args)

    def on_hold(self, c, hold):
        c.hold = hold

    def on_ack(self, c, count, chance):
        """Of what it owes, some, in any order."""
        r = random.Random(chance)
        for _ in range(min(count, len(c.owed))):
            c.pay(*c.owed.pop(r.randrange(len(c.owed))))

    def on_release(self, c, chance):
        if c.half:
            c.release(random.Random(chance).choice(list(c.half)))

    # --- the broker goes and comes ---

    def barrier(self):
        """All that was done before is on disk: so is a retained message that is acknowledged."""
        self.control.send(raw.publish("$sync/barrier", self.payload(8), 1, 1, True))
        self.control.expect(PUBACK)

    def restart(self, how, name, topic, qos):
        for c in self.clients.values():
            c.poll()
        self.barrier()
        under_way = self.start_publish(name, topic, qos) if how == "under way" else None
        if how == "stop":
            self.daemon.stop()
        else:
            self.daemon.kill()
        for c in self.clients.values():
            if c.wire:
                c.drain(blind=True)
                self.standard.unsure(c.session)
        self.standard.restart(how != "stop")
        self.daemon.start()
        self.control = raw.client(self.daemon.port, "control")
        if under_way:
            self.finish_publish(*under_way)

    def start_publish(self, name, topic, qos):
        """Sends and does not wait."""
        c = self.clients.get(name)
        if not c or not c.wire or c.session.expiry < 1000 or self.standard.is_shared(topic):
            return None
        m, pid = c.message(topic, qos, False, 8, 0), c.next_pid()
        packet = c.encode(m, pid, False)
        c.wire.send(packet)
        return c, m, pid, packet

    def finish_publish(self, c, m, pid, packet):
        """The publisher does not know whether it came through, and sends it once more. Subscriptions are as they were."""
        self.standard.publish(m)
        c.connect(5 if c.version == 5 else 4, False, 1000, None, 0, 0, 0)
        self.standard.publish_again(m)
        c.wire.send(bytes([packet[0] | 8]) + packet[1:])
        c.wait(PUBACK if m.qos == 1 else PUBREC, pid)
        if m.qos == 2:
            c.half[pid] = (packet, True)

    # --- the end ---

    def finish(self):
        """Everybody whose session is there comes and takes all that waits; then nothing may be missing, nor anything left."""
        for name, s in list(self.standard.sessions.items()):
            c = self.clients[name]
            if not s.connected:
                c.connect(5 if c.version == 5 else 4, False, 1000, None, 0, 0, 0)
        for c in [c for c in self.clients.values() if c.wire] * 2:  # twice: what nobody insists on may come late
            self.settle(c)
        self.standard.advance()
        missing = list(self.standard.missing())
        require(not missing, "did not arrive:", missing)
        self.check_retained()
        self.clean()

    def settle(self, c):
        c.pay_all()
        for pid in list(c.half):
            c.release(pid)
        end = time.monotonic() + self.patience
        self.ask(c)
        while self.standard.owes(c.session) and time.monotonic() < end:
            self.ask(c)

    def ask(self, c):
        """A message to itself comes behind all others, but for retained ones; an answer to a ping behind every QoS 0."""
        topic, five = f"$sync/{c.name}", c.version == 5
        self.synced = False
        c.wire.send(mqtt5.subscribe(60001, (topic, 1)) if five else raw.subscribe(60001, (topic, 1)))
        c.wait(SUBACK, 60001)
        c.wire.send(mqtt5.publish(topic, b"", 1, 60002) if five else raw.publish(topic, b"", 1, 60002))
        c.wait(PUBACK, 60002)
        while not self.synced:
            p = c.wire.read()
            require(p, f"{c.name}: closed by the broker")
            c.handle(p)
        c.wire.send(raw.packet(PINGREQ))
        c.wait(PINGRESP)

    def check_retained(self):
        with raw.client(self.daemon.port, "look") as look:
            look.send(raw.packet(SUBSCRIBE, b"\0\1" + raw.text("#") + b"\2" + raw.text("$q/#") + b"\2"), raw.packet(PINGREQ))
            found, answered = {}, set()
            while len(answered) < 2 or len(found) < len(self.standard.retained):
                try:
                    p = look.read()
                except TimeoutError:
                    break
                if p.kind == PUBLISH:
                    found[p.topic] = (p.payload, p.qos, p.retain)
                    if p.qos:
                        look.send(raw.ack(PUBACK if p.qos == 1 else PUBREC, p.pid))
                elif p.kind == PUBREL:
                    look.send(raw.ack(PUBCOMP, p.pid))
                else:
                    answered.add(p.kind)
            want = {t: (m.payload, m.qos, True) for t, m in self.standard.retained.items()}
            require(found == want, "retained:", found, "should be", want)

    def clean(self):
        for c in self.clients.values():
            if c.wire:
                c.wire.send(raw.packet(DISCONNECT) if c.version < 5 else mqtt5.disconnect())
                c.wire.sock.shutdown(socket.SHUT_WR)
                while c.wire.read():
                    pass
                c.wire.close()
                c.wire = None
            raw.client(self.daemon.port, c.name).send(raw.packet(DISCONNECT))
        for topic in self.standard.retained:
            self.control.send(raw.publish(topic, b"", 0, None, True))
        self.control.quiet()

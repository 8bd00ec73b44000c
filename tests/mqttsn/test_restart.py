# SPDX-License-Identifier: Apache-2.0
"""kill -9 at every step of every flow: a mote goes on with the ids that it has, what was acknowledged is there, QoS 2
arrives once, sleepers get what waits for them."""
import mqttsn
import pytest
import raw
from mqttsn import DUP, WILL, encode
from test_flows import publish_qos

STEPS = 15
WAKE_STEPS = 8


class Fall:
    """Asks as a mote does, again until it is answered; kills the daemon at one step: when the question is out, or when
    the answer is in."""

    def __init__(self, site, mote, at, early):
        self.site, self.mote, self.at, self.early, self.step = site, mote, at, early, 0

    def ask(self, name, answer, **fields):
        self.step += 1
        data, tries = encode(name, **fields), 0
        while True:
            self.mote.raw(data)
            if self.step == self.at and self.early and not tries:
                self.site.crash()
            tries += 1
            try:
                got = self.mote.receive(timeout=2)
                assert got.name != "DISCONNECT" or answer == "DISCONNECT"
                while got.name != answer or (hasattr(got, "id") and got.id != fields.get("id", got.id)):
                    got = self.mote.receive(timeout=2)
                break
            except TimeoutError:
                assert tries < 10, f"{name} is not answered"
            if name in ("PUBLISH", "SUBSCRIBE"):
                data = data[:2] + bytes([data[2] | DUP]) + data[3:]
        if self.step == self.at and not self.early:
            self.site.crash()
        return got


def durable(s, *filters):
    with raw.client(s.port, "reader", clean=False) as c:
        c.send(raw.subscribe(1, *[(f, 2) for f in filters]))
        c.expect(raw.SUBACK)
        c.send(raw.packet(raw.DISCONNECT))


def read_all(s, last):
    """What the durable reader has, up to a payload."""
    got = []
    with raw.client(s.port, "reader", clean=False) as c:
        while not got or got[-1][1] != last:
            p = c.read()
            assert p is not None
            if p.kind == raw.PUBLISH:
                got.append((p.topic, p.payload, p.qos))
                c.send(raw.ack(raw.PUBACK if p.qos == 1 else raw.PUBREC, p.pid))
            elif p.kind == raw.PUBREL:
                c.send(raw.ack(raw.PUBCOMP, p.pid))
    return got


@pytest.mark.parametrize("early", [True, False], ids=["asked", "answered"])
@pytest.mark.parametrize("at", range(1, STEPS + 1))
def test_a_kill_at_every_step(site, at, early):
    s = site()
    durable(s, "t/#", "end")
    m = s.mote(timeout=30)
    f = Fall(s, m, at, early)
    f.ask("CONNECT", "WILLTOPICREQ", flags=WILL, protocol=1, duration=600, text="mote")
    try:
        f.ask("WILLTOPIC", "WILLMSGREQ", flags=0x20, text="t/will")
        assert f.ask("WILLMSG", "CONNACK", text="gone").code == 0
    except AssertionError:  # a mote whose handshake was cut short is told so, and begins anew
        m.connect(clean=False, will=("t/will", "gone"), qos=1, keepalive=600)
    f.step = 3
    a = f.ask("REGISTER", "REGACK", id=1, text="t/a").topic
    assert a
    assert f.ask("PUBLISH", "PUBACK", flags=0x20, topic=a, id=2, text=b"one").code == 0
    f.ask("PUBLISH", "PUBREC", flags=0x40, topic=a, id=3, text=b"two")
    f.ask("PUBREL", "PUBCOMP", id=3)
    assert f.ask("SUBSCRIBE", "SUBACK", flags=0x20, id=4, text="in/a").code == 0
    b = f.ask("REGISTER", "REGACK", id=5, text="t/b").topic
    assert b not in (0, a)
    assert f.ask("WILLMSGUPD", "WILLMSGRESP", text="gone again").code == 0
    f.ask("DISCONNECT", "DISCONNECT", duration=600)
    publish_qos(s.client("c1"), "in/a", b"wait", 1)
    f.ask("PUBLISH", "PUBACK", flags=0x20, topic=b, id=6, text=b"three")
    f.ask("PINGREQ", "PINGRESP")
    assert [p.text for p in m.wake()] == [b"wait"] and m.wake() == []
    f.ask("CONNECT", "CONNACK", protocol=1, duration=600, text="mote")
    f.ask("PUBLISH", "PUBACK", flags=0x20, topic=a, id=7, text=b"end")
    assert f.step == STEPS
    got = read_all(s, b"end")
    assert {t for t, p, _ in got if p in (b"one", b"two", b"end")} == {"t/a"} and ("t/b", b"three", 1) in got
    assert [p for _, p, q in got if q == 2] == [b"two"], got
    assert not [t for t, _, _ in got if t == "t/will"], "it never went away"


@pytest.mark.parametrize("early", [True, False], ids=["come", "answered"])
@pytest.mark.parametrize("at", range(1, WAKE_STEPS + 1))
def test_a_kill_at_every_step_of_a_wake(site, at, early):
    """What the mote has not acknowledged comes again; of QoS 2 it takes an identifier once."""
    s = site('retry = "1s";')
    m = s.mote(timeout=30).connect(clean=False)
    m.subscribe("in/#", qos=2)
    m.disconnect(600)
    c, sent = s.client("c1"), [b"0", b"1", b"2"]
    for i, qos in enumerate((1, 2, 2)):
        publish_qos(c, f"in/{min(i, 1)}", sent[i], qos, pid=i + 1)
    step, got, held, fell = 0, [], set(), False

    def fall(when):
        nonlocal fell
        if step == at and early == when and not fell:
            fell = True
            s.crash()
            m.send("PINGREQ", text="mote")

    m.send("PINGREQ", text="mote")
    while True:
        p = m.receive()
        step += 1
        fall(True)
        if p.name == "PINGRESP":
            fall(False)
            break
        if p.name == "REGISTER":
            m.send("REGACK", topic=p.topic, id=p.id)
        elif p.name == "PUBLISH" and p.qos == 1:
            got.append(p.text)
            m.send("PUBACK", topic=p.topic, id=p.id)
        elif p.name == "PUBLISH":
            if p.id not in held:
                got.append(p.text)
            held.add(p.id)
            m.send("PUBREC", id=p.id)
        else:
            assert p.name == "PUBREL"
            held.discard(p.id)
            m.send("PUBCOMP", id=p.id)
        fall(False)
    if at == WAKE_STEPS:
        got += [q.text for q in m.wake()]
    assert fell and got.count(b"1") == got.count(b"2") == 1 and b"0" in got, got
    assert m.wake() == []


def test_motes_go_on(site):
    """Active and asleep ones, at the same addresses, behind a forwarder too; a clean one is told."""
    s = site()
    active = s.mote("active", node=b"\x07").connect(clean=False)
    asleep = s.mote("asleep").connect(clean=False)
    clean = s.mote("clean").connect(clean=True)
    ids = {m: m.register(f"t/{m.name}") for m in (active, asleep, clean)}
    active.subscribe("in/a", qos=1)
    asleep.disconnect(600)
    for _ in range(2):
        s.crash()
        active.publish(ids[active], qos=1)
        active.ask("PINGREQ", "PINGRESP")
        assert asleep.wake() == []
    clean.send("PUBLISH", flags=0x20, topic=ids[clean], id=1, text=b"x")
    clean.receive("DISCONNECT")
    publish_qos(s.client(), "in/a", b"1", 1)
    active.take("1")
    assert set(s.motes()) == {"active", "asleep"}


def test_ids_outlive_absence(site):
    s = site()
    m = s.mote().connect(clean=False)
    ids = [m.register(f"t/{i}") for i in range(50)]
    m.disconnect()
    s.crash()
    m.connect(clean=False)
    durable(s, "t/#")
    m.publish(ids[17], b"1", qos=1)
    assert read_all(s, b"1")[0][0] == "t/17"
    m.disconnect()
    m.connect(clean=True)
    m.publish(ids[17], qos=1, code=mqttsn.INVALID_TOPIC_ID)


def test_the_silence_goes_on(site):
    """A mote that stays away after the restart is lost, and its will is published once."""
    s = site()
    m = s.mote().connect(clean=False, will=("w", "gone"), keepalive=2, qos=1)
    durable(s, "w")
    s.crash()
    mqttsn.until(lambda: not s.motes())
    publish_qos(s.client(), "w", b"end", 1)
    assert [p for _, p, _ in read_all(s, b"end")] == [b"gone", b"end"]
    m.send("PINGREQ")
    m.receive("DISCONNECT")


def test_a_will_at_rest_stays_at_rest(site):
    s = site()
    m = s.mote().connect(clean=False, will=("w", "gone"), qos=1)
    m.disconnect()
    durable(s, "w")
    s.crash()
    m.connect(clean=False, keepalive=1)
    assert read_all(s, b"gone") == [("w", b"gone", 1)]


def test_stop_and_start(site):
    """SIGTERM under load: what was acknowledged is there."""
    s = site()
    durable(s, "t/#")
    m = s.mote(timeout=5).connect(clean=False)
    topic, last = m.register("t/a"), 0
    s.process.terminate()
    try:
        for i in range(1, 20000):
            m.publish(topic, b"%d" % i, qos=1)
            last = i
    except TimeoutError:
        pass
    assert s.process.wait(10) == 0
    s.start()
    m.publish(topic, b"end", qos=1, dup=True)
    got = [p for _, p, _ in read_all(s, b"end")]
    assert {b"%d" % i for i in range(1, last + 1)} <= set(got)

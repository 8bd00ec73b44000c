# SPDX-License-Identifier: Apache-2.0
"""MQTT-SN 1.2 §6.14: sleepers, what waits for them, and where they wake."""
import mqttsn
import pytest
import raw
from test_flows import publish_qos, received


def asleep(s, name="mote", duration=60, clean=False, filters=("a/#",), qos=1, **more):
    m = s.mote(name, **more).connect(clean=clean)
    for f in filters:
        m.subscribe(f, qos=qos)
    m.disconnect(duration)
    return m


@pytest.mark.parametrize("clean", [False, True])
def test_wakes_for_what_waits(site, clean):
    s = site()
    m, c = asleep(s, clean=clean), s.client()
    for i in range(5):
        publish_qos(c, f"a/{i % 2}", b"%d" % i, 1, pid=i + 1)
    assert s.motes()["mote"]["state"] == "asleep" and s.motes()["mote"]["queue"] == 5
    m.silent(0.3)
    assert [p.text for p in m.wake()] == [b"%d" % i for i in range(5)]
    assert m.wake() == []
    publish_qos(c, "a/1", b"later", 1)
    m.silent(0.3)
    assert [p.text for p in m.wake()] == [b"later"]


def test_pingresp_after_the_last_ack(site):
    s = site()
    m, c = asleep(s), s.client()
    publish_qos(c, "a/1", b"1", 1)
    m.send("PINGREQ", text="mote")
    r = m.receive("REGISTER")
    m.send("REGACK", topic=r.topic, id=r.id)
    p = m.receive("PUBLISH")
    m.silent(0.4)
    m.send("PUBACK", topic=p.topic, id=p.id)
    m.receive("PINGRESP")


def test_sleeper_that_does_not_answer_sleeps_on(site):
    """Its messages stay."""
    s = site('retry = "1s"; retries = 1;')
    m, c = asleep(s), s.client()
    publish_qos(c, "a/1", b"1", 1)
    m.send("PINGREQ", text="mote")
    m.receive("REGISTER")
    m.receive("REGISTER")
    mqttsn.until(lambda: s.motes()["mote"]["state"] == "asleep")
    m.silent(0.5)
    got = m.wake()
    assert [p.text for p in got] == [b"1"]


def test_half_acknowledged(site):
    """What was acknowledged does not come again, the rest does, in order, with DUP for what had gone out."""
    s = site('retries = 0; retry = "1s";')
    m, c = asleep(s, qos=2), s.client()
    for i in range(3):
        publish_qos(c, "a/1", b"%d" % i, 2, pid=i + 1)
    m.send("PINGREQ", text="mote")
    m.take("0")
    m.receive("PUBLISH")
    mqttsn.until(lambda: s.motes()["mote"]["state"] == "asleep")
    got = m.wake()
    assert [(p.text, p.dup) for p in got] == [(b"1", True), (b"2", False)]


def test_messages_a_wake(site):
    s = site("wake_messages = 2;")
    m, c = asleep(s), s.client()
    for i in range(5):
        publish_qos(c, "a/1", b"%d" % i, 1, pid=i + 1)
    assert [[int(p.text) for p in m.wake()] for _ in range(4)] == [[0, 1], [2, 3], [4], []]


def test_qos_0_waits_too(site):
    """A few; the oldest gives way."""
    s = site("queue_qos0 = 3;")
    m, c = asleep(s, qos=0), s.client()
    for i in range(5):
        publish_qos(c, "a/1", b"%d" % i, 0)
    publish_qos(c, "b", b"", 1)
    assert [p.text for p in m.wake()] == [b"2", b"3", b"4"]
    assert s.line()["dropped_qos0"] == 2


@pytest.mark.parametrize("full,left", [("drop-oldest", [2, 3, 4]), ("drop-newest", [0, 1, 2])])
def test_queue_that_overflows(site, full, left):
    s = site(f'queue_messages = 3; queue_full = "{full}";')
    m, c = asleep(s), s.client()
    for i in range(5):
        publish_qos(c, "a/1", b"%d" % i, 1, pid=i + 1)
    assert s.motes()["mote"]["dropped"] == 2
    assert [int(p.text) for p in m.wake()] == left


def test_queue_that_refuses(site):
    """The publisher knows: a mote is told "congestion"."""
    s = site('queue_messages = 2; queue_full = "refuse";')
    m, other = asleep(s), s.mote("other").connect()
    topic = other.register("a/1")
    for _ in range(2):
        other.publish(topic, qos=1)
    other.publish(topic, qos=1, code=mqttsn.CONGESTION)
    other.publish(topic, qos=2, code=mqttsn.CONGESTION)
    assert len(m.wake()) == 2


def test_supervision(site):
    """A sleeper that does not wake within one and a half times its duration is lost, and its will is published."""
    s = site()
    seen = s.watcher("w")
    m = s.mote().connect(will=("w", "gone"), keepalive=1)
    m.disconnect(2)
    m.silent(2)  # beyond the keepalive, which does not hold while it sleeps
    assert m.wake() == []
    m.silent(2)
    assert m.wake() == []
    assert received(seen).payload == b"gone"
    m.send("PINGREQ", text="mote")
    m.receive("DISCONNECT")


def test_duration_changes(site):
    s = site()
    m = asleep(s, duration=1)
    m.disconnect(60)
    m.disconnect(60)  # the answer was lost
    m.silent(3)
    assert s.motes()["mote"]["state"] == "asleep"
    m.disconnect(0)
    assert not s.motes()


def test_ping_without_id(site):
    """It says only that it lives."""
    s = site()
    m = asleep(s, duration=2)
    publish_qos(s.client(), "a/1", b"1", 1)
    for _ in range(4):
        m.silent(1)
        m.ask("PINGREQ", "PINGRESP")
    assert [p.text for p in m.wake()] == [b"1"]


def test_wakes_elsewhere(site):
    """PINGREQ with its id from another address moves the mote; what is left behind is unknown there."""
    s = site()
    m = asleep(s)
    other = s.mote("other").connect()
    publish_qos(s.client(), "a/1", b"1", 1)
    m.move()
    assert [p.text for p in m.wake()] == [b"1"]
    assert s.line()["moved"] == 1
    other.send("PINGREQ", text="mote")  # somebody else is at that address
    other.receive("DISCONNECT")
    other.ask("PINGREQ", "PINGRESP")


def test_connect_while_asleep(site):
    s = site()
    m, c = asleep(s), s.client()
    publish_qos(c, "a/1", b"1", 1)
    m.connect(clean=False)
    m.take("1")
    m.disconnect(60)
    publish_qos(c, "a/1", b"2", 1)
    m.connect(clean=True)
    m.silent(0.3)
    publish_qos(c, "a/1", b"3", 1)
    m.silent(0.3)


def test_qos_0_survives_connect(site):
    s = site()
    m, c = asleep(s, qos=0), s.client()
    publish_qos(c, "a/1", b"1", 0)
    publish_qos(c, "b", b"", 1)
    m.connect(clean=False)
    m.take("1")


def test_publishes_while_asleep(site):
    s = site()
    seen = s.watcher("b")
    m = s.mote().connect(clean=False)
    topic = m.register("b")
    m.disconnect(60)
    m.publish(topic, b"1", qos=1)
    assert received(seen).payload == b"1" and s.motes()["mote"]["state"] == "asleep"


def test_sleeper_loses_its_place(site):
    """Another mote is at its address now: it sleeps on and wakes elsewhere."""
    s = site()
    m = asleep(s)
    publish_qos(s.client(), "a/1", b"1", 1)
    m.name = "second"
    m.connect()
    late = s.mote("mote")
    assert [p.text for p in late.wake()] == [b"1"]
    m.ask("PINGREQ", "PINGRESP")

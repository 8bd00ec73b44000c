# SPDX-License-Identifier: Apache-2.0
"""The broker by hand-made MQTT 3.1.1 packets. Statements are those of MQTT 3.1.1 unless said otherwise."""
import os
import time

import pytest
import raw
from daemon import Sluiced, wait_for
from raw import (CONNACK, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK, Raw, ack,
                 client, connect, packet, publish, subscribe, unsubscribe)


def test_qos0_to_all_who_match(sluiced):
    a, b, c = client(sluiced.port, "a"), client(sluiced.port, "b"), client(sluiced.port, "c")
    for i, (who, filter) in enumerate([(a, "x/+"), (b, "x/#"), (c, "y")]):
        who.send(subscribe(7, filter))
        assert who.expect(SUBACK).body == b"\0\7\0"
    a.send(publish("x/1", "hello"))
    for who in (a, b):
        p = who.expect(PUBLISH)
        assert (p.topic, p.payload, p.qos, p.retain) == ("x/1", b"hello", 0, False)
    c.quiet()


@pytest.mark.parametrize("filter,topic,match", [
    ("a/+/c", "a/b/c", True), ("a/+/c", "a/b/d", False), ("a/#", "a", True), ("#", "a/b", True), ("+", "/x", False),
    ("+/+", "/x", True), ("/+", "/x", True), ("#", "$own/x", False), ("+/x", "$own/x", False), ("$own/#", "$own/x", True),
    ("a/+", "a/", True), ("a/+/", "a/b", False), ("a//b", "a//b", True), ("a/+/b", "a//b", True)])
def test_wildcards(sluiced, filter, topic, match):
    """[MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.2-1]"""
    c = client(sluiced.port)
    c.send(subscribe(1, filter))
    c.expect(SUBACK)
    c.send(publish(topic, "m"))
    if match:
        assert c.expect(PUBLISH).topic == topic
    c.quiet()


def test_overlapping_subscriptions_give_one_copy_at_the_highest_qos(sluiced):
    """[MQTT-3.3.5-1]"""
    c = client(sluiced.port)
    c.send(subscribe(1, ("a/#", 0), ("a/+", 2), ("a/b", 1)))
    assert c.expect(SUBACK).body == b"\0\1\0\2\1"
    c.send(publish("a/b", "m", qos=2, pid=9))
    kinds = {}
    for _ in range(2):
        p = c.read()
        kinds[p.kind] = p
    assert kinds[PUBREC].pid == 9 and kinds[PUBLISH].qos == 2
    c.quiet()


def test_qos1_both_ways(sluiced):
    """[MQTT-4.3.2-1], [MQTT-4.3.2-2]"""
    s, p = client(sluiced.port, "s"), client(sluiced.port, "p")
    s.send(subscribe(1, ("t", 1)))
    s.expect(SUBACK)
    for i in range(1, 6):
        p.send(publish("t", f"{i}", qos=1, pid=i))
        assert p.expect(PUBACK).pid == i
        got = s.expect(PUBLISH)
        assert (got.payload, got.qos, got.dup) == (b"%d" % i, 1, False)
        s.send(ack(PUBACK, got.pid))
    s.quiet()


def test_qos2_both_ways_and_repeats(sluiced):
    """[MQTT-4.3.3-1], [MQTT-4.3.3-2]: the same identifier before PUBREL is not passed on again."""
    s, p = client(sluiced.port, "s"), client(sluiced.port, "p")
    s.send(subscribe(1, ("t", 2)))
    s.expect(SUBACK)
    p.send(publish("t", "once", qos=2, pid=77))
    assert p.expect(PUBREC).pid == 77
    p.send(publish("t", "once", qos=2, pid=77, dup=True))
    assert p.expect(PUBREC).pid == 77
    p.send(ack(PUBREL, 77))
    assert p.expect(PUBCOMP).pid == 77
    p.send(ack(PUBREL, 77))
    assert p.expect(PUBCOMP).pid == 77
    got = s.expect(PUBLISH)
    assert (got.payload, got.qos) == (b"once", 2)
    s.quiet()
    s.send(ack(PUBREC, got.pid))
    assert s.expect(PUBREL).pid == got.pid
    s.send(ack(PUBREC, got.pid))  # repeated: answered again
    assert s.expect(PUBREL).pid == got.pid
    s.send(ack(PUBCOMP, got.pid))
    s.quiet()
    p.send(publish("t", "again", qos=2, pid=77))  # free again after PUBCOMP
    p.expect(PUBREC)
    assert s.expect(PUBLISH).payload == b"again"


def test_persistent_session_queues_and_resends(sluiced):
    """[MQTT-3.1.2-4], [MQTT-3.2.2-2], [MQTT-4.4.0-1], [MQTT-4.6.0-1], [MQTT-4.6.0-3]"""
    s = client(sluiced.port, "s", clean=False)
    assert not s.session_present
    s.send(subscribe(1, ("t", 2)))
    s.expect(SUBACK)
    p = client(sluiced.port, "p")
    p.send(publish("t", "first", qos=1, pid=1), publish("t", "second", qos=2, pid=2))
    p.expect(PUBACK), p.expect(PUBREC)
    first, second = s.expect(PUBLISH), s.expect(PUBLISH)
    s.send(ack(PUBREC, second.pid))
    s.expect(PUBREL)
    s.close()
    p.send(publish("t", "third", qos=1, pid=3), publish("t", "unqueued", qos=0))
    p.expect(PUBACK)
    s = client(sluiced.port, "s", clean=False)
    assert s.session_present
    again = s.expect(PUBLISH)
    assert (again.payload, again.pid, again.dup) == (b"first", first.pid, True)
    assert s.expect(PUBREL).pid == second.pid
    third = s.expect(PUBLISH)
    assert (third.payload, third.dup) == (b"third", False)
    s.send(ack(PUBACK, again.pid), ack(PUBCOMP, second.pid), ack(PUBACK, third.pid))
    s.quiet()
    s.close()
    s = client(sluiced.port, "s", clean=False)
    assert s.session_present
    s.quiet()
    s.close()
    s = client(sluiced.port, "s", clean=True)  # [MQTT-3.1.2-6]
    assert not s.session_present
    s.close()
    s = client(sluiced.port, "s", clean=False)
    assert not s.session_present
    p.send(publish("t", "nobody", qos=1, pid=4))
    p.expect(PUBACK)
    s.quiet()


def test_sessions_survive_kill(tmp_path):
    """Acknowledged means on disk: subscription, queue and both QoS 2 directions after kill -9."""
    d = Sluiced(tmp_path).start()
    s = client(d.port, "s", clean=False)
    s.send(subscribe(1, ("t/#", 2)))
    s.expect(SUBACK)
    p = client(d.port, "p", clean=False)
    p.send(publish("t/1", "one", qos=2, pid=1), publish("t/2", "two", qos=1, pid=2))
    p.expect(PUBREC), p.expect(PUBACK)
    one, two = s.expect(PUBLISH), s.expect(PUBLISH)
    s.send(ack(PUBREC, one.pid))
    assert s.expect(PUBREL).pid == one.pid
    s.close()
    p.send(publish("t/3", "three", qos=1, pid=3))
    p.expect(PUBACK)
    d.kill()
    d.start()
    s = client(d.port, "s", clean=False)
    assert s.session_present
    assert s.expect(PUBREL).pid == one.pid
    got = s.expect(PUBLISH)
    assert (got.payload, got.pid, got.dup) == (b"two", two.pid, True)
    got = s.expect(PUBLISH)
    assert got.payload == b"three"
    p = client(d.port, "p", clean=False)
    assert p.session_present
    p.send(publish("t/1", "one", qos=2, pid=1, dup=True))  # identifier 1 was not released: no second copy
    assert p.expect(PUBREC).pid == 1
    p.send(ack(PUBREL, 1))
    p.expect(PUBCOMP)
    s.quiet()
    assert d.stop() == 0


def test_retained(tmp_path):
    """[MQTT-3.3.1-5] to [MQTT-3.3.1-9], [MQTT-3.8.4-3], and after kill -9"""
    d = Sluiced(tmp_path).start()
    p = client(d.port, "p")
    p.send(publish("r/a", "old", retain=True), publish("r/a", "new", qos=1, pid=1, retain=True),
           publish("r/b", "gone", retain=True), publish("r/b", "", qos=1, pid=2, retain=True),
           publish("r/big", b"x" * 70000, qos=1, pid=3, retain=True))
    for i in (1, 2, 3):
        assert p.expect(PUBACK).pid == i
    for kill in (False, True):
        if kill:
            d.kill()
            d.start()
        s = client(d.port, "s")
        s.send(subscribe(1, ("r/+", 1)))
        got = {}
        while len(got) < 3:
            x = s.read()
            got[x.kind if x.kind == SUBACK else x.topic] = x
        assert set(got) == {SUBACK, "r/a", "r/big"}
        assert (got["r/a"].payload, got["r/a"].retain, got["r/a"].qos) == (b"new", True, 1)
        assert got["r/big"].payload == b"x" * 70000
        s.send(publish("r/a", "live", retain=True))
        live = s.expect(PUBLISH)
        assert (live.payload, live.retain) == (b"live", False)
        s.send(publish("r/a", "new", retain=True))
        s.expect(PUBLISH)
        s.quiet()
        s.close()
    assert d.stop() == 0


def test_will(sluiced):
    """[MQTT-3.1.2-8], [MQTT-3.1.2-10]"""
    s = client(sluiced.port, "s")
    s.send(subscribe(1, ("w/#", 1)))
    s.expect(SUBACK)
    client(sluiced.port, "a", will=("w/a", "lost", 1, True)).close()
    got = s.expect(PUBLISH)
    assert (got.topic, got.payload, got.qos, got.retain) == ("w/a", b"lost", 1, False)
    s.send(ack(PUBACK, got.pid))
    b = client(sluiced.port, "b", will=("w/b", "lost", 0, False))
    b.send(packet(raw.DISCONNECT))
    assert b.closed()
    s.quiet()
    late = client(sluiced.port, "late")
    late.send(subscribe(1, "w/#"))
    seen = [late.read(), late.read()]
    assert any(x.kind == PUBLISH and x.retain and x.payload == b"lost" for x in seen)


def test_will_of_a_durable_session_survives_kill(tmp_path):
    d = Sluiced(tmp_path).start()
    s = client(d.port, "s", clean=False)
    s.send(subscribe(1, ("w/#", 1)))
    s.expect(SUBACK)
    client(d.port, "w", clean=False, will=("w/x", "lost", 1, False))
    d.kill()
    d.start()
    s = client(d.port, "s", clean=False)
    assert s.expect(PUBLISH).payload == b"lost"
    assert d.stop() == 0


def test_take_over(sluiced):
    """[MQTT-3.1.4-2]"""
    a = client(sluiced.port, "same")
    b = client(sluiced.port, "same")
    assert a.closed()
    b.quiet()


def test_keepalive(sluiced):
    """[MQTT-3.1.2-24]"""
    a, b = client(sluiced.port, "a", keepalive=1), client(sluiced.port, "b", keepalive=0)
    assert a.closed()
    b.quiet()


def test_unsubscribe(sluiced):
    """[MQTT-3.10.4-2], [MQTT-3.10.4-5]"""
    c = client(sluiced.port)
    c.send(subscribe(1, ("a", 1), "b"))
    c.expect(SUBACK)
    c.send(unsubscribe(2, "a", "never"))
    assert c.expect(UNSUBACK).pid == 2
    c.send(publish("a", "x"), publish("b", "y"))
    assert c.expect(PUBLISH).topic == "b"
    c.quiet()


def test_durable_session_is_answered_when_nothing_changes(sluiced):
    """An answer that waits for the disk leaves although there is nothing to write."""
    c = client(sluiced.port, "d", clean=False)
    for _ in range(2):
        c.send(subscribe(1, ("a", 1)))
        c.expect(SUBACK)
    for _ in range(2):
        c.send(unsubscribe(2, "a"))
        c.expect(UNSUBACK)
    for _ in range(2):
        c.send(publish("nobody", "x", qos=2, pid=5))
        c.expect(PUBREC)
    for _ in range(2):
        c.send(ack(PUBREL, 5))
        c.expect(PUBCOMP)


def test_inflight_window(tmp_path):
    d = Sluiced(tmp_path, "limits = { inflight = 3; };").start()
    s, p = client(d.port, "s"), client(d.port, "p")
    s.send(subscribe(1, ("t", 1)))
    s.expect(SUBACK)
    for i in range(1, 11):
        p.send(publish("t", f"{i}", qos=1, pid=i))
    for i in range(1, 11):
        p.expect(PUBACK)
    window = [s.expect(PUBLISH) for _ in range(3)]
    s.quiet()
    for i in range(4, 11):
        s.send(ack(PUBACK, window.pop(0).pid))
        window.append(s.expect(PUBLISH))
        assert window[-1].payload == b"%d" % i
    s.quiet()
    assert d.stop() == 0


def test_queue_limit_drops_oldest_and_counts(tmp_path):
    d = Sluiced(tmp_path, "limits = { queue_messages = 5; };").start()
    s = client(d.port, "s", clean=False)
    s.send(subscribe(1, ("t", 1)))
    s.expect(SUBACK)
    s.send(packet(raw.DISCONNECT))
    assert s.closed()
    p = client(d.port, "p")
    for i in range(20):
        p.send(publish("t", f"{i}", qos=1, pid=i + 1))
        p.expect(PUBACK)
    s = client(d.port, "s", clean=False)
    assert [s.expect(PUBLISH).payload for _ in range(5)] == [b"%d" % i for i in range(15, 20)]
    s.quiet()
    assert d.stop() == 0


# --- bad input: closed, and everybody else goes on -----------------------------------------------------------------

@pytest.mark.parametrize("level,code", [(2, 1), (6, None), (255, None)])
def test_unknown_version(sluiced, level, code):
    """[MQTT-3.1.2-2]"""
    c = Raw(sluiced.port, connect(level=level))
    p = c.expect(CONNACK)
    assert p.body[1] == (code or 0x84)
    assert c.closed()


def test_empty_client_id(sluiced):
    """[MQTT-3.1.3-7], [MQTT-3.1.3-8]"""
    client(sluiced.port, "", clean=True).quiet()
    c = Raw(sluiced.port, connect("", clean=False))
    assert c.expect(CONNACK).body == b"\0\2"
    assert c.closed()


def test_one_byte_at_a_time(sluiced):
    c = Raw(sluiced.port)
    for byte in connect("slow") + subscribe(1, "t") + publish("t", "m"):
        c.send(bytes([byte]))
    assert [c.read().kind for _ in range(3)] == [CONNACK, SUBACK, PUBLISH]


def test_connect_never_comes(tmp_path):
    d = Sluiced(tmp_path, 'limits = { connect_timeout = "1s"; };').start()
    assert Raw(d.port).closed()
    assert Raw(d.port, connect()[:5]).closed()
    assert d.stop() == 0


def test_reader_that_stops_reading(tmp_path):
    """Others go on; what waits for it stays within limits.reader_backlog."""
    d = Sluiced(tmp_path, 'limits = { reader_backlog = "256k"; };').start()
    lazy, s, p = client(d.port, "lazy"), client(d.port, "s"), client(d.port, "p")
    lazy.send(subscribe(1, "t"))
    lazy.expect(SUBACK)
    s.send(subscribe(1, "t"))
    s.expect(SUBACK)
    before = d.memory_kb("VmRSS")
    for i in range(400):
        p.send(publish("t", b"z" * 100000))
        assert len(s.expect(PUBLISH).payload) == 100000
    if not os.environ.get("SLUICE_VARIANT"):  # sanitizers keep what was freed
        assert d.memory_kb("VmRSS") - before < 8000
    lazy.sock.settimeout(5)
    assert lazy.expect(PUBLISH).payload == b"z" * 100000
    assert d.stop() == 0


def test_too_many_clients(tmp_path):
    d = Sluiced(tmp_path, "limits = { clients = 3; };").start()
    three = [client(d.port, f"c{i}") for i in range(3)]
    assert Raw(d.port, connect("four")).expect(CONNACK).body == b"\0\3"
    three[0].close()
    wait_for(lambda: Raw(d.port, connect("five")).read().body == b"\0\0", what="a free place")
    three[1].quiet()
    assert d.stop() == 0


def test_stops_within_two_seconds_with_clients(sluiced):
    held = [client(sluiced.port, f"c{i}") for i in range(20)]
    start = time.monotonic()
    assert sluiced.stop() == 0
    assert "did not end in time" not in sluiced.log()
    assert all(c.closed() for c in held), time.monotonic() - start


def test_memory_queue_of_a_reader_that_never_acknowledges(tmp_path):
    """QoS 1 to a session without a disk: bounded by limits.reader_backlog, the oldest give way, in-flight ones do not."""
    d = Sluiced(tmp_path, 'limits = { reader_backlog = "64k"; inflight = 2; };').start()
    s, p = client(d.port, "s"), client(d.port, "p")
    s.send(subscribe(1, ("t", 1)))
    s.expect(SUBACK)
    for i in range(300):
        p.send(publish("t", b"%03d" % i + b"." * 1000, qos=1, pid=i + 1))
        p.expect(PUBACK)
    got = [s.expect(PUBLISH), s.expect(PUBLISH)]
    assert [x.payload[:3] for x in got] == [b"000", b"001"]
    s.quiet()
    seen = []
    while got:
        s.send(ack(PUBACK, got.pop(0).pid))
        if not seen or seen[-1] != b"299":
            got.append(s.expect(PUBLISH))
            seen.append(got[-1].payload[:3])
    assert 40 <= len(seen) <= 64 and seen == [b"%03d" % i for i in range(300 - len(seen), 300)]
    assert d.stop() == 0

# SPDX-License-Identifier: Apache-2.0
"""Retained messages by the hundred thousand: kept, replayed whole to whoever subscribes as fast as he reads, there again after a
restart; and nobody else waits meanwhile (statements of MQTT 3.1.1)."""
import os

import pytest
from daemon import Sluiced
from raw import PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, ack, client, packet, publish, subscribe, unsubscribe

COUNT = 100000
SANITIZED = bool(os.environ.get("SLUICE_VARIANT"))  # they keep what was freed


def topic(i):
    return f"plant/{i % 100}/{i}/reading"


def fill(port, count, qos=1, size=64):
    with client(port, "fill") as p:
        for first in range(0, count, 1000):
            p.send(*[publish(topic(i), b"%06d" % i + b"." * (size - 6), qos, i % 1000 + 1, retain=True)
                     for i in range(first, first + 1000)])
            for _ in range(1000 if qos else 0):
                p.expect(PUBACK if qos == 1 else PUBREC)
            if qos == 2:
                p.send(*[ack(PUBREL, pid) for pid in range(1, 1001)])
                for _ in range(1000):
                    p.expect(PUBCOMP)
        p.quiet()


def take(c, count, acknowledge=True):
    """The numbers of so many retained messages; each is acknowledged."""
    got = []
    while len(got) < count:
        p = c.read()
        if p.kind == PUBREL:
            c.send(ack(PUBCOMP, p.pid))
        if p.kind != PUBLISH:
            continue
        assert p.retain and p.topic == topic(int(p.payload[:6]))
        got.append(int(p.payload[:6]))
        if p.qos and acknowledge:
            c.send(ack(PUBACK if p.qos == 1 else PUBREC, p.pid))
    return got


def test_a_hundred_thousand_topics(tmp_path):
    """[MQTT-3.3.1-5], -6: at each QoS, to sessions that end and to those that stay, before kill -9 and after it"""
    d = Sluiced(tmp_path).start()
    fill(d.port, COUNT)
    after_fill = d.memory_kb("VmRSS")
    assert SANITIZED or after_fill < 6000 + COUNT * 420 / 1000, "a retained 64-byte message under 420 bytes"
    for qos, clean, kill in ((0, True, False), (1, False, True), (1, True, False), (0, False, False)):
        with client(d.port, f"s{qos}{clean}", clean) as s:
            s.send(subscribe(1, ("plant/#", qos)))
            assert sorted(take(s, COUNT)) == list(range(COUNT))
            s.quiet()
        assert SANITIZED or d.memory_kb() < after_fill + 8000
        if kill:
            d.kill()
            d.start()
    assert d.stop() == 0


def test_every_filter_gets_what_matches(tmp_path):
    """[MQTT-3.3.1-6], [MQTT-3.8.4-4]: many filters at once, more than leaves in one turn"""
    d = Sluiced(tmp_path, 'limits = { reader_backlog = "16k"; };').start()
    fill(d.port, 10000)
    s = client(d.port, "s")
    filters = [f"plant/{i}/+/reading" for i in range(100)] + [topic(i) for i in range(0, 10000, 50)] + ["plant/#", "none/#"]
    s.send(subscribe(1, *[(f, i % 2) for i, f in enumerate(filters)]))
    due = sorted(list(range(10000)) * 2 + list(range(0, 10000, 50)))
    assert sorted(take(s, len(due))) == due
    s.quiet()
    assert d.stop() == 0


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_slow_reader_loses_nothing_and_delays_nobody(tmp_path, qos):
    """Others get theirs while the replay waits for him, and his own news pass it."""
    d = Sluiced(tmp_path, 'limits = { reader_backlog = "64k"; inflight = 5; };').start()
    fill(d.port, 5000, max(qos, 1), size=1000)
    slow, s, p = client(d.port, "slow"), client(d.port, "s"), client(d.port, "p")
    s.send(subscribe(1, "news"))
    s.expect(SUBACK)
    slow.send(subscribe(1, ("plant/#", qos)))
    before = d.memory_kb()
    for i in range(50):
        p.send(publish("news", f"{i}"))
        assert s.expect(PUBLISH).payload == b"%d" % i
    assert sorted(take(slow, 5000)) == list(range(5000))
    assert SANITIZED or d.memory_kb() - before < 2000
    assert d.stop() == 0


def test_what_changes_meanwhile(tmp_path):
    """The replay tells what is retained when it comes there; what is there all the time comes once, what was removed need not."""
    d = Sluiced(tmp_path, 'limits = { inflight = 10; };').start()
    fill(d.port, 10000)
    s, p = client(d.port, "s"), client(d.port, "p")
    s.send(subscribe(1, ("plant/#", 1)))
    seen = take(s, 1000)
    p.send(subscribe(1, "done"), *[publish(topic(i), "", retain=True) for i in range(5000, 10000)])
    p.send(*[publish(f"new/{i}", "x", retain=True) for i in range(20000)])
    p.expect(SUBACK), p.quiet()
    while sum(i < 5000 for i in seen) < 5000:
        got = s.read()
        if got.kind == PUBLISH and got.retain:
            seen.append(int(got.payload[:6]))
        if got.kind == PUBLISH and got.qos:
            s.send(ack(PUBACK, got.pid))
    assert len(set(seen)) == len(seen)
    assert d.stop() == 0


def test_unsubscribing_ends_the_replay(tmp_path):
    """[MQTT-3.10.4-2], -3"""
    d = Sluiced(tmp_path, 'limits = { inflight = 10; };').start()
    fill(d.port, 5000)
    s = client(d.port, "s", clean=False)
    s.send(subscribe(1, ("plant/#", 1), ("none", 0)))
    take(s, 20)
    s.send(unsubscribe(2, "plant/#"))
    left = 0
    while True:
        s.send(packet(PINGREQ))
        got = []
        while not got or got[-1].kind != PINGRESP:
            got.append(s.read())
            if got[-1].kind == PUBLISH:
                s.send(ack(PUBACK, got[-1].pid))
        left += len(got) - 1
        if len(got) == 1:
            break
    assert left < 1000, "what was queued already, and not the rest"
    assert d.stop() == 0


def test_a_replay_survives_the_connection_and_the_daemon(tmp_path):
    """[MQTT-3.3.1-6]: what a durable session was promised by SUBACK and has not got"""
    d = Sluiced(tmp_path, 'limits = { inflight = 20; };').start()
    fill(d.port, 5000)
    s = client(d.port, "s", clean=False)
    s.send(subscribe(1, ("plant/#", 1)))
    seen = set(take(s, 300))
    s.close()
    s = client(d.port, "s", clean=False)
    seen |= set(take(s, 300))
    d.kill()
    d.start()
    s = client(d.port, "s", clean=False)
    assert s.session_present
    while len(seen) < 5000:
        seen |= set(take(s, 1))
    assert seen == set(range(5000))
    s.send(unsubscribe(3, "plant/#"))
    assert d.stop() == 0


def test_no_more_topics_than_allowed(tmp_path):
    """limits.retained: the message goes to whoever subscribes now and is not kept."""
    d = Sluiced(tmp_path, 'limits = { retained = 3; };').start()
    s, p = client(d.port, "s"), client(d.port, "p")
    s.send(subscribe(1, "t/#"))
    s.expect(SUBACK)
    for i in range(5):
        p.send(publish(f"t/{i}", f"{i}", 1, 1, retain=True))
        p.expect(PUBACK)
        assert s.expect(PUBLISH).payload == b"%d" % i
    late = client(d.port, "late")
    late.send(subscribe(1, "t/#"))
    got = [late.read() for _ in range(4)]
    assert sorted(g.topic for g in got if g.kind == PUBLISH) == ["t/0", "t/1", "t/2"]
    late.quiet()
    assert d.stop() == 0


def test_what_is_published_meanwhile_comes_once(tmp_path):
    """Retained messages that wait for room are those of the time of the SUBSCRIBE: what is retained later comes as it is published
    ([MQTT-3.3.1-9]) and not once more as retained ([MQTT-4.3.3-1])."""
    d = Sluiced(tmp_path, "limits = { inflight = 1; };").start()
    with client(d.port, "s", clean=False) as s, client(d.port, "p") as p:
        s.send(subscribe(1, ("busy", 1)))
        s.expect(SUBACK)
        p.send(publish("kept/old", "old", 1, 1, retain=True), *[publish("busy", "x" * 500, 1, i) for i in range(2, 600)])
        for _ in range(599):
            p.expect(PUBACK)
        s.send(subscribe(2, ("kept/#", 2)))  # its queue is full
        p.send(publish("kept/later", "new", 2, 600, retain=True))
        p.expect(PUBREC)
        p.send(ack(PUBREL, 600), publish("busy", "last", 1, 601))
        p.expect(PUBCOMP)
        got, seen = [], set()
        while not {SUBACK, b"last", "kept/old"} <= seen:
            x = s.read()
            if x.kind == PUBLISH:
                s.send(ack(PUBACK if x.qos == 1 else PUBREC, x.pid))
                got.append((x.topic, x.retain))
                seen |= {x.topic, x.payload}
            elif x.kind == PUBREL:
                s.send(ack(PUBCOMP, x.pid))
            seen.add(x.kind)
        assert sorted(x for x in got if x[0] != "busy") == [("kept/later", False), ("kept/old", True)]
        s.quiet()
    assert d.stop() == 0

# SPDX-License-Identifier: Apache-2.0
"""MQTT 5.0, chapters 4.3 to 4.6 and 4.9: delivery at QoS 1 and 2, sending again, order, and flow control."""
import random
import struct

import pytest
from daemon import Sluiced
from mqtt5 import RECEIVE_MAXIMUM, ack, client, lasting, publish, subscribe, unsubscribe
from raw import PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK, packet


def queued(port, own, qos, count=1, **more):
    """A lasting subscriber that is away, and what waits for it."""
    s = lasting(port, own, True)
    s.subscribed((f"{own}/t", 2))
    s.close()
    p = client(port, own + "p")
    for i in range(count):
        p.published(f"{own}/t", f"{i}", qos=qos, pid=i + 1, **more)
    return p


# ---- to us ----

def test_qos_1_in(port, own):
    """[MQTT-4.3.2-4], -5: every PUBLISH is answered and passed on, also with an identifier that was used before, DUP or not"""
    s, p = client(port, own + "s"), client(port, own + "p")
    s.subscribed((f"{own}/t", 1))
    for payload, dup in (("a", False), ("a", True), ("b", False)):
        assert p.published(f"{own}/t", payload, pid=5, dup=dup).pid == 5
        assert s.received().payload == payload.encode()


def test_qos_2_in(port, own):
    """[MQTT-4.3.3-8], -10 to -12: repeats before PUBREL are acknowledged and not passed on; after it, it is a new message"""
    s, p = lasting(port, own + "s"), lasting(port, own + "p")
    s.subscribed((f"{own}/t", 2))
    for round in range(3):
        for repeat in range(3):
            assert p.published(f"{own}/t", f"{round}", qos=2, pid=5, dup=repeat > 0).reason == 0
        assert s.received().payload == b"%d" % round
        p.close()
        p = lasting(port, own + "p")
        p.published(f"{own}/t", f"{round}", qos=2, pid=5, dup=True)
        for reason in (0, 0x92):
            p.send(ack(PUBREL, 5))
            answer = p.expect(PUBCOMP)
            assert (answer.pid, answer.reason) == (5, reason)
    s.quiet()


def test_qos_2_in_after_a_refusal(port, own):
    """[MQTT-4.3.3-9]: after a PUBREC of 0x80 and above the identifier is free, and PUBREL is not waited for"""
    p = client(port, own)
    p.subscribed((f"{own}/t", 0))
    assert p.published("$SYS/x", "x", qos=2, pid=5).reason == 0x87
    assert p.published(f"{own}/t", "new", qos=2, pid=5).reason == 0
    assert p.received().payload == b"new"


@pytest.mark.parametrize("seed", range(4))
def test_qos_2_in_whatever_gets_lost(tmp_path, seed):
    """[MQTT-4.3.3-10], -12: a publisher that repeats, reconnects and restarts us at any step: each message once, in order"""
    rnd = random.Random(seed)
    d = Sluiced(tmp_path).start()
    s = lasting(d.port, "s")
    s.subscribed(("t", 2))
    s.close()
    p = lasting(d.port, "p")

    def again(step):
        """The step, until it was answered and nothing got lost behind it."""
        nonlocal p
        while True:
            p.send(step)
            if rnd.random() < 0.6:
                answer = p.read()
                if rnd.random() < 0.6:
                    return answer
            p.close()
            if rnd.random() < 0.2:
                d.kill()
                d.start()
            p = lasting(d.port, "p")
            assert p.session_present

    for i in range(15):
        assert again(publish("t", f"{i}", 2, 1 + i % 3, dup=rnd.random() < 0.5)).kind == PUBREC
        assert again(ack(PUBREL, 1 + i % 3)).kind == PUBCOMP
    s = lasting(d.port, "s")
    assert [s.received().payload for _ in range(15)] == [b"%d" % i for i in range(15)]
    s.quiet()
    assert d.stop() == 0


def test_repeated_release_waits_for_the_disk_too(tmp_path):
    """[MQTT-4.3.3-12]: after PUBCOMP the identifier is free, also after a kill -9, though the first PUBREL has freed it in memory"""
    d = Sluiced(tmp_path, 'store = { linger = "400ms"; };').start()
    s, p = lasting(d.port, "s"), lasting(d.port, "p")
    s.subscribed(("t", 1))
    p.published("t", "one", qos=2, pid=5)
    assert s.received().payload == b"one"
    p.send(ack(PUBREL, 5))
    p.close()
    p = lasting(d.port, "p")
    p.send(ack(PUBREL, 5))
    p.expect(PUBCOMP)
    d.kill()
    d.start()
    s, p = lasting(d.port, "s"), lasting(d.port, "p")
    p.published("t", "two", qos=2, pid=5)
    while s.received().payload != b"two":
        pass  # what was not acknowledged on disk may come again
    assert d.stop() == 0


# ---- from us ----

@pytest.mark.parametrize("qos", [1, 2])
def test_unacknowledged_until_answered(port, own, qos):
    """[MQTT-4.3.2-3], [MQTT-4.3.3-3], [MQTT-4.4.0-1], [MQTT-3.3.1-1]: again on return, with its identifier and DUP; not before"""
    queued(port, own, qos)
    s = lasting(port, own)
    first = s.expect(PUBLISH)
    assert (first.dup, first.qos) == (False, qos)
    s.send(ack(PUBACK if qos == 2 else PUBCOMP, first.pid), ack(PUBACK, first.pid % 65535 + 1))  # neither is an answer to it
    s.quiet()
    for _ in range(2):
        s.close()
        s = lasting(port, own)
        again = s.expect(PUBLISH)
        assert (again.pid, again.dup, again.payload) == (first.pid, True, first.payload)
        s.quiet()
    s.send(ack(PUBACK if qos == 1 else PUBREC, first.pid))
    if qos == 2:
        s.expect(PUBREL)
        s.send(ack(PUBCOMP, first.pid))
    s.quiet()
    s.close()
    lasting(port, own).quiet()


def test_release(port, own):
    """[MQTT-4.3.3-4] to -6, [MQTT-4.4.0-1]: PUBREL until PUBCOMP, and PUBLISH no more"""
    queued(port, own, 2)
    s = lasting(port, own)
    pid = s.expect(PUBLISH).pid
    for _ in range(2):  # PUBREC may come again: so does PUBREL
        s.send(ack(PUBREC, pid))
        assert s.expect(PUBREL).body == struct.pack(">H", pid)
    for _ in range(2):
        s.close()
        s = lasting(port, own)
        assert s.expect(PUBREL).pid == pid
        s.quiet()
    s.send(ack(PUBCOMP, pid))
    s.quiet()
    s.close()
    s = lasting(port, own)
    s.quiet()
    s.send(ack(PUBREC, pid))
    assert s.expect(PUBREL).reason == 0x92


@pytest.mark.parametrize("kind, qos", [(PUBACK, 1), (PUBREC, 2)])
@pytest.mark.parametrize("reason", [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
def test_refused_by_the_client(port, own, kind, qos, reason):
    """[MQTT-4.4.0-2], [MQTT-4.3.3-4]: not sent again, not released"""
    queued(port, own, qos)
    s = lasting(port, own)
    s.send(ack(kind, s.expect(PUBLISH).pid, reason, []))
    s.quiet()
    s.close()
    lasting(port, own).quiet()


BAD = {
    "PUBACK 0": (ack(PUBACK, 0), 0x82), "PUBREC of a code of no table": (ack(PUBREC, 1, 0x92), 0x82),
    "PUBACK of a code of no table": (ack(PUBACK, 1, 0x8e), 0x82), "PUBCOMP of a code of no table": (ack(PUBCOMP, 1, 0x10), 0x82),
    "PUBREL of a code of no table": (ack(PUBREL, 1, 0x80), 0x82), "flags of PUBREL [MQTT-3.6.1-1]": (packet(PUBREL, b"\0\1", 0), 0x81),
    "SUBACK": (packet(SUBACK, b"\0\1\0\0"), 0x82), "PINGRESP": (packet(PINGRESP), 0x82), "type 0": (b"\0\0", 0x81),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_answers(port, own, what):
    """[MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1], [MQTT-4.13.1-1]"""
    data, reason = BAD[what]
    c = client(port, own)
    c.send(data)
    c.refused(reason)


@pytest.mark.parametrize("seed", range(4))
def test_qos_2_out_whatever_gets_lost(port, own, seed):
    """[MQTT-4.3.3-3] to -6, [MQTT-4.4.0-1]: a receiver that keeps to the rules gets each message once, whenever it reconnects"""
    rnd = random.Random(seed)
    queued(port, own, 2, 30)
    s = lasting(port, own, pairs=[(RECEIVE_MAXIMUM, 5)])
    known, got, done = set(), [], 0
    while done < 30:
        p = s.read()
        if p.kind == PUBLISH:
            if p.pid not in known:
                got.append(p.payload)
            assert p.pid not in known or p.dup
            known.add(p.pid)
            s.send(ack(PUBREC, p.pid))
        elif p.kind == PUBREL:
            if p.pid in known:
                known.remove(p.pid)
                done += 1
            s.send(ack(PUBCOMP, p.pid))
        if rnd.random() < 0.2:
            s.close()
            s = lasting(port, own, pairs=[(RECEIVE_MAXIMUM, 5)])
    assert got == [b"%d" % i for i in range(30)]


# ---- order ----

@pytest.mark.parametrize("qos", [0, 1, 2])
def test_order(port, own, qos):
    """[MQTT-4.6.0-5], -6, [MQTT-4.2.0-1]: of one publisher, topic and QoS; also for who was away, and for small windows"""
    away = lasting(port, own + "away")
    away.subscribed((f"{own}/#", 2))
    away.close()
    here, narrow = client(port, own + "here"), client(port, own + "narrow", pairs=[(RECEIVE_MAXIMUM, 2)])
    for s in (here, narrow):
        s.subscribed((f"{own}/#", 2))
    p = client(port, own + "p")
    p.send(*[publish(f"{own}/{i % 3}", f"{i}", qos, i + 1) for i in range(60)])
    for i in range(60 if qos else 0):
        assert p.expect(PUBACK if qos == 1 else PUBREC).pid == i + 1
    readers = [here, narrow] + ([lasting(port, own + "away")] if qos else [])
    for s in readers:
        got = [s.received() for _ in range(60)]
        for topic in range(3):
            mine = [int(g.payload) for g in got if g.topic == f"{own}/{topic}"]
            assert mine == sorted(mine) and len(mine) == 20


def test_sent_again_in_order(port, own):
    """[MQTT-4.6.0-1], [MQTT-4.4.0-1]: what was sent comes first, in its order, without what was answered in between"""
    queued(port, own, 1, 10)
    s = lasting(port, own, pairs=[(RECEIVE_MAXIMUM, 6)])
    first = [s.expect(PUBLISH) for _ in range(6)]
    for i in (1, 4):
        s.send(ack(PUBACK, first[i].pid))
    s.expect(PUBLISH), s.expect(PUBLISH)
    s.close()
    s = lasting(port, own, pairs=[(RECEIVE_MAXIMUM, 100)])
    got = [s.expect(PUBLISH) for _ in range(8)]
    assert [(int(g.payload), g.dup) for g in got] == [(i, True) for i in (0, 2, 3, 5, 6, 7)] + [(8, False), (9, False)]


def test_acknowledged_means_in_every_session(port, own):
    """[MQTT-4.5.0-1]: whoever had subscribed by then, here or away"""
    for name in "abc":
        s = lasting(port, own + name)
        s.subscribed((f"{own}/{name}", 1), (f"{own}/all", 2))
        if name != "a":
            s.close()
    p = client(port, own + "p")
    for pid, topic in enumerate(("a", "all", "c", "b"), 1):
        p.published(f"{own}/{topic}", topic, pid=pid)
    for name, due in (("a", ["a", "all"]), ("b", ["all", "b"]), ("c", ["all", "c"])):
        s = lasting(port, own + name)
        assert [s.received().payload.decode() for _ in due] == due
        s.quiet()


# ---- flow ----

def test_quota_towards_the_client(port, own):
    """[MQTT-3.3.4-9], -10, [MQTT-4.9.0-1] to -3: no more than its receive maximum; all else goes on; each answer frees a place"""
    s, p = client(port, own + "s", pairs=[(RECEIVE_MAXIMUM, 3)]), client(port, own + "p")
    s.subscribed((f"{own}/t", 2))
    for i in range(9):
        p.published(f"{own}/t", f"{i}", qos=1 + i % 2, pid=i + 1)
    flying = [s.expect(PUBLISH) for _ in range(3)]
    s.quiet()
    p.send(publish(f"{own}/t", "QoS 0"))
    assert s.expect(PUBLISH).qos == 0
    s.send(subscribe(2, f"{own}/x"), unsubscribe(3, f"{own}/x"), publish(f"{own}/y", "x", 1, 4), publish(f"{own}/y", "x", 2, 5))
    assert [s.read().kind for _ in range(4)] == [SUBACK, UNSUBACK, PUBACK, PUBREC]
    s.send(ack(PUBREC, flying[1].pid))
    assert s.expect(PUBREL).pid == flying[1].pid
    s.quiet()  # PUBREC frees nothing
    s.send(ack(PUBCOMP, flying[1].pid))
    assert s.expect(PUBLISH).payload == b"3"
    s.send(ack(PUBACK, flying[0].pid))
    assert s.expect(PUBLISH).payload == b"4"
    s.quiet()
    s.send(ack(PUBACK, 999))  # nothing of ours
    s.quiet()
    s.send(ack(PUBACK, flying[2].pid, 0x87))
    assert s.expect(PUBLISH).payload == b"5"
    s.quiet()


def test_refusal_frees_a_place(port, own):
    """[MQTT-4.9.0-2]: PUBREC of 0x80 and above ends it"""
    s, p = client(port, own + "s", pairs=[(RECEIVE_MAXIMUM, 1)]), client(port, own + "p")
    s.subscribed((f"{own}/t", 2))
    for i in range(2):
        p.published(f"{own}/t", f"{i}", qos=2, pid=i + 1)
    s.send(ack(PUBREC, s.expect(PUBLISH).pid, 0x80))
    assert s.expect(PUBLISH).payload == b"1"


@pytest.mark.parametrize("maximum, due", [(None, 100), (65535, 100), (1, 1)])
def test_quota_begins(port, own, maximum, due):
    """[MQTT-4.9.0-1]: at the client's maximum or at limits.inflight, and anew with each connection"""
    queued(port, own, 1, 103)
    for _ in range(2):
        s = lasting(port, own, pairs=[(RECEIVE_MAXIMUM, maximum)] if maximum else [])
        assert len([s.expect(PUBLISH) for _ in range(due)]) == due
        s.quiet()
        s.close()


def test_release_does_not_wait_for_the_quota(port, own):
    """[MQTT-3.3.4-10], [MQTT-4.9.0-3]: PUBREL is sent again whatever the client's maximum is now"""
    queued(port, own, 2, 4)
    s = lasting(port, own, pairs=[(RECEIVE_MAXIMUM, 3)])
    flying = [s.expect(PUBLISH) for _ in range(3)]
    for f in flying:
        s.send(ack(PUBREC, f.pid))
        s.expect(PUBREL)
    s.close()
    s = lasting(port, own, pairs=[(RECEIVE_MAXIMUM, 1)])
    assert [s.expect(PUBREL).pid for _ in range(3)] == [f.pid for f in flying]


def test_quota_of_the_client(tmp_path):
    """[MQTT-3.3.4-7]: more than our receive maximum is refused; PUBREL, and a new connection, give it back"""
    d = Sluiced(tmp_path, "limits = { receive = 5; };").start()
    c = lasting(d.port, "c")
    assert c.connack.get(RECEIVE_MAXIMUM) == 5
    for pid in range(1, 6):
        c.published("t", "x", qos=2, pid=pid)
    c.published("t", "x", qos=2, pid=5, dup=True)  # a repeat is no further message
    c.send(ack(PUBREL, 1))
    c.expect(PUBCOMP)
    c.published("t", "x", qos=2, pid=6)
    c.send(publish("t", "x", 2, 7))
    c.refused(0x93)
    c = lasting(d.port, "c")
    assert c.session_present
    for pid in range(11, 16):
        assert c.published("t", "x", qos=2, pid=pid).reason == 0x10
    c.send(publish("t", "x", 2, 16, dup=True))
    c.refused(0x93)
    c = lasting(d.port, "c")
    c.send(*[publish("t", "x", 1, pid) for pid in range(1, 30)])  # answered at once: nobody has to wait
    for pid in range(1, 30):
        assert c.expect(PUBACK).pid == pid
    assert d.stop() == 0


def test_all_identifiers_at_once(tmp_path):
    """[MQTT-2.2.1-4], [MQTT-4.9.0-1]: 65,535 messages in flight each way, answered in any order"""
    d = Sluiced(tmp_path, 'limits = { inflight = 65535; receive = 65535; queue = "64M"; reader_backlog = "64M"; };').start()
    s, p = client(d.port, "s"), client(d.port, "p")
    s.subscribed(("t", 1))
    assert p.connack.get(RECEIVE_MAXIMUM) in (None, 65535)
    ids = list(range(1, 65536))
    p.sock.settimeout(60)
    for pid in ids:
        p.send(publish("t", "", 2, pid))
        if pid % 1000 == 0 or pid == 65535:
            while p.expect(PUBREC).pid != pid:
                pass
    got = [s.expect(PUBLISH).pid for _ in ids]
    assert sorted(got) == ids
    random.Random(1).shuffle(got)
    s.send(*[ack(PUBACK, pid) for pid in got])
    s.quiet()
    p.send(*[ack(PUBREL, pid) for pid in ids[::-1]])
    assert [p.expect(PUBCOMP).pid for _ in ids] == ids[::-1]
    p.published("t", "next", pid=1)
    assert s.received().payload == b"next"
    assert d.stop() == 0

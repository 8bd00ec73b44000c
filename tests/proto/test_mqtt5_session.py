# SPDX-License-Identifier: Apache-2.0
"""MQTT 5.0, chapters 3.1.2.5, 3.14 and 4.1: wills, DISCONNECT, and how long a session lives."""
import socket
import struct
import time

import pytest
from daemon import Sluiced, wait_for
from field import status
from mqtt5 import (CONTENT_TYPE, CORRELATION, EXPIRY, FORMAT, MAXIMUM_PACKET, PROBLEM_INFO, REASON, RESPONSE_TOPIC, SESSION_EXPIRY,
                   USER, WILL_DELAY, Client, ack, client, connect, disconnect, lasting, publish, subscribe)
from raw import CONNACK, DISCONNECT, PINGREQ, PUBCOMP, PUBLISH, PUBREC, PUBREL, packet


def watcher(port, own, *filters):
    s = client(port, own + "-watcher")
    s.subscribed(*filters or [(f"{own}/w/#", 2)])
    return s


def willed(port, own, payload="gone", qos=0, retain=0, delay=None, expiry=0, clean=True, pairs=(), **more):
    will_pairs = [(WILL_DELAY, delay)] * (delay is not None) + list(pairs)
    return client(port, own, clean, [(SESSION_EXPIRY, expiry)], will=(f"{own}/w", payload, qos, retain), will_pairs=will_pairs, **more)


# ---- wills ----

@pytest.mark.parametrize("retain", [0, 1])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_will(port, own, qos, retain):
    """[MQTT-3.1.2-7], -8, -10, -14, -15: published as its flags say, once"""
    s = watcher(port, own)
    willed(port, own, "gone", qos, retain).close()
    got = s.received()
    assert (got.payload, got.qos, got.retain) == (b"gone", qos, False)
    client(port, own).close()
    s.quiet()
    late = client(port, own + "late")
    late.subscribed((f"{own}/w", 2))
    if retain:
        got = late.received()
        assert (got.payload, got.qos, got.retain) == (b"gone", qos, True)
    late.quiet()


def test_properties_of_the_will(port, own):
    """[MQTT-3.1.3-10], [MQTT-3.1.2-9]: all are passed on, user properties in their order, the delay is not"""
    pairs = [(FORMAT, 1), (CONTENT_TYPE, "a/b"), (RESPONSE_TOPIC, "r"), (CORRELATION, b"\0"), (USER, ("b", "1")), (USER, ("a", "2")),
             (USER, ("b", "1"))]
    s = watcher(port, own)
    willed(port, own, delay=0, pairs=[*pairs, (EXPIRY, 50)]).close()
    got = s.received()
    assert got.get(EXPIRY) in (49, 50)
    assert [p for p in got.props if p[0] != EXPIRY] == pairs


def test_payload_format_of_the_will(port, own):
    """[MQTT-3.1.4-2], §3.1.3.2.3: CONNACK 0x99"""
    c = Client(port, connect(own, will=("w", b"\xff", 0, 0), will_pairs=[(FORMAT, 1)]))
    assert c.expect(CONNACK).reason == 0x99
    assert c.closed()


def reset(c):
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()


WAYS = {
    "closed": (lambda c: c.close(), True),
    "reset": (reset, True),
    "malformed": (lambda c: c.send(b"\x36\0"), True),
    "protocol error": (lambda c: c.send(connect("x")), True),
    "DISCONNECT 0x04": (lambda c: c.send(disconnect(4)), True),
    "DISCONNECT 0x80": (lambda c: c.send(disconnect(0x80)), True),
    "DISCONNECT 0x81 with a reason": (lambda c: c.send(disconnect(0x81, [(REASON, "so")])), True),
    "DISCONNECT": (lambda c: c.send(disconnect()), False),
    "DISCONNECT 0": (lambda c: c.send(disconnect(0, [])), False),
    "DISCONNECT 0 with a session": (lambda c: c.send(disconnect(0, [(SESSION_EXPIRY, 5)])), False),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_go(port, own, way):
    """[MQTT-3.1.2-8], -10, [MQTT-3.14.4-3]: 0 alone discards the will"""
    leave, due = WAYS[way]
    s = watcher(port, own)
    c = willed(port, own, way, expiry=10)
    leave(c)
    if due:
        assert s.received().payload == way.encode()
    else:
        assert c.closed()
    s.quiet()
    client(port, own).close()  # ends the session: nothing more comes of it
    s.quiet()


def test_will_at_silence(port, own):
    """[MQTT-3.1.2-8], [MQTT-3.1.2-22]"""
    s = watcher(port, own)
    willed(port, own, keepalive=1)
    assert s.received().payload == b"gone"


def test_delay(port, own):
    """[MQTT-3.1.2-8], [MQTT-3.1.3-9]: later; not at all for who comes back; with the session's end when that comes first"""
    s = watcher(port, own, f"{own}back/w", f"{own}late/w", f"{own}ended/w", f"{own}short/w")
    willed(port, own + "back", delay=1, expiry=100).close()
    back = willed(port, own + "back", delay=1, expiry=100, clean=False)
    assert back.session_present
    willed(port, own + "ended", delay=1000).close()
    assert s.received().topic == f"{own}ended/w"
    begin = time.monotonic()
    willed(port, own + "late", delay=1, expiry=100).close()
    willed(port, own + "short", delay=1000, expiry=1).close()
    s.quiet()
    assert sorted(s.received().topic for _ in range(2)) == [f"{own}late/w", f"{own}short/w"]
    assert time.monotonic() - begin > 0.9
    s.quiet()
    back.quiet()


@pytest.mark.parametrize("clean, delay, due", [(False, 0, True), (False, 100, False), (True, 0, True), (True, 100, True)])
def test_will_at_take_over(port, own, clean, delay, due):
    """[MQTT-3.1.3-9], [MQTT-3.1.2-8], §3.1.4: a connection within the delay cancels it unless it ends the session"""
    s = watcher(port, own)
    old = willed(port, own, delay=delay, expiry=100)
    new = lasting(port, own, clean)
    old.refused(0x8e)
    assert new.session_present == (not clean)
    if due:
        assert s.received().payload == b"gone"
    s.quiet()
    new.close()
    lasting(port, own, True).close()
    s.quiet()


def test_new_will_replaces_the_old_one(port, own):
    """[MQTT-3.1.2-7], -10"""
    s = watcher(port, own)
    willed(port, own, "old", delay=100, expiry=100).close()
    willed(port, own, "new", expiry=100, clean=False).close()
    assert s.received().payload == b"new"
    s.quiet()


def test_own_will_is_not_for_who_wants_nothing_local(port, own):
    """[MQTT-3.8.3-3]: the will is its client's message"""
    c = willed(port, own, qos=1, expiry=100)
    c.subscribed((f"{own}/w", 1 | 4), pid=2)
    c.close()
    c = lasting(port, own)
    assert c.session_present
    c.quiet()


def test_wills_outlive_a_restart(tmp_path):
    """[MQTT-3.1.2-7], -8: of the client that was there when the daemon died, and of one whose delay was running"""
    d = Sluiced(tmp_path).start()
    s = lasting(d.port, "s")
    s.subscribed(("+/w", 1))
    willed(d.port, "delayed", delay=2, expiry=100, pairs=[(USER, ("a", "b"))]).close()
    willed(d.port, "proper", expiry=100).send(disconnect())
    here = willed(d.port, "here", expiry=100, qos=1)
    s.quiet()
    d.kill()
    assert here.closed()
    d.start()
    s = lasting(d.port, "s")
    got = [s.received(), s.received()]
    assert [(g.topic, g.all(USER)) for g in got] == [("here/w", []), ("delayed/w", [("a", "b")])]
    s.quiet()
    assert d.stop() == 0


def test_will_at_shutdown(tmp_path):
    """[MQTT-3.1.2-8], [MQTT-3.14.2-1]: DISCONNECT 0x8B, and the will is published to who comes later"""
    d = Sluiced(tmp_path).start()
    s = lasting(d.port, "s")
    s.subscribed(("+/w", 1))
    s.close()
    c = willed(d.port, "c", qos=1)
    assert d.stop() == 0
    c.refused(0x8b)
    d.start()
    assert lasting(d.port, "s").received().payload == b"gone"
    assert d.stop() == 0


# ---- DISCONNECT ----

def test_reserved_bits(port, own):
    """[MQTT-3.14.1-1]"""
    for flags in (1, 2, 4, 8):
        c = client(port, own)
        c.send(packet(DISCONNECT, b"", flags))
        c.refused(0x81)


BAD = {
    "a code of no table": (packet(DISCONNECT, b"\x05"), 0x82),
    "a code of other packets": (disconnect(0x85), 0x82),
    "receive maximum": (packet(DISCONNECT, b"\0\3\x21\0\1"), 0x81),
    "reason twice": (disconnect(0, [(REASON, "a"), (REASON, "b")]), 0x82),
    "bytes left over": (packet(DISCONNECT, b"\0\0\0"), 0x81),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_disconnect(port, own, what):
    """[MQTT-3.14.2-1], [MQTT-4.13.1-1]"""
    data, reason = BAD[what]
    c = client(port, own)
    c.send(data)
    c.refused(reason)


def test_nothing_after_disconnect(port, own):
    """[MQTT-3.14.4-1], -2: neither from us nor taken from the client; what waits for the disk goes with the connection"""
    s = watcher(port, own)
    c = lasting(port, own)
    c.subscribed((f"{own}/w/q", 1))
    c.send(disconnect(), publish(f"{own}/w/late", "x"), packet(PINGREQ))
    assert c.closed()
    c = lasting(port, own)
    c.send(publish(f"{own}/w/q", "x", 1, 1), subscribe(2, f"{own}/y"), connect(own))
    last = None
    while p := c.read():
        assert last != DISCONNECT
        last = p.kind
    assert last == DISCONNECT
    assert s.received().topic == f"{own}/w/q"
    s.quiet()


def test_our_disconnect(port, own):
    """[MQTT-3.14.2-2], -3, -4, [MQTT-3.1.2-29]: a reason in words whatever was asked, unless it makes it too large; nothing else"""
    for most, asked, there in ((None, 1, True), (None, 0, True), (20, 1, False)):
        c = client(port, own, pairs=[(PROBLEM_INFO, asked)] + [(MAXIMUM_PACKET, most)] * (most is not None))
        c.send(publish("t", "x" * 5, 1, 0))
        p = c.expect(DISCONNECT)
        assert [i for i, _ in p.props] == [REASON] * there and 2 + len(p.body) <= (most or 1000)
        assert c.closed()


# ---- the session ----

@pytest.mark.parametrize("wish", [None, 0])
def test_ends_with_its_connection(port, own, wish):
    """[MQTT-3.1.2-23], [MQTT-4.1.0-2]"""
    c = client(port, own, pairs=[(SESSION_EXPIRY, wish)] if wish is not None else [])
    c.subscribed((f"{own}/t", 1))
    c.close()
    assert not lasting(port, own).session_present


def test_ends_after_its_interval(port, own):
    """[MQTT-3.1.2-23], [MQTT-4.1.0-1], -2: not while the connection stands, however long; then when the interval is over"""
    stays = lasting(port, own + "stays", expiry=1)
    stays.subscribed((f"{own}/t", 1))
    for name, expiry in (("goes", 1), ("lasts", 1000), ("for ever", 0xffffffff)):
        lasting(port, own + name, expiry=expiry).close()
    back = lasting(port, own + "goes", expiry=1)
    assert back.session_present
    back.close()
    time.sleep(2.6)
    stays.send(publish(f"{own}/t", "x"))
    stays.received()
    assert [lasting(port, own + name).session_present for name in ("goes", "lasts", "for ever")] == [False, True, True]


@pytest.mark.parametrize("how", ["DISCONNECT", "clean start", "expiry 0"])
def test_what_has_ended_stays_so(tmp_path, how):
    """[MQTT-4.1.0-2], [MQTT-3.2.2-3]: CONNACK without a session waits until the old one is gone from the disk"""
    d = Sluiced(tmp_path, 'store = { linger = "300ms"; linger_idle = "5s"; };').start()
    s = lasting(d.port, "s")
    s.subscribed(("t", 1))
    if how == "DISCONNECT":
        s.send(disconnect(0, [(SESSION_EXPIRY, 0)]))
        assert s.closed()
    elif how == "expiry 0":
        client(d.port, "s", False).close()
    assert not client(d.port, "s", how == "clean start").session_present
    d.kill()
    d.start()
    assert not lasting(d.port, "s").session_present
    assert d.stop() == 0


def test_interval_goes_on_over_a_restart(tmp_path):
    """[MQTT-4.1.0-2]: of a session that was away before; who was there when the daemon died has its whole interval"""
    d = Sluiced(tmp_path).start()
    none = status(d)["broker"]["sessions"]
    lasting(d.port, "away", expiry=4).close()
    lasting(d.port, "long away", expiry=1000).close()
    here = lasting(d.port, "here", expiry=4)
    time.sleep(3.5)  # away for so long that it is noted
    here.quiet()
    d.kill()
    time.sleep(3.5)
    d.start()
    wait_for(lambda: status(d)["broker"]["sessions"] < none + 3, what="one session to end")
    assert [lasting(d.port, name).session_present for name in ("here", "away", "long away")] == [True, False, True]
    assert d.stop() == 0


@pytest.mark.parametrize("at_connect, at_disconnect, present", [(1000, 0, False), (0xffffffff, 1000, True), (1, 1000, True),
                                                                (1000, None, True)])
def test_interval_changed_at_disconnect(port, own, at_connect, at_disconnect, present):
    """[MQTT-3.1.2-23], §3.14.2.2.2"""
    c = lasting(port, own, expiry=at_connect)
    c.send(disconnect(0, [(SESSION_EXPIRY, at_disconnect)] if at_disconnect is not None else []))
    assert c.closed()
    if at_connect == 1:
        time.sleep(1.5)
    assert lasting(port, own).session_present == present


def test_no_life_from_nothing(port, own):
    """§3.14.2.2.2: from 0 to anything else is a protocol error, and the will is published"""
    s = watcher(port, own)
    c = willed(port, own)
    c.send(disconnect(0, [(SESSION_EXPIRY, 10)]))
    c.refused(0x82)
    assert s.received().payload == b"gone"
    assert not lasting(port, own).session_present
    c = client(port, own)
    c.send(disconnect(0, [(SESSION_EXPIRY, 0)]))
    assert c.closed()


def test_what_belongs_to_the_session(tmp_path):
    """[MQTT-4.1.0-1], [MQTT-3.1.2-5]: all of §4.1 outlives connection and daemon"""
    d = Sluiced(tmp_path).start()
    s = lasting(d.port, "s")
    s.subscribed(("t", 2), ("u", 1))
    p = client(d.port, "p")
    for pid, topic in enumerate(("t", "t", "u"), 1):
        p.published(topic, f"{pid}", qos=2, pid=pid)
    one, two, three = [s.expect(PUBLISH) for _ in range(3)]
    s.send(ack(PUBREC, one.pid))
    s.expect(PUBREL)
    s.send(publish("x", "from the client", 2, 99))
    s.answer(PUBREC)
    d.kill()
    d.start()
    s = lasting(d.port, "s")
    assert s.session_present
    assert s.expect(PUBREL).pid == one.pid
    assert [(g.pid, g.payload, g.qos, g.dup) for g in (s.expect(PUBLISH), s.expect(PUBLISH))] == \
        [(two.pid, b"2", 2, True), (three.pid, b"3", 1, True)]
    s.send(ack(PUBREL, 99))
    assert s.expect(PUBCOMP).reason == 0
    assert s.published("u", "y", pid=5).reason == 0
    assert d.stop() == 0

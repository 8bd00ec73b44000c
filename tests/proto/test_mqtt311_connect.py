# SPDX-License-Identifier: Apache-2.0
"""MQTT 3.1.1, chapters 1, 2, 3.1 and 3.2: what packets look like, CONNECT and CONNACK."""
import struct

import pytest
import raw
from raw import (CONNACK, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, UNSUBACK,
                 UNSUBSCRIBE, Raw, ack, client, connect, packet, publish, subscribe, text, unsubscribe)

NOT_UTF8 = {"surrogate": b"\xed\xa0\x80", "overlong": b"\xc0\xaf", "cut": b"a\xc3", "beyond the last": b"\xf4\x90\x80\x80",
            "lone": b"\x80", "NUL": b"a\0b"}
WITH_STRING = {
    "topic [MQTT-3.3.2-1]": lambda s: publish(s, "x"),
    "filter [MQTT-3.8.3-1]": lambda s: packet(SUBSCRIBE, b"\0\1" + text(s) + b"\0"),
    "filter to end [MQTT-3.10.3-1]": lambda s: packet(UNSUBSCRIBE, b"\0\1" + text(s)),
}
CONNECT_WITH_STRING = {
    "client identifier [MQTT-3.1.3-4]": lambda s: connect(s),
    "will topic [MQTT-3.1.3-10]": lambda s: connect("c", will=(s, "x", 0, 0)),
    "user name [MQTT-3.1.3-11]": lambda s: connect("c", user=s),
}


@pytest.mark.parametrize("how", NOT_UTF8)
@pytest.mark.parametrize("where", WITH_STRING)
def test_bad_strings(port, own, where, how):
    """[MQTT-1.5.3-1], -2, [MQTT-4.7.3-2]"""
    c = client(port, own)
    c.send(WITH_STRING[where](NOT_UTF8[how]))
    assert c.closed()


@pytest.mark.parametrize("how", NOT_UTF8)
@pytest.mark.parametrize("where", CONNECT_WITH_STRING)
def test_bad_strings_in_connect(port, where, how):
    """[MQTT-1.5.3-1], -2; [MQTT-3.1.4-1]: no CONNACK; [MQTT-3.2.2-6]"""
    assert Raw(port, CONNECT_WITH_STRING[where](NOT_UTF8[how])).closed()


def test_byte_order_mark_is_a_character(port, own):
    """[MQTT-1.5.3-3]; [MQTT-4.7.3-4]: U+00E9 and e with U+0301 are two topics, and so are a and A"""
    c = client(port, own)
    topics = [f"{own}/\ufeffx", f"{own}/x", f"{own}/\u00e9", f"{own}/e\u0301", f"{own}/a", f"{own}/A", f"{own}/a/", f"{own}//a"]
    for pid, topic in enumerate(topics, 1):
        c.send(subscribe(pid, topic))
        c.expect(SUBACK)
    for topic in topics:
        c.send(publish(topic, topic))
        p = c.expect(PUBLISH)
        assert p.topic == topic and p.payload == topic.encode()
        c.quiet()


RESERVED = {"PUBACK": ack(PUBACK, 1), "PUBREC": ack(PUBREC, 1), "PUBREL [MQTT-3.6.1-1]": ack(PUBREL, 1), "PUBCOMP": ack(PUBCOMP, 1),
            "SUBSCRIBE [MQTT-3.8.1-1]": subscribe(1, "a"), "UNSUBSCRIBE [MQTT-3.10.1-1]": unsubscribe(1, "a"),
            "PINGREQ": packet(PINGREQ), "DISCONNECT [MQTT-3.14.1-1]": packet(DISCONNECT)}


@pytest.mark.parametrize("what", RESERVED)
def test_reserved_flags(port, own, what):
    """[MQTT-2.2.2-1], -2: each bit of the first byte that has no choice. A wrong DISCONNECT leaves the will."""
    watcher = client(port, own + "w")
    watcher.send(subscribe(1, f"{own}/#"))
    watcher.expect(SUBACK)
    good = RESERVED[what]
    for flip in (1, 2, 4, 8):
        c = client(port, own, will=(f"{own}/will", "x", 0, 0))
        c.send(bytes([good[0] ^ flip]) + good[1:])
        assert c.closed()
        assert watcher.expect(PUBLISH).topic == f"{own}/will"


def test_connect_flags(port):
    """[MQTT-2.2.2-2]"""
    for flip in (1, 2, 4, 8):
        good = connect("c")
        assert Raw(port, bytes([good[0] ^ flip]) + good[1:]).closed()


@pytest.mark.parametrize("data", [packet(kind, b"\0\1") for kind in range(2, 15)] + [b"\x00\0", b"\xf0\0"], ids=lambda d: f"{d[0]:02x}")
def test_first_is_connect(port, data):
    """[MQTT-3.1.0-1]"""
    assert Raw(port, data + connect("late")).closed()


def test_second_connect(port, own):
    """[MQTT-3.1.0-2]"""
    c = client(port, own)
    c.send(connect(own))
    assert c.closed()


FLAGS = {
    "will QoS without will [MQTT-3.1.2-11], [MQTT-3.1.2-13]": (0x0a, text("c")),
    "will retain without will [MQTT-3.1.2-11], [MQTT-3.1.2-15]": (0x22, text("c")),
    "will QoS 3 [MQTT-3.1.2-14]": (0x1e, text("c") + text("t") + text("m")),
    "no will message [MQTT-3.1.2-9]": (0x06, text("c") + text("t")),
    "no will topic [MQTT-3.1.2-9]": (0x06, text("c")),
    "a will without its flag [MQTT-3.1.2-11]": (0x02, text("c") + text("t") + text("m")),
    "a user name without its flag [MQTT-3.1.2-18]": (0x02, text("c") + text("u")),
    "no user name [MQTT-3.1.2-19]": (0x82, text("c")),
    "a password without its flag [MQTT-3.1.2-20]": (0x82, text("c") + text("u") + text("p")),
    "no password [MQTT-3.1.2-21]": (0xc2, text("c") + text("u")),
    "a password without user name [MQTT-3.1.2-22]": (0x42, text("c") + text("p")),
    "reserved flag [MQTT-3.1.2-3]": (0x03, text("c")),
    "no client identifier [MQTT-3.1.3-3]": (0x02, b""),
    "client identifier behind the will [MQTT-3.1.3-1]": (0x06, text("a/#") + text("c") + text("a/#")),
}


@pytest.mark.parametrize("what", FLAGS)
def test_flags_and_payload(port, what):
    """[MQTT-3.1.4-1]: closed without CONNACK"""
    flags, payload = FLAGS[what]
    if "behind" in what:  # the will's topic is then a filter
        payload = text("m") + text("a/#") + text("c")
    assert Raw(port, packet(raw.CONNECT, text("MQTT") + bytes([4, flags, 0, 60]) + payload)).closed()


@pytest.mark.parametrize("name", ["MQTt", "MQTT ", "MQIsdp", "", "MQTTT"])
def test_protocol_name(port, name):
    """[MQTT-3.1.2-1]"""
    c = Raw(port, connect("c", name=name), packet(PINGREQ))
    assert c.closed()


def test_everything_in_its_place(port, own):
    """[MQTT-3.1.3-1], [MQTT-3.1.2-9], [MQTT-3.1.2-19], [MQTT-3.1.2-21], [MQTT-3.1.4-4]"""
    watcher = client(port, own + "w")
    watcher.send(subscribe(1, (f"{own}/#", 2)))
    watcher.expect(SUBACK)
    c = Raw(port, connect(own, will=(f"{own}/will", "last words", 2, 1), user="somebody", password="secret"))
    assert c.expect(CONNACK).body == b"\0\0"
    c.close()
    p = watcher.expect(PUBLISH)
    assert (p.topic, p.payload, p.qos) == (f"{own}/will", b"last words", 2)


@pytest.mark.parametrize("name", ["a", "0", "Z" * 23, "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"])
def test_client_identifiers(port, name):
    """[MQTT-3.1.3-5], [MQTT-3.1.4-4], [MQTT-3.2.0-1]"""
    with client(port, name) as c:
        assert c.connack.body == b"\0\0"
        c.quiet()


def test_longer_client_identifiers(port):
    for name in ("x" * 24, "x" * 65535, "plant/7+#", "Gerät 7 \u65e5\u672c"):
        with client(port, name) as c:
            c.quiet()


def test_empty_client_identifiers_are_not_one(port, own):
    """[MQTT-3.1.3-6], [MQTT-3.1.3-2]: each has a session of its own"""
    a, b = client(port, ""), client(port, "")
    a.send(subscribe(1, f"{own}/a"))
    b.send(subscribe(1, f"{own}/b"))
    a.expect(SUBACK), b.expect(SUBACK)
    a.send(publish(f"{own}/b", "to b"))
    assert b.expect(PUBLISH).payload == b"to b"
    a.quiet()


def test_refused_client_identifier(port, own):
    """[MQTT-3.1.3-8], [MQTT-3.1.3-9], [MQTT-3.2.2-4], -5; [MQTT-3.1.4-5]: what comes behind is not looked at"""
    watcher = client(port, own)
    watcher.send(subscribe(1, f"{own}/#"))
    watcher.expect(SUBACK)
    c = Raw(port, connect("", clean=False) + publish(f"{own}/x", "smuggled") + packet(PINGREQ))
    assert c.expect(CONNACK).body == b"\0\2"
    assert c.closed()
    watcher.quiet()


def test_unknown_version(port, own):
    """[MQTT-3.1.2-2], [MQTT-3.2.2-4], -5, [MQTT-3.1.4-5]"""
    watcher = client(port, own)
    watcher.send(subscribe(1, f"{own}/#"))
    watcher.expect(SUBACK)
    for level in (0, 1, 2):
        c = Raw(port, connect(own + "x", level=level) + publish(f"{own}/x", "smuggled"))
        assert c.expect(CONNACK).body == b"\0\1"
        assert c.closed()
    watcher.quiet()


def test_session_present(port, own):
    """[MQTT-3.2.2-1] to -3, [MQTT-3.1.2-4], [MQTT-3.1.2-6], [MQTT-3.1.4-3], [MQTT-4.1.0-1], [MQTT-4.1.0-2]"""
    for clean, present in ((False, 0), (False, 1), (True, 0), (False, 0), (False, 1), (True, 0), (True, 0)):
        c = Raw(port, connect(own, clean))
        assert c.expect(CONNACK).body == bytes([present, 0]), (clean, present)
        c.send(subscribe(1, f"{own}/{clean}"))
        c.expect(SUBACK)
        c.send(publish(f"{own}/{not clean}", "not mine"))
        c.quiet()
        c.send(packet(DISCONNECT))
        assert c.closed()


def test_clean_session_takes_nothing_along(port, own):
    """[MQTT-3.1.2-6]: subscriptions, queue, identifiers that were received at QoS 2"""
    s, p = client(port, own, clean=False), client(port, own + "p")
    s.send(subscribe(1, (f"{own}/t", 2)), publish(f"{own}/t", "begun", qos=2, pid=7))
    s.expect(SUBACK)
    s.close()
    p.send(publish(f"{own}/t", "queued", qos=1, pid=1))
    p.expect(PUBACK)
    with client(port, own, clean=True) as s:
        assert not s.session_present
        s.quiet()
        p.send(subscribe(2, f"{own}/u"))
        p.expect(SUBACK)
        s.send(publish(f"{own}/u", "again 7", qos=2, pid=7, dup=True))
        s.expect(PUBREC)
        assert p.expect(PUBLISH).payload == b"again 7"
    with client(port, own, clean=False) as s:
        assert not s.session_present
        s.quiet()


def test_queue_of_a_session_that_is_away(port, own):
    """[MQTT-3.1.2-5], [MQTT-3.1.3-2], [MQTT-4.5.0-1]: at QoS 1 and 2 what matches, nothing else"""
    for name in ("one", "two"):
        s = client(port, own + name, clean=False)
        s.send(subscribe(1, (f"{own}/{name}/+", 2), (f"{own}/both/+", 1)))
        s.expect(SUBACK)
        s.close()
    p = client(port, own)
    for pid, (topic, qos) in enumerate([("one/a", 1), ("two/a", 2), ("both/a", 2), ("none/a", 1), ("one/b", 2)], 1):
        p.send(publish(f"{own}/{topic}", topic, qos, pid))
        p.expect(PUBACK if qos == 1 else PUBREC)
    for name, due in (("one", [("one/a", 1), ("both/a", 1), ("one/b", 2)]), ("two", [("two/a", 2), ("both/a", 1)])):
        s = client(port, own + name, clean=False)
        assert s.session_present
        got = [s.expect(PUBLISH) for _ in due]
        assert [(g.payload.decode(), g.qos) for g in got] == due
        s.quiet()


def test_retained_messages_outlive_the_session(port, own):
    """[MQTT-3.1.2-7]"""
    with client(port, own) as c:
        c.send(publish(f"{own}/r", "stays", qos=1, pid=1, retain=True))
        c.expect(PUBACK)
        c.send(packet(DISCONNECT))
        assert c.closed()
    c = client(port, own)
    c.send(subscribe(1, f"{own}/r"))
    kinds = {p.kind: p for p in (c.read(), c.read())}
    assert kinds[PUBLISH].payload == b"stays"


@pytest.mark.parametrize("retain", [0, 1])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_will(port, own, qos, retain):
    """[MQTT-3.1.2-8] to -10, [MQTT-3.1.2-16], -17: published as its flags say, once"""
    s = client(port, own + "s")
    s.send(subscribe(1, (f"{own}/w", 2)))
    s.expect(SUBACK)
    will = (f"{own}/w", "lost", qos, retain)
    client(port, own, will=will).close()
    p = s.expect(PUBLISH)
    assert (p.payload, p.qos, p.retain) == (b"lost", qos, False)
    if qos == 1:
        s.send(ack(PUBACK, p.pid))
    if qos == 2:
        s.send(ack(PUBREC, p.pid))
        s.expect(PUBREL)
        s.send(ack(PUBCOMP, p.pid))
    s.quiet()
    client(port, own).close()
    s.quiet()
    late = client(port, own + "late")
    late.send(subscribe(1, (f"{own}/w", 2)))
    got = {p.kind: p for p in (late.read() for _ in range(1 + retain))}  # §3.8.4: in any order
    assert SUBACK in got
    if retain:
        p = got[PUBLISH]
        assert (p.payload, p.retain, p.qos) == (b"lost", True, qos)
    late.quiet()


def test_no_will(port, own):
    """[MQTT-3.1.2-12]; [MQTT-3.1.2-10], [MQTT-3.14.4-3]: nothing after DISCONNECT; a will is not the next connection's"""
    s = client(port, own + "s")
    s.send(subscribe(1, f"{own}/#"))
    s.expect(SUBACK)
    client(port, own).close()
    for clean in (True, False):
        c = client(port, own, clean, will=(f"{own}/w", "lost", 0, 0))
        c.send(packet(DISCONNECT))
        assert c.closed()
        client(port, own, clean).close()
    s.quiet()


WAYS_TO_GO = {"malformed": b"\x36\0", "second CONNECT": connect("x"), "reset": None, "keepalive": b"", "taken over": b""}


@pytest.mark.parametrize("how", WAYS_TO_GO)
def test_will_however_the_connection_ends(port, own, how):
    """[MQTT-3.1.2-8], [MQTT-3.1.2-24], [MQTT-3.1.4-2]"""
    s = client(port, own + "s")
    s.send(subscribe(1, f"{own}/w"))
    s.expect(SUBACK)
    c = client(port, own, keepalive=1 if how == "keepalive" else 60, will=(f"{own}/w", how, 0, 0))
    again = client(port, own) if how == "taken over" else None
    if how == "reset":
        c.sock.setsockopt(raw.socket.SOL_SOCKET, raw.socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
    else:
        c.send(WAYS_TO_GO[how])
        assert c.closed()
    assert s.expect(PUBLISH).payload == how.encode()
    if again:
        again.quiet()


def test_take_over_keeps_the_session(port, own):
    """[MQTT-3.1.4-2], [MQTT-3.1.3-2]"""
    a = client(port, own, clean=False)
    a.send(subscribe(1, (f"{own}/t", 1)))
    a.expect(SUBACK)
    b = client(port, own, clean=False)
    assert a.closed() and b.session_present
    b.send(publish(f"{own}/t", "x"))
    assert b.expect(PUBLISH).payload == b"x"


def test_packets_may_follow_connect_at_once(port, own):
    """[MQTT-3.2.0-1]: and CONNACK comes first all the same, also when it waits for the disk"""
    for clean in (True, False):
        c = Raw(port, connect(own, clean) + packet(PINGREQ) + subscribe(1, f"{own}/t") + publish(f"{own}/t", "x"))
        kinds = [c.read().kind for _ in range(4)]
        assert kinds[0] == CONNACK and sorted(kinds[1:]) == [PUBLISH, SUBACK, PINGRESP]
        c.close()


def test_identifiers_of_answers(port, own):
    """[MQTT-2.3.1-6], -7, [MQTT-2.3.1-5]"""
    c = client(port, own)
    for pid in (1, 2, 255, 256, 257, 32768, 65535):
        c.send(publish(f"{own}/t", "\0\7payload"), publish(f"{own}/t", "x", 1, pid))
        assert c.expect(PUBACK).pid == pid
        c.send(publish(f"{own}/t", "x", 2, pid))
        assert c.expect(PUBREC).pid == pid
        c.send(ack(PUBREL, pid))
        assert c.expect(PUBCOMP).pid == pid
        c.send(subscribe(pid, f"{own}/s{pid}"))
        assert c.expect(SUBACK).pid == pid
        c.send(unsubscribe(pid, f"{own}/s{pid}"))
        assert c.expect(UNSUBACK).pid == pid


def test_our_identifiers(port, own):
    """[MQTT-2.3.1-4], [MQTT-2.3.1-5]: not 0, never one that is still in flight, whatever order they are acknowledged in"""
    s, p = client(port, own + "s"), client(port, own + "p")
    s.send(subscribe(1, (f"{own}/t", 2)))
    s.expect(SUBACK)
    flying = []
    for sent in range(1, 401):
        p.send(publish(f"{own}/t", f"{sent}", 1 + sent % 2, sent))
        p.expect(PUBREC if sent % 2 else PUBACK)
        got = s.expect(PUBLISH)
        assert got.pid and got.pid not in [f.pid for f in flying]
        flying.append(got)
        if len(flying) > 30:
            done = flying.pop(sent * 7 % 30)
            s.send(ack(PUBACK if done.qos == 1 else PUBREC, done.pid))
            if done.qos == 2:
                assert s.expect(PUBREL).pid == done.pid
                s.send(ack(PUBCOMP, done.pid))
    s.send(publish(f"{own}/t", "\1\2 is no identifier"))
    assert s.expect(PUBLISH).payload == b"\1\2 is no identifier"

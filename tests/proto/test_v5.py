# SPDX-License-Identifier: Apache-2.0
"""MQTT 5.0 by hand-made packets; statements are those of MQTT 5.0."""
import struct
import subprocess
import time

import pytest
import raw
from daemon import Sluiced, wait_for
from raw import (CONNACK, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, Raw, ack, client, connect, packet, publish,
                 varint)


def v5(port, name="v", clean=True, props=b"", **more):
    return client(port, name, clean, level=5, props=props, **more)


def number(ident, value, size=4):
    return bytes([ident]) + value.to_bytes(size, "big")


def connack_props(c):
    """Identifier -> bytes of the properties of CONNACK."""
    body = c.connack.body[3:]
    sizes = {17: 4, 33: 2, 34: 2, 36: 1, 37: 1, 39: 4, 40: 1, 41: 1, 42: 1, 19: 2}
    out = {}
    while body:
        ident, body = body[0], body[1:]
        size = sizes.get(ident)
        if size is None:
            size = 2 + struct.unpack(">H", body[:2])[0]
        out[ident], body = body[:size], body[size:]
    return out


def sub5(pid, filter, options, ident=None):
    props = b"\x0b" + varint(ident) if ident else b""
    return packet(raw.SUBSCRIBE, struct.pack(">H", pid) + varint(len(props)) + props + raw.text(filter) + bytes([options]))


def refused(c, reason):
    p = c.expect(DISCONNECT)
    assert p.body[0] == reason, p
    assert c.closed()


def test_connack_says_what_we_take(sluiced):
    c = v5(sluiced.port, "")
    props = connack_props(c)
    assert props[18][2:].startswith(b"auto-")  # [MQTT-3.1.3-7], [MQTT-3.2.2-16]
    assert 33 in props and 34 in props and 39 in props
    assert 18 not in connack_props(v5(sluiced.port, "named"))


def test_forwarded_properties_in_order(sluiced):
    """[MQTT-3.3.2-4], [MQTT-3.3.2-15] to -20: payload format, content type, response topic, correlation, user properties"""
    s, p = v5(sluiced.port, "s"), v5(sluiced.port, "p")
    s.send(sub5(1, "t", 1))
    s.expect(SUBACK)
    props = (b"\x01\x01" + b"\x03" + raw.text("text/plain") + b"\x08" + raw.text("answer/here") + b"\x09" + raw.text(b"\0\1\2")
             + b"\x26" + raw.text("k") + raw.text("1") + b"\x26" + raw.text("a") + raw.text("2") + b"\x26" + raw.text("k") + raw.text("1"))
    p.send(publish("t", "x", 1, 1, props=props), publish("t", "y", 0, props=props))
    assert p.expect(PUBACK)
    one, two = s.expect(PUBLISH), s.expect(PUBLISH)
    assert one.props == props and two.props == props
    old = client(sluiced.port, "old")
    old.send(raw.subscribe(1, "t"))
    old.expect(SUBACK)
    p.send(publish("t", "z", 0, props=props))
    assert old.expect(PUBLISH).payload == b"z"


def test_message_expiry_counts_down(tmp_path):
    """[MQTT-3.3.2-5], [MQTT-3.3.2-6], also over a restart"""
    d = Sluiced(tmp_path).start()
    keep = number(17, 1000)
    s = v5(d.port, "s", clean=False, props=keep)
    s.send(sub5(1, "t", 1))
    s.expect(SUBACK)
    s.close()
    p = v5(d.port, "p")
    for i, life in enumerate((1, 100, None)):
        p.send(publish("t", f"{life}", 1, i + 1, props=number(2, life) if life else b""))
        p.expect(PUBACK)
    time.sleep(2.1)
    d.kill()
    d.start()
    s = v5(d.port, "s", clean=False, props=keep)
    assert s.session_present
    one, two = s.expect(PUBLISH), s.expect(PUBLISH)
    assert one.payload == b"100" and one.props[0] == 2
    assert 90 <= struct.unpack(">I", one.props[1:5])[0] <= 98
    assert (two.payload, two.props) == (b"None", b"")
    assert d.stop() == 0


def test_subscription_identifiers(tmp_path):
    """[MQTT-3.3.4-3] to -5: all of them on one copy, replaced on subscribing again, kept over a restart, on retained ones"""
    d = Sluiced(tmp_path).start()
    s = v5(d.port, "s", clean=False, props=number(17, 1000))
    s.send(sub5(1, "a/#", 1, 7), sub5(2, "a/+", 0, 300), sub5(3, "a/b", 2))
    for _ in range(3):
        s.expect(SUBACK)
    s.send(publish("a/b", "x", 1, 5, retain=True, props=b""))
    kinds = {p.kind: p for p in (s.read(), s.read())}
    got = kinds[PUBLISH]
    assert sorted(got.props.split(b"\x0b")[1:]) == sorted([varint(7), varint(300)]) and got.qos == 1
    s.send(ack(PUBACK, got.pid))
    s.quiet()
    d.kill()
    d.start()
    s = v5(d.port, "s", clean=False, props=number(17, 1000))
    assert s.session_present
    s.send(sub5(4, "a/+", 0, 9))
    seen = {p.kind: p for p in (s.read(), s.read())}
    assert seen[PUBLISH].retain and seen[PUBLISH].props == b"\x0b\x09"
    assert d.stop() == 0


def test_subscription_options(sluiced):
    """[MQTT-3.8.3-3] no local, [MQTT-3.3.1-12], -13 retain as published, [MQTT-3.3.1-9] to -11 retain handling"""
    c, other = v5(sluiced.port, "c"), v5(sluiced.port, "o")
    c.send(sub5(1, "nl", 0 | 4), sub5(2, "rap", 8), sub5(3, "plain", 0))
    for _ in range(3):
        c.expect(SUBACK)
    c.send(publish("nl", "mine", props=b""))
    c.quiet()
    other.send(publish("nl", "theirs", props=b""), publish("rap", "r", retain=True, props=b""), publish("plain", "r", retain=True, props=b""))
    assert c.expect(PUBLISH).payload == b"theirs"
    assert c.expect(PUBLISH).retain and not c.expect(PUBLISH).retain
    c.send(sub5(4, "rap", 0x10))  # only for a new subscription, which it is not
    c.expect(SUBACK)
    c.quiet()
    new = v5(sluiced.port, "new")
    new.send(sub5(1, "rap", 0x20))
    new.expect(SUBACK)
    new.quiet()
    new.send(sub5(2, "plain", 0x10))
    kinds = {new.read().kind, new.read().kind}
    assert kinds == {SUBACK, PUBLISH}


def test_topic_alias_in(sluiced):
    """[MQTT-3.3.2-7] to -12"""
    s, p = v5(sluiced.port, "s"), v5(sluiced.port, "p")
    s.send(sub5(1, "#", 0))
    s.expect(SUBACK)
    p.send(publish("long/topic", "1", props=number(35, 3, 2)), publish("", "2", props=number(35, 3, 2)),
           publish("other", "3", props=number(35, 3, 2)), publish("", "4", props=number(35, 3, 2)))
    assert [s.expect(PUBLISH).topic for _ in range(4)] == ["long/topic", "long/topic", "other", "other"]
    p.send(publish("", "x", props=number(35, 4, 2)))
    refused(p, 0x94)
    p = v5(sluiced.port, "p")
    p.send(publish("", "forgotten", props=number(35, 3, 2)))
    refused(p, 0x94)
    p = v5(sluiced.port, "p")
    p.send(publish("t", "over", props=number(35, 65000, 2)))
    refused(p, 0x94)
    s.quiet()


def test_topic_alias_out(sluiced):
    """[MQTT-3.1.2-26], -27: only as many as the client allows; the full topic at first use"""
    s, p = v5(sluiced.port, "s", props=number(34, 2, 2)), v5(sluiced.port, "p")
    s.send(sub5(1, "#", 0))
    s.expect(SUBACK)
    for topic in ("one", "two", "one", "three", "two", "three"):
        p.send(publish(topic, topic, props=b""))
    got = [s.expect(PUBLISH) for _ in range(6)]
    assert [(g.topic, g.props) for g in got] == [("one", number(35, 1, 2)), ("two", number(35, 2, 2)), ("", number(35, 1, 2)),
                                                 ("three", b""), ("", number(35, 2, 2)), ("three", b"")]


def test_receive_maximum_to_client(sluiced):
    """[MQTT-3.3.4-9]: QoS 0 is not counted; PUBREC with an error frees a place"""
    s, p = v5(sluiced.port, "s", props=number(33, 2, 2)), v5(sluiced.port, "p")
    s.send(sub5(1, "#", 2))
    s.expect(SUBACK)
    for i in range(5):
        p.send(publish("t", f"{i}", 2 if i % 2 else 1, i + 1, props=b""))
    got = [s.expect(PUBLISH), s.expect(PUBLISH)]
    s.quiet()
    p.send(publish("t", "zero", props=b""))
    assert s.expect(PUBLISH).qos == 0
    s.send(ack(PUBACK, got[0].pid))
    assert s.expect(PUBLISH).payload == b"2"
    s.send(packet(PUBREC, struct.pack(">H", got[1].pid) + b"\x87"))
    assert s.expect(PUBLISH).payload == b"3"
    s.quiet()


def test_receive_maximum_from_client(tmp_path):
    """[MQTT-3.3.4-7]: more than ours is refused with 0x93"""
    d = Sluiced(tmp_path, "limits = { receive = 5; };").start()
    c = v5(d.port)
    assert connack_props(c)[33] == b"\0\5"
    c.send(*[publish("t", "x", 2, i, props=b"") for i in range(1, 6)])
    for _ in range(5):
        c.expect(PUBREC)
    c.send(publish("t", "x", 2, 6, props=b""))
    refused(c, 0x93)
    assert d.stop() == 0


def test_maximum_packet_size_of_client(sluiced):
    """[MQTT-3.1.2-24], -25: dropped for that client alone, as if it had been sent"""
    small, big, p = v5(sluiced.port, "small", props=number(39, 100)), v5(sluiced.port, "big"), v5(sluiced.port, "p")
    for s in (small, big):
        s.send(sub5(1, "t", 1))
        s.expect(SUBACK)
    p.send(publish("t", "x" * 200, 1, 1, props=b""), publish("t", "y" * 200, 0, props=b""), publish("t", "fits", 1, 2, props=b""))
    assert small.expect(PUBLISH).payload == b"fits"
    assert sorted(big.expect(PUBLISH).payload[:1] for _ in range(3)) == [b"f", b"x", b"y"]


def test_payload_format(sluiced):
    """[MQTT-3.3.2-4]: checked when claimed"""
    c = v5(sluiced.port)
    c.send(publish("t", b"\xff\xfe", props=b"\x01\x00"))
    c.quiet()
    c.send(publish("t", b"\xff\xfe", props=b"\x01\x01"))
    refused(c, 0x99)


def test_session_expiry(tmp_path):
    """[MQTT-3.1.2-23], §3.14.2.2.2"""
    d = Sluiced(tmp_path).start()
    c = v5(d.port, "e", clean=False, props=number(17, 2))
    c.close()
    assert v5(d.port, "e", clean=False, props=number(17, 2)).session_present
    c = v5(d.port, "e", clean=False, props=number(17, 1))
    c.close()
    time.sleep(3.5)
    assert not v5(d.port, "e", clean=False, props=number(17, 100)).session_present
    c = v5(d.port, "f", clean=False, props=number(17, 100))
    c.send(packet(DISCONNECT, b"\0" + b"\5" + number(17, 0)))  # ends with the connection
    assert c.closed()
    c = v5(d.port, "f", clean=False)
    assert not c.session_present
    c.send(packet(DISCONNECT, b"\0" + b"\5" + number(17, 100)))  # cannot be raised from 0
    refused(c, 0x82)
    assert d.stop() == 0


def test_will_delay(sluiced):
    """[MQTT-3.1.3-9]; cancelled by reconnecting; ended by the session's end"""
    s = v5(sluiced.port, "s")
    s.send(sub5(1, "w/#", 0))
    s.expect(SUBACK)

    def willed(name, delay, expiry):
        head = raw.text("MQTT") + bytes([5, 4]) + struct.pack(">H", 60)
        will = number(24, delay)
        props = number(17, expiry)
        body = head + varint(len(props)) + props + raw.text(name) + varint(len(will)) + will + raw.text(f"w/{name}") + raw.text("x")
        c = Raw(sluiced.port, packet(raw.CONNECT, body), v5=True)
        c.expect(CONNACK)
        return c

    willed("back", 1, 100).close()
    back = willed("back", 1, 100)
    willed("late", 1, 100).close()
    s.quiet()
    willed("ended", 1000, 0).close()
    assert s.expect(PUBLISH).topic == "w/ended"
    assert s.expect(PUBLISH).topic == "w/late"
    time.sleep(1.5)
    s.quiet()
    back.close()


def test_disconnect_with_will(sluiced):
    """[MQTT-3.14.4-3], reason 0x04"""
    s = v5(sluiced.port, "s")
    s.send(sub5(1, "w", 0))
    s.expect(SUBACK)
    c = Raw(sluiced.port, packet(raw.CONNECT, raw.text("MQTT") + b"\5\6\0\0\0" + raw.text("w") + b"\0" + raw.text("w") + raw.text("x")), v5=True)
    c.expect(CONNACK)
    c.send(packet(DISCONNECT, b"\4"))
    assert s.expect(PUBLISH).payload == b"x"


def test_take_over_is_told(sluiced):
    """[MQTT-3.1.4-3]"""
    a = v5(sluiced.port, "same")
    v5(sluiced.port, "same")
    refused(a, 0x8e)


def test_reasons(sluiced):
    """[MQTT-3.4.2-1] no subscribers, [MQTT-3.11.3-2], [MQTT-3.7.2-1] unknown identifier"""
    c = v5(sluiced.port)
    c.send(publish("nobody", "x", 1, 1, props=b""))
    assert c.expect(PUBACK).body == b"\0\1\x10"
    c.send(publish("nobody", "x", 2, 2, props=b""))
    assert c.expect(PUBREC).body == b"\0\2\x10"
    c.send(ack(PUBREL, 9))
    assert c.expect(PUBCOMP).body == b"\0\x09\x92"
    c.send(ack(PUBREC, 9))
    assert c.expect(PUBREL).body == b"\0\x09\x92"
    c.send(packet(raw.UNSUBSCRIBE, b"\0\3\0" + raw.text("never")))
    assert c.expect(raw.UNSUBACK).body == b"\0\3\0\x11"


@pytest.mark.parametrize("level", [4, 5])
def test_shared_subscriptions_take_turns(sluiced, level):
    """[MQTT-4.8.2-2], -3: each message to one; no retained messages"""
    p = v5(sluiced.port, "p")
    p.send(publish("job/r", "old", retain=True, props=b""))
    members = [client(sluiced.port, f"m{i}", level=level) for i in range(3)]
    plain = client(sluiced.port, "plain")
    plain.send(raw.subscribe(1, "job/+"))
    plain.read(), plain.read()
    for m in members:
        m.send(raw.subscribe(1, ("$share/g/job/+", 1), v5=level == 5))
        m.expect(SUBACK)
        m.quiet()
    for i in range(30):
        p.send(publish(f"job/{i}", f"{i}", 1, i + 1, props=b""))
        assert p.expect(PUBACK)
    got = []
    for m in members:
        mine = [m.expect(PUBLISH) for _ in range(10)]
        m.quiet()
        m.send(*[ack(PUBACK, x.pid) for x in mine])
        got += [x.payload for x in mine]
    assert sorted(got, key=int) == [b"%d" % i for i in range(30)]
    assert [plain.expect(PUBLISH).payload for _ in range(30)] == [b"%d" % i for i in range(30)]


def test_shared_subscription_when_a_member_leaves(sluiced):
    """[MQTT-4.8.2-4], -5 (QoS 1 goes to another member when the session ends; what was begun at QoS 2 does not)"""
    p, a, b = v5(sluiced.port, "p"), v5(sluiced.port, "a"), v5(sluiced.port, "b")
    a.send(sub5(1, "$share/g/t", 2))
    a.expect(SUBACK)
    p.send(publish("t", "one", 1, 1, props=b""), publish("t", "two", 2, 2, props=b""))
    a.expect(PUBLISH), a.expect(PUBLISH)
    b.send(sub5(1, "$share/g/t", 2))
    b.expect(SUBACK)
    a.close()
    got = b.expect(PUBLISH)
    assert (got.payload, got.qos) == (b"one", 1)
    b.quiet()


def test_shared_subscription_waits_for_sessions_that_are_away(tmp_path):
    d = Sluiced(tmp_path).start()
    for name in "ab":
        c = v5(d.port, name, clean=False, props=number(17, 100))
        c.send(sub5(1, "$share/g/t", 1))
        c.expect(SUBACK)
        c.close()
    p = v5(d.port, "p")
    for i in range(20):
        p.send(publish("t", f"{i}", 1, i + 1, props=b""))
        assert p.expect(PUBACK).body == struct.pack(">H", i + 1)
    d.kill()
    d.start()
    got = []
    for name in "ab":
        c = v5(d.port, name, clean=False, props=number(17, 100))
        mine = [c.expect(PUBLISH) for _ in range(10)]
        got += [x.payload for x in mine]
    assert sorted(got, key=int) == [b"%d" % i for i in range(20)]
    assert d.stop() == 0


def test_request_response_with_mosquitto_rr(sluiced):
    """mosquitto_rr asks, a paho-like answerer answers at the response topic with the correlation data"""
    s = v5(sluiced.port, "server")
    s.send(sub5(1, "ask", 1))
    s.expect(SUBACK)
    rr = subprocess.Popen(["mosquitto_rr", "-p", str(sluiced.port), "-t", "ask", "-e", "answers/1", "-m", "question", "-W", "10"],
                          stdout=subprocess.PIPE, text=True)
    q = s.expect(PUBLISH)
    assert q.payload == b"question"
    if q.qos:
        s.send(ack(PUBACK, q.pid))
    at = q.props.index(b"\x08")
    size = struct.unpack(">H", q.props[at + 1:at + 3])[0]
    topic = q.props[at + 3:at + 3 + size].decode()
    s.send(publish(topic, "answer", props=b""))
    assert rr.communicate(timeout=10)[0].strip() == "answer"


def test_server_keep_alive(tmp_path):
    """[MQTT-3.1.2-21], [MQTT-3.2.2-21]"""
    d = Sluiced(tmp_path, 'limits = { keepalive = "1s"; };').start()
    c = v5(d.port, keepalive=600)
    assert connack_props(c)[19] == b"\0\1"
    refused(c, 0x8d)
    assert d.stop() == 0


BAD = {
    "QoS 3": (packet(PUBLISH, raw.text("t") + b"\0\1\0", 6), 0x81),
    "will delay in PUBLISH": (publish("t", "x", props=number(24, 1)), 0x81),
    "two content types": (publish("t", "x", props=(b"\3" + raw.text("a")) * 2), 0x82),
    "subscription identifier in PUBLISH": (publish("t", "x", props=b"\x0b\x01"), 0x82),
    "subscription identifier 0": (sub5(1, "t", 0, None)[:2] + b"\0\1\2\x0b\0" + raw.text("t") + b"\0", 0x81),
    "AUTH without a method": (packet(raw.AUTH), 0x82),
    "second CONNECT": (connect(level=5), 0x82),
    "reserved option bits": (sub5(1, "t", 0xc0), 0x81),
    "no local on a shared subscription": (sub5(1, "$share/g/t", 4), 0x82),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_packets_are_told_why(sluiced, what):
    """[MQTT-4.13.1-1], [MQTT-4.13.2-1]"""
    data, reason = BAD[what]
    c = v5(sluiced.port)
    c.send(data)
    p = c.expect(DISCONNECT)
    assert p.body[0] in (reason, 0x81, 0x82), hex(p.body[0])
    assert c.closed()

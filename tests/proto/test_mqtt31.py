# SPDX-License-Identifier: Apache-2.0
"""MQTT 3.1 (V3.1 Protocol Specification, 2010) for old devices: where it differs from 3.1.1, and all of it once. It numbers no
statements; sections are named."""
import itertools

import pytest
import raw
from daemon import Sluiced, wait_for
from raw import (CONNACK, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK, Raw, ack, packet,
                 publish, subscribe, text, unsubscribe)


def connect(name="old", clean=True, **more):
    return raw.connect(name, clean, level=3, name="MQIsdp", **more)


def client(port, name="old", clean=True, **more):
    c = Raw(port, connect(name, clean, **more))
    assert c.expect(CONNACK).body == b"\0\0"
    return c


def logged(daemon, words):
    return wait_for(lambda: words in daemon.log(), what=words)


# --- CONNECT and CONNACK (3.1, 3.2) --------------------------------------------------------------------------------

@pytest.mark.parametrize("clean", [True, False])
def test_connack_has_nothing_of_the_session(port, own, clean):
    """3.2: the first byte is not used. A device that expects 0 there gets 0, also where its session goes on."""
    for _ in range(2):
        with client(port, own[:23], clean) as c:
            c.quiet()


@pytest.mark.parametrize("name", ["a", "x" * 23, "é" * 23, "\u65e5" * 23])
def test_client_identifiers(port, name):
    """3.1: between 1 and 23 characters, whatever bytes those have"""
    with client(port, name) as c:
        c.quiet()


def test_client_identifiers_that_are_too_long(tmp_path):
    """3.1: refused with 2, said in the log, and taken when the configuration says so"""
    d = Sluiced(tmp_path).start()
    for name in ("x" * 24, "é" * 24):
        c = Raw(d.port, connect(name))
        assert c.expect(CONNACK).body == b"\0\2"
        assert c.closed()
    assert logged(d, "mqtt.old_client_id may allow more")
    d.configure("mqtt = { old_client_id = 40; };")
    d.reload()
    logged(d, "configuration: in force")
    client(d.port, "x" * 40).quiet()
    assert Raw(d.port, connect("x" * 41)).expect(CONNACK).body == b"\0\2"
    raw.client(d.port, "x" * 100).quiet()  # 3.1.1 has no such rule
    assert d.stop() == 0


@pytest.mark.parametrize("clean", [True, False])
def test_an_empty_client_identifier(port, clean):
    """3.1: 0 characters are refused; we make names for later versions only"""
    c = Raw(port, connect("", clean))
    assert c.expect(CONNACK).body == b"\0\2"
    assert c.closed()


def test_names_and_versions_go_together(port):
    """3.1: MQIsdp with 3, MQTT with 4"""
    for name, level in (("MQTT", 3), ("MQIsdp", 4), ("MQIsdp", 5), ("mqisdp", 3), ("MQIsdp ", 3)):
        c = Raw(port, raw.connect("c", name=name, level=level))
        got = c.read()
        assert got is None or (level == 5 and got.body[1] == 0x84 and c.closed()), (name, level)


def test_flags_of_fields_that_are_not_there(port, own):
    """3.1: the remaining length takes precedence; a flagged user name or password may be missing. Bits of no will mean nothing."""
    for flags, tail in ((0x82, b""), (0xc2, b""), (0xc2, text("user")), (0x2a, b""), (0x03, b"")):
        c = Raw(port, packet(raw.CONNECT, text("MQIsdp") + bytes([3, flags, 0, 60]) + text(own[:23]) + tail))
        assert c.expect(CONNACK).body == b"\0\0", hex(flags)
    c = Raw(port, packet(raw.CONNECT, text("MQIsdp") + bytes([3, 0x42, 0, 60]) + text(own[:23]) + text("secret")))
    assert c.closed(), "a password without a user name"


def test_will_and_take_over(port, own):
    """3.1, 3.14: the will after a loss and a take-over, not after DISCONNECT"""
    watcher = raw.client(port, own)
    watcher.send(subscribe(1, (f"{own}/will", 2)))
    watcher.expect(SUBACK)
    a = client(port, "old-will", will=(f"{own}/will", "first", 2, 0))
    b = client(port, "old-will", will=(f"{own}/will", "second", 1, 0))
    assert a.closed()
    got = watcher.expect(PUBLISH)
    assert (got.payload, got.qos) == (b"first", 2)
    b.close()
    assert watcher.expect(PUBLISH).payload == b"second"
    c = client(port, "old-will", will=(f"{own}/will", "never", 0, 0))
    c.send(packet(DISCONNECT))
    assert c.closed()
    watcher.quiet()


def test_keepalive(port, own):
    """3.1: one and a half times of it"""
    assert client(port, own[:23], keepalive=1).closed()


# --- SUBSCRIBE and SUBACK (3.8, 3.9) -------------------------------------------------------------------------------

def test_suback_has_no_failures(tmp_path):
    """3.9: granted QoS 0, 1 or 2 and nothing else; what is refused looks granted to it, and gives nothing"""
    d = Sluiced(tmp_path, "limits = { subscriptions = 5; };").start()
    c, new = client(d.port), raw.client(d.port, "new")
    filters = [(f"t/{i}", i % 3) for i in range(12)]
    c.send(subscribe(1, *filters))
    assert c.expect(SUBACK).body[2:] == bytes(qos for _, qos in filters)
    new.send(subscribe(1, "u"))
    assert new.expect(SUBACK).body[2:] == b"\x80"
    new.send(publish("t/11", "refused"), publish("t/0", "granted"))
    assert c.expect(PUBLISH).payload == b"granted"
    c.quiet()
    assert d.stop() == 0


def test_dup_on_what_is_sent_again(port, own):
    """2.1, 3.6, 3.8, 3.10: PUBREL, SUBSCRIBE and UNSUBSCRIBE have QoS 1, and DUP when an old device sends them again"""
    c = client(port, own[:23])
    c.send(packet(raw.SUBSCRIBE, subscribe(5, f"{own}/t")[2:], 0x0a))
    assert c.expect(SUBACK).pid == 5
    c.send(publish(f"{own}/t", "x", 2, 6), publish(f"{own}/t", "x", 2, 6, dup=True))
    assert sorted((p.kind, p.pid or 0) for p in (c.read() for _ in range(3))) == [(PUBLISH, 0), (PUBREC, 6), (PUBREC, 6)]
    c.send(packet(PUBREL, b"\0\6", 0x0a), packet(PUBREL, b"\0\6", 0x0a))
    assert [c.expect(PUBCOMP).pid for _ in range(2)] == [6, 6]
    c.send(packet(raw.UNSUBSCRIBE, unsubscribe(7, f"{own}/t")[2:], 0x0a))
    assert c.expect(UNSUBACK).pid == 7
    c.quiet()


# --- all of it once ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("clean", [True, False], ids=["clean", "kept"])
def test_every_qos_between_versions(port, own, clean):
    """3.3 to 3.7: old to new and new to old"""
    old = client(port, own[-23:], clean)
    new = raw.client(port, own + "new", clean)
    for c, name in ((old, "old"), (new, "new")):
        c.send(subscribe(1, (f"{own}/{name}", 2)))
        assert c.expect(SUBACK).body == b"\0\1\2"
    for (a, b, to), qos in itertools.product(((old, new, "new"), (new, old, "old")), (0, 1, 2)):
        a.send(publish(f"{own}/{to}", f"{qos}", qos, 9))
        if qos:
            assert a.expect(PUBACK if qos == 1 else PUBREC).pid == 9
        if qos == 2:
            a.send(ack(PUBREL, 9))
            assert a.expect(PUBCOMP).pid == 9
        got = b.expect(PUBLISH)
        assert (got.payload, got.qos, got.dup, got.retain) == (b"%d" % qos, qos, False, False)
        if qos:
            b.send(ack(PUBACK if qos == 1 else PUBREC, got.pid))
        if qos == 2:
            assert b.expect(PUBREL).pid == got.pid
            b.send(ack(PUBCOMP, got.pid))
    old.send(packet(PINGREQ))
    assert old.expect(PINGRESP).body == b""


def test_a_session_that_is_kept(tmp_path):
    """4.1, 4.2: what was not acknowledged comes again, with DUP, over a new connection and after kill -9"""
    d = Sluiced(tmp_path).start()
    c = client(d.port, "kept", clean=False)
    c.send(subscribe(1, ("t", 2)))
    c.expect(SUBACK)
    p = client(d.port, "p")
    p.send(publish("t", "one", 1, 1), publish("t", "two", 2, 2), publish("r", "retained", 1, 3, retain=True))
    assert [p.read().kind for _ in range(3)] == [PUBACK, PUBREC, PUBACK]
    one, two = c.expect(PUBLISH), c.expect(PUBLISH)
    c.send(ack(PUBREC, two.pid))
    c.expect(PUBREL)
    for how in (c.close, d.kill):
        how()
        if not d.running():
            d.start()
        c = Raw(d.port, connect("kept", clean=False))
        assert c.expect(CONNACK).body == b"\0\0"
        got = {x.kind: x for x in (c.read(), c.read())}
        assert got[PUBREL].pid == two.pid
        assert (got[PUBLISH].pid, got[PUBLISH].dup, got[PUBLISH].payload) == (one.pid, True, b"one")
    c.send(ack(PUBACK, one.pid), ack(PUBCOMP, two.pid), subscribe(2, ("r", 1)))
    c.expect(SUBACK)
    got = c.expect(PUBLISH)
    assert (got.payload, got.retain) == (b"retained", True)
    assert d.stop() == 0

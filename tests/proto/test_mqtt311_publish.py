# SPDX-License-Identifier: Apache-2.0
"""MQTT 3.1.1, chapters 3.3, 3.8 to 3.12 and 4.7: PUBLISH, retained messages, subscribing."""
import random
import socket
import subprocess

import pytest
from daemon import Sluiced
from raw import (CONNACK, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK, Raw, ack, client,
                 connect, packet, publish, subscribe, unsubscribe)


def subscriber(port, name, *filters, clean=True):
    c = client(port, name, clean)
    c.send(subscribe(1, *filters))
    c.expect(SUBACK)
    return c


def gathered(c, *packets):
    """Sends them and returns all that comes until their answer, and what is on its way then."""
    got = []
    for end, kind in ((packets, SUBACK), ([packet(PINGREQ)], PINGRESP)):
        c.send(*end)
        while not got or got[-1].kind != kind:
            got.append(c.read())
    return [p for p in got if p.kind == PUBLISH]


def retained(port, name, *filters):
    """What is retained there: topic -> packet."""
    with client(port, name) as c:
        return {p.topic: p for p in gathered(c, subscribe(1, *filters))}


# --- PUBLISH -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("qos", [1, 2])
def test_dup_is_of_one_hop(port, own, qos):
    """[MQTT-3.3.1-3], [MQTT-4.3.1-1], [MQTT-4.3.2-1], [MQTT-4.3.3-1]: what goes out for the first time has DUP 0"""
    subscribers = [subscriber(port, f"{own}{q}", (f"{own}/t", q)) for q in (0, 1, 2)]
    p = client(port, own)
    p.send(publish(f"{own}/t", "x", qos, 9, dup=True))
    p.expect(PUBACK if qos == 1 else PUBREC)
    for q, s in enumerate(subscribers):
        got = s.expect(PUBLISH)
        assert (got.qos, got.dup, got.payload) == (min(q, qos), False, b"x")


def test_answers_to_publish(port, own):
    """[MQTT-3.3.4-1], [MQTT-4.3.2-2], [MQTT-4.3.3-2]: nothing, PUBACK, PUBREC; the same with a subscriber and without"""
    p = client(port, own)
    for _ in range(2):
        p.send(publish(f"{own}/t", "0"))
        p.quiet()
        p.send(publish(f"{own}/t", "1", 1, 7))
        assert p.expect(PUBACK).body == b"\0\7"
        p.send(publish(f"{own}/t", "2", 2, 7))
        assert p.expect(PUBREC).body == b"\0\7"
        p.quiet()
        p.send(ack(PUBREL, 7))
        assert p.expect(PUBCOMP).body == b"\0\7"
        p.quiet()
        s = subscriber(port, own + "s", (f"{own}/t", 0))
    assert s.kept == b""


def test_publishing_where_it_is_not_allowed(port, own):
    """[MQTT-3.3.5-2]: acknowledged as usual, and nobody gets it; what the box says of itself is not for clients to say"""
    s, p = subscriber(port, own + "s", ("$SYS/broker/own", 2), (f"{own}/#", 2)), client(port, own)
    p.send(publish("$SYS/broker/own", "0"), publish("$SYS/broker/own", "1", 1, 1), publish("$SYS/broker/own", "2", 2, 2, retain=True),
           publish(f"{own}/t", "allowed", 1, 3))
    assert [p.expect(kind).pid for kind in (PUBACK, PUBREC, PUBACK)] == [1, 2, 3]
    p.send(ack(PUBREL, 2))
    p.expect(PUBCOMP)
    assert s.expect(PUBLISH).payload == b"allowed"
    s.quiet()
    assert not retained(port, own + "r", "$SYS/broker/own")


def test_what_cannot_be_taken_now_closes_the_connection(tmp_path):
    """[MQTT-4.8.0-2], [MQTT-3.3.5-2]: a full queue that refuses more; the connection, and nothing else"""
    d = Sluiced(tmp_path, 'limits = { queue_messages = 2; queue_full = "refuse"; };').start()
    subscriber(d.port, "away", ("t/#", 1), clean=False).close()
    p, good = client(d.port, "p"), client(d.port, "good")
    for pid in (1, 2):
        p.send(publish("t", f"{pid}", 1, pid))
        p.expect(PUBACK)
    p.send(publish("t", "3", 1, 3))
    assert p.closed()
    good.send(publish("other", "x", 1, 1))
    good.expect(PUBACK)
    s = client(d.port, "away", clean=False)
    assert [s.expect(PUBLISH).payload for _ in range(2)] == [b"1", b"2"]
    s.quiet()
    assert d.stop() == 0


# --- retained messages ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("qos", [0, 1, 2])
def test_empty_retained_message(port, own, qos):
    """[MQTT-3.3.1-10], -11: passed on as any other, removes what was retained, is not itself retained"""
    s, p = subscriber(port, own + "s", (f"{own}/#", 2)), client(port, own)
    done = {0: packet(PINGREQ), 1: b"", 2: b""}[qos]
    for topic, payload in (("a", "kept"), ("b", "kept"), ("a", ""), ("never", "")):
        p.send(publish(f"{own}/{topic}", payload, qos, 5, retain=True), done)
        p.expect({0: PINGRESP, 1: PUBACK, 2: PUBREC}[qos])
        if qos == 2:
            p.send(ack(PUBREL, 5))
            p.expect(PUBCOMP)
        got = s.expect(PUBLISH)
        assert (got.topic, got.payload, got.qos, got.retain) == (f"{own}/{topic}", payload.encode(), qos, False)
    assert list(retained(port, own + "r", f"{own}/#")) == [f"{own}/b"]


def test_without_retain_nothing_retained_changes(port, own):
    """[MQTT-3.3.1-12]"""
    p = client(port, own)
    p.send(publish(f"{own}/a", "kept", 1, 1, retain=True))
    p.expect(PUBACK)
    for qos, payload in [(q, text) for q in (0, 1, 2) for text in ("other", "")]:
        p.send(publish(f"{own}/a", payload, qos, 2), publish(f"{own}/new", payload, qos, 3))
        if qos:
            assert [p.read().pid, p.read().pid] == [2, 3]
    p.quiet()
    assert {t: g.payload for t, g in retained(port, own + "r", f"{own}/#").items()} == {f"{own}/a": b"kept"}


def test_retained_qos_and_replacement(port, own):
    """[MQTT-3.3.1-5], -7, [MQTT-3.8.4-6]: with the QoS of the last, whatever those before had"""
    p = client(port, own)
    for qos in (2, 0, 1):
        p.send(publish(f"{own}/a", f"{qos}", qos, 4, retain=True))
        if qos:
            p.read()
        p.quiet()
        for granted in (0, 1, 2):
            got = retained(port, own + "r", (f"{own}/a", granted))[f"{own}/a"]
            assert (got.payload, got.qos, got.retain) == (b"%d" % qos, min(qos, granted), True)


def test_retained_for_every_filter(port, own):
    """[MQTT-3.3.1-6], -8, [MQTT-3.8.4-4]: many filters in one SUBSCRIBE give what as many SUBSCRIBEs would"""
    p = client(port, own)
    topics = ["a", "a/b", "a/b/c", "b", "", "/"]
    for pid, topic in enumerate(topics, 1):
        p.send(publish(f"{own}/{topic}", "x", 1, pid, retain=True))
        p.expect(PUBACK)
    due = {"+": ["a", "b", ""], "a/#": ["a", "a/b", "a/b/c"], "+/+": ["a/b", "/"], "#": topics, "a/b": ["a/b"], "none": []}
    for filter, expected in due.items():
        assert sorted(retained(port, own + "r", f"{own}/{filter}")) == sorted(f"{own}/{t}" for t in expected), filter
    c = client(port, own + "all")
    got = [x.topic for x in gathered(c, subscribe(1, *[f"{own}/{f}" for f in due]))]
    assert sorted(got) == sorted(f"{own}/{t}" for expected in due.values() for t in expected)


# --- SUBSCRIBE, UNSUBSCRIBE, PINGREQ -------------------------------------------------------------------------------

def test_suback(tmp_path):
    """[MQTT-3.8.4-1], -2, -4, -5, [MQTT-3.9.3-1], -2, [MQTT-2.3.1-7]: a code for each filter in its order, failures too"""
    d = Sluiced(tmp_path, "limits = { subscriptions = 8; };").start()
    c = client(d.port)
    for pid in (1, 65535):
        c.send(subscribe(pid, ("a", 2), ("b", 0), ("c", 1)))
        assert c.expect(SUBACK).body == bytes([pid >> 8, pid & 255, 2, 0, 1])
    c.send(subscribe(7, *[(f"d{i}", 2) for i in range(8)]))  # the box has some of its own
    fit = c.expect(SUBACK).body[2:].index(b"\x80")
    c.send(unsubscribe(8, "d0"), subscribe(9, ("d8", 1), ("d9", 1), ("a", 1), ("d10", 2), ("b", 0)))
    c.expect(UNSUBACK)
    assert fit and c.expect(SUBACK).body == b"\0\11\1\x80\1\x80\0"
    c.send(publish("d9", "not mine"), publish("a", "mine"))
    assert c.expect(PUBLISH).topic == "a"
    c.quiet()
    assert d.stop() == 0


@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_delivery_at_the_lower_qos(port, own, qos, granted):
    """[MQTT-3.8.4-6], [MQTT-4.3.1-1], [MQTT-4.5.0-1]"""
    s, p = subscriber(port, own + "s", (f"{own}/t", granted)), client(port, own)
    p.send(publish(f"{own}/t", "x", qos, 3))
    got = s.expect(PUBLISH)
    assert (got.qos, got.dup, got.retain, got.payload) == (min(qos, granted), False, False, b"x")
    s.quiet()


def test_topics_that_arrive(port, own):
    """[MQTT-3.3.2-3], [MQTT-4.7.1-1]: each with the topic that it was published with, and none that does not match"""
    levels = ["a", "b", "", "+x".replace("+", "-"), "ab"]
    topics = [f"{own}/{x}/{y}" for x in levels for y in levels]
    filters = {f"{own}/a/+": lambda t: t[1] == "a", f"{own}/+/b": lambda t: t[2] == "b", f"{own}/+/+": lambda t: True,
               f"{own}/ab/#": lambda t: t[1] == "ab", f"{own}//": lambda t: t[1:] == ["", ""], f"{own}/+": lambda t: False}
    subscribers = {f: subscriber(port, f"{own}{i}", f) for i, f in enumerate(filters)}
    p = client(port, own)
    p.send(*[publish(t, t) for t in topics])
    p.quiet()
    for f, s in subscribers.items():
        for due in [t for t in topics if filters[f](t.split("/"))]:
            assert s.expect(PUBLISH).topic == due, f
        s.quiet()


def test_subscribing_again(port, own):
    """[MQTT-3.8.4-3]: one subscription, with the new QoS, and the retained messages again"""
    p = client(port, own)
    p.send(publish(f"{own}/r", "kept", 1, 1, retain=True))
    p.expect(PUBACK)
    c = client(port, own + "s")
    for qos in (0, 2, 1):
        [kept] = gathered(c, subscribe(1, (f"{own}/+", qos)))
        assert (kept.qos, kept.retain, kept.payload) == (min(qos, 1), True, b"kept")
        p.send(publish(f"{own}/live", "x", 2, 2), ack(PUBREL, 2))
        got = c.expect(PUBLISH)
        assert (got.qos, got.topic) == (qos, f"{own}/live")
        c.quiet()


def test_unsubscribe_character_by_character(port, own):
    """[MQTT-3.10.4-1], -2, -4 to -6: what is the same goes, what matches the same topics stays"""
    filters = [f"{own}/{f}" for f in ("a", "+", "#", "A", "a/#", "/a")]
    c, p = client(port, own), client(port, own + "p")
    c.send(subscribe(1, *filters))
    c.expect(SUBACK)
    c.send(unsubscribe(2, f"{own}/a/", f"{own}/A ", f"{own}/++".replace("++", "+/+"), f"{own}/b", own))
    assert c.expect(UNSUBACK).body == b"\0\2"
    for gone, topic, left in [([0], "a", True), ([2, 1], "a", True), ([4], "a", False), ([3], "A", False), ([5, 5], "/a", False)]:
        c.send(unsubscribe(3, *[filters[i] for i in gone]))
        assert c.expect(UNSUBACK).body == b"\0\3"
        p.send(publish(f"{own}/{topic}", "x"))
        p.quiet()
        if left:
            assert c.expect(PUBLISH).topic == f"{own}/{topic}"
        c.quiet()


def test_unsubscribing_ends_nothing_that_was_begun(port, own):
    """[MQTT-3.10.4-3], [MQTT-4.4.0-1]: QoS 1 and 2 on their way are brought to their end, over a new connection as well"""
    s, p = subscriber(port, own, (f"{own}/t", 2), clean=False), client(port, own + "p")
    p.send(*[publish(f"{own}/t", f"{i}", 1 + i % 2, i) for i in range(1, 5)])
    got = {g.pid: g for g in (s.expect(PUBLISH) for _ in range(4))}
    one, two, three, four = got
    s.send(unsubscribe(9, f"{own}/t"))
    assert s.expect(UNSUBACK).pid == 9
    s.send(ack(PUBREC, one), ack(PUBACK, two))
    assert s.expect(PUBREL).pid == one
    s.close()
    s = client(port, own, clean=False)
    assert s.expect(PUBREL).pid == one
    for pid in (three, four):
        again = s.expect(PUBLISH)
        assert (again.pid, again.dup, again.payload, again.qos) == (pid, True, got[pid].payload, got[pid].qos)
    s.send(ack(PUBCOMP, one), ack(PUBREC, three), ack(PUBACK, four))
    assert s.expect(PUBREL).pid == three
    s.send(ack(PUBCOMP, three))
    p.send(publish(f"{own}/t", "not any more", 1, 9))
    s.quiet()
    s.close()
    client(port, own, clean=False).quiet()


def test_pingreq(port, own):
    """[MQTT-3.12.4-1]: one PINGRESP for each"""
    c = client(port, own)
    c.send(packet(PINGREQ) * 1000)
    for _ in range(1000):
        assert c.expect(PINGRESP).body == b""
    c.quiet()


LONGEST = {"t" * 65535: "+", "/" * 65535: "/" * 65534 + "#", "é" * 32767: "+", "/" * 20000: "/" * 19999 + "+/#", "a/" * 20000: "+/" * 20000 + "+"}


@pytest.mark.parametrize("topic", LONGEST, ids=lambda t: f"{t[:2]}{len(t)}")
def test_longest_topics(sluiced, topic):
    """[MQTT-4.7.3-3], [MQTT-4.7.3-1]: topics and filters of any length that can be written, of any number of levels"""
    c = client(sluiced.port, "c")
    for filter in (topic, LONGEST[topic]):
        with subscriber(sluiced.port, "s", filter) as s:
            c.send(publish(topic, "x"))
            assert s.expect(PUBLISH).topic == topic
            s.send(unsubscribe(2, filter))
            s.expect(UNSUBACK)
            c.send(publish(topic, "kept", 1, 5, retain=True))
            c.expect(PUBACK)
            s.quiet()
        assert retained(sluiced.port, "r", filter)[topic].payload == b"kept"
        c.send(publish(topic, "", 1, 6, retain=True))
        c.expect(PUBACK)
        assert not retained(sluiced.port, "r", filter)


# --- the whole -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_transport(tmp_path, kind):
    """[MQTT-7.1.1-1]: every byte both ways, in order, however the stream is cut"""
    path = tmp_path / "mqtt.sock"
    d = Sluiced(tmp_path, 'limits = { reader_backlog = "64M"; };')
    more = f'listeners = ( {{ bind = "unix:{path}"; anonymous = true; }},'
    d.conf_path.write_text(d.conf_path.read_text().replace("listeners = (", more))
    d.start()
    sock = None
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
    dice = random.Random(7)
    c = Raw(d.port, connect("c"), subscribe(1, "t"), sock=sock)
    assert [c.read().kind, c.read().kind] == [CONNACK, SUBACK]
    payloads = [b"%06d" % i + dice.randbytes(dice.choice((0, 1, 100, 5000, 70000))) for i in range(200)]
    stream = b"".join(publish("t", x) for x in payloads)
    while stream:
        size = dice.choice((1, 2, 3, 100, 10000, 100000))
        c.send(stream[:size])
        stream = stream[size:]
    for due in payloads:
        assert c.expect(PUBLISH).payload == due
    c.quiet()
    assert d.stop() == 0


@pytest.mark.parametrize("version", ["mqttv31", "mqttv311"])
@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_a_client_that_knows_nothing_of_us(port, own, version, qos):
    """[MQTT-7.0.0-2]"""
    common = ["-h", "127.0.0.1", "-p", str(port), "-V", version, "-t", f"{own}/t", "-q", qos]
    put = subprocess.run(["mosquitto_pub", *common, "-m", "hello", "-r"], capture_output=True, text=True, timeout=30)
    got = subprocess.run(["mosquitto_sub", *common, "-C", "1", "-W", "20"], capture_output=True, text=True, timeout=30)
    assert (put.returncode, put.stderr, got.stdout) == (0, "", "hello\n"), got.stderr

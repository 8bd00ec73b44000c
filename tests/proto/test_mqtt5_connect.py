# SPDX-License-Identifier: Apache-2.0
"""MQTT 5.0, chapters 3.1 and 3.2: CONNECT and CONNACK."""
import pytest
import raw
from daemon import Sluiced
from mqtt5 import (ALIAS_MAXIMUM, ASSIGNED_ID, AUTH_DATA, AUTH_METHOD, EXPIRY, MAXIMUM_PACKET, PROBLEM_INFO, REASON,
                   RECEIVE_MAXIMUM, REQUEST_RESPONSE, RESPONSE_INFO, SERVER_KEEP_ALIVE, SESSION_EXPIRY, USER, Client,
                   ack, auth, client, connect, disconnect, lasting, publish, subscribe)
from raw import CONNACK, PINGREQ, PINGRESP, PUBLISH, PUBREC, PUBREL, SUBACK, packet


@pytest.mark.parametrize("what", ["PUBLISH", "PINGREQ", "AUTH", "DISCONNECT", "SUBSCRIBE"])
def test_connect_comes_first(port, own, what):
    """[MQTT-3.1.0-1], [MQTT-3.14.0-1]: closed without a word"""
    data = {"PUBLISH": publish(own, "x"), "PINGREQ": packet(PINGREQ), "AUTH": auth(0x18, [(AUTH_METHOD, "x")]),
            "DISCONNECT": disconnect(), "SUBSCRIBE": subscribe(1, own)}[what]
    assert Client(port, data).closed()


def test_second_connect(port, own):
    """[MQTT-3.1.0-2], [MQTT-3.2.0-2], [MQTT-4.13.1-1]"""
    c = client(port, own)
    c.send(connect(own), packet(PINGREQ))
    c.refused(0x82)


@pytest.mark.parametrize("name, level", [("MQTT", 6), ("MQTT", 127), ("MQTT", 133)])
def test_unknown_version(port, own, name, level):
    """[MQTT-3.1.2-2], [MQTT-3.1.4-6]: told in the form of the latest that we know"""
    watcher = client(port, own + "w")
    watcher.subscribed(f"{own}/#")
    c = Client(port, raw.connect(own, level=5, props=b"").replace(b"\4MQTT\5", b"\4MQTT" + bytes([level])), publish(f"{own}/x", "y"))
    p = c.expect(CONNACK)
    assert p.reason == 0x84 and p.body[0] == 0
    assert c.closed()
    watcher.quiet()


@pytest.mark.parametrize("name", ["MQIsdp", "mqtt", "MQTTX", "", "HTTP"])
def test_wrong_protocol_name(port, own, name):
    """[MQTT-3.1.2-1]"""
    c = Client(port, raw.connect(own, level=5, name=name, props=b""))
    p = c.read()
    assert p is None or (p.kind == CONNACK and p.reason == 0x84 and c.closed())


BAD = {
    "reserved flag [MQTT-3.1.2-3]": (lambda b: b[:9] + bytes([b[9] | 1]) + b[10:], 0x81),
    "will QoS without will [MQTT-3.1.2-11]": (lambda b: b[:9] + bytes([b[9] | 8]) + b[10:], 0x81),
    "will retain without will [MQTT-3.1.2-13]": (lambda b: b[:9] + bytes([b[9] | 32]) + b[10:], 0x81),
    "will QoS 3 [MQTT-3.1.2-12]": (lambda b: b[:9] + bytes([b[9] | 28]) + b[10:], 0x81),
    "user name that is not there [MQTT-3.1.2-17]": (lambda b: b[:9] + bytes([b[9] | 128]) + b[10:], 0x81),
    "password that is not there [MQTT-3.1.2-19]": (lambda b: b[:9] + bytes([b[9] | 64]) + b[10:], 0x81),
}


@pytest.mark.parametrize("what", BAD)
def test_flags(port, own, what):
    """[MQTT-3.1.4-1], [MQTT-3.2.2-7], [MQTT-3.2.2-6], [MQTT-3.2.2-8]: refused with its reason, and nothing is done"""
    change, reason = BAD[what]
    c = Client(port, change(connect(own)))
    p = c.expect(CONNACK)
    assert (p.reason, p.body[0]) == (reason, 0)
    assert c.closed()


BAD_PROPERTIES = {
    "receive maximum 0": ([(RECEIVE_MAXIMUM, 0)], 0x82),
    "packet size 0": ([(MAXIMUM_PACKET, 0)], 0x82),
    "problem information 2": ([(PROBLEM_INFO, 2)], 0x82),
    "response information 2": ([(REQUEST_RESPONSE, 2)], 0x82),
    "session expiry twice": ([(SESSION_EXPIRY, 1)] * 2, 0x82),
    "authentication data without a method": ([(AUTH_DATA, b"x")], 0x82),
    "a property of PUBLISH": ([(EXPIRY, 1)], 0x81),
    "not UTF-8 [MQTT-1.5.7-1]": ([(USER, (b"\xff", "x"))], 0x81),
}


@pytest.mark.parametrize("what", BAD_PROPERTIES)
def test_bad_properties(port, own, what):
    """[MQTT-3.1.4-1], [MQTT-3.2.2-7], [MQTT-3.1.4-6]"""
    watcher = client(port, own + "w")
    watcher.subscribed(f"{own}/#")
    pairs, reason = BAD_PROPERTIES[what]
    c = Client(port, connect(own, pairs=pairs), publish(f"{own}/x", "y"))
    assert c.expect(CONNACK).reason == reason
    assert c.closed()
    watcher.quiet()


@pytest.mark.parametrize("what", ["client identifier [MQTT-3.1.3-4]", "will topic [MQTT-3.1.3-11]", "user name [MQTT-3.1.3-12]"])
def test_names_are_utf8(port, own, what):
    """[MQTT-1.5.4-1], -2, [MQTT-3.1.4-1]"""
    for bad in (b"\xed\xa0\x80", b"a\0b", b"\xc0\xaf"):
        data = {"c": connect(bad), "w": connect(own, will=(bad, "x", 0, 0)), "u": connect(own, user=bad)}[what[0]]
        c = Client(port, data)
        assert c.expect(CONNACK).reason in (0x81, 0x90)
        assert c.closed()


def test_order_of_the_payload(tmp_path):
    """[MQTT-3.1.3-1], [MQTT-3.1.3-3], [MQTT-3.1.2-9], [MQTT-3.1.2-16] to -19: each thing arrives where it belongs"""
    d = Sluiced(tmp_path).start()
    s = client(d.port, "s")
    s.subscribed("will/topic")
    c = client(d.port, "the-id", will=("will/topic", "the payload", 0, 0), will_pairs=[(USER, ("a", "b"))], user="u", password="p",
               pairs=[(SESSION_EXPIRY, 0)])
    assert c.connack.get(ASSIGNED_ID) is None
    client(d.port, "the-id").close()
    c.refused(0x8e)
    p = s.received()
    assert (p.payload, p.props) == (b"the payload", [(USER, ("a", "b"))])
    assert d.stop() == 0


@pytest.mark.parametrize("name", ["0", "ABCDEFGHIJKLMNOPQRSTUVW", "0123456789abcdefghijklm", "nopqrstuvwxyzXYZ"])
def test_short_names(port, name):
    """[MQTT-3.1.3-5], [MQTT-3.1.4-5]"""
    c = client(port, name)
    assert c.connack.get(ASSIGNED_ID) is None and not c.session_present


@pytest.mark.parametrize("name", ["x" * 1000, "y" * 65535, "a/b c+#$\u20ac\U0001f600", "\ufeff"], ids=["long", "longest", "odd", "BOM"])
def test_any_name_will_do(port, own, name):
    """[MQTT-3.1.3-2]: and names the session to the last character"""
    name = (own + name)[:65535]
    lasting(port, name).subscribed((f"{own}/t", 1))
    assert not lasting(port, name[:-1]).session_present
    c = lasting(port, name)
    assert c.session_present
    c.published(f"{own}/t", "x")
    assert c.received().payload == b"x"


@pytest.mark.parametrize("clean", [True, False])
def test_assigned_name(port, clean):
    """[MQTT-3.1.3-6], -7, [MQTT-3.2.2-16]: nobody else's, told, and good to come back with"""
    a, b = lasting(port, "", clean), lasting(port, "", clean)
    names = [c.connack.get(ASSIGNED_ID) for c in (a, b)]
    assert names[0] != names[1] and not a.session_present and not b.session_present
    a.close()
    again = lasting(port, names[0])
    assert again.session_present and again.connack.get(ASSIGNED_ID) is None


def test_refused_name(port):
    """[MQTT-3.1.3-8], [MQTT-3.1.4-2], [MQTT-3.2.2-6], -7: names of our own are not for clients"""
    c = Client(port, connect("\1bridge:cloud"), packet(PINGREQ))
    p = c.expect(CONNACK)
    assert (p.reason, p.body[0]) == (0x85, 0)
    assert c.closed()


def test_connack_0_only(port, own):
    """[MQTT-3.2.2-1], [MQTT-3.1.4-5], [MQTT-3.2.0-2]"""
    c = client(port, own)
    assert c.connack.body[:2] == b"\0\0"
    c.quiet()
    again = lasting(port, own)
    again.close()
    assert lasting(port, own).connack.body[:2] == b"\1\0"


def test_clean_start(port, own):
    """[MQTT-3.1.2-4], -5, -6, [MQTT-3.1.4-4], [MQTT-3.2.2-2], -3: with it nothing is left, without it all is"""
    p = client(port, own + "p")
    for clean, present in ((False, False), (False, True), (True, False), (False, True), (True, False)):
        c = lasting(port, own, clean)
        assert c.session_present == present
        if present:
            assert c.received().payload == b"queued"
        else:
            c.quiet()
        c.subscribed((f"{own}/{clean}", 1))
        c.send(publish(f"{own}/none", "begun", 2, 7))
        c.expect(PUBREC)
        c.close()
        p.published(f"{own}/{clean}", "queued")
    s = lasting(port, own, True)
    s.send(ack(PUBREL, 7))
    assert s.expect(raw.PUBCOMP).reason == 0x92


def test_take_over(port, own):
    """[MQTT-3.1.4-3], [MQTT-4.13.2-1]: the session goes on with the newer connection"""
    a = lasting(port, own)
    a.subscribed((f"{own}/t", 1))
    b = lasting(port, own)
    a.refused(0x8e)
    assert b.session_present
    b.send(publish(f"{own}/t", "x"))
    assert b.received().payload == b"x"
    c = client(port, own)
    b.refused(0x8e)
    assert not c.session_present


def test_connack_comes_first(port, own):
    """[MQTT-3.2.0-1], also when it waits for the disk"""
    for clean, pairs in ((True, []), (True, [(SESSION_EXPIRY, 1000)]), (False, [(SESSION_EXPIRY, 1000)])):
        c = Client(port, connect(own, clean, pairs), packet(PINGREQ), subscribe(1, f"{own}/t"), publish(f"{own}/t", "x"))
        kinds = [c.read().kind for _ in range(4)]
        assert kinds[0] == CONNACK and sorted(kinds[1:]) == [PUBLISH, SUBACK, PINGRESP]
        c.close()


def test_error_waits_for_connack(port, own):
    """[MQTT-3.14.0-1], [MQTT-3.2.0-1]; a CONNACK that still waits for the disk goes with the connection"""
    c = Client(port, connect(own), connect(own))
    assert c.expect(CONNACK).reason == 0
    c.refused(0x82)
    p = Client(port, connect(own, pairs=[(SESSION_EXPIRY, 1000)]), connect(own)).read()
    assert p is None or p.kind == CONNACK


def test_limits_are_told(tmp_path):
    """[MQTT-3.2.2-21], [MQTT-3.1.2-21], §3.2.2.3: ours where they differ from what the standard takes for granted"""
    d = Sluiced(tmp_path, 'limits = { keepalive = "100s"; receive = 7; packet = "4k"; session_expiry = "1h"; };').start()
    for wish, due in ((10, None), (100, None), (101, 100), (0, 100)):
        assert client(d.port, keepalive=wish).connack.get(SERVER_KEEP_ALIVE) == due
    c = client(d.port, pairs=[(SESSION_EXPIRY, 3601)]).connack
    assert (c.get(SESSION_EXPIRY), c.get(RECEIVE_MAXIMUM), c.get(MAXIMUM_PACKET)) == (3600, 7, 4096)
    assert c.get(ALIAS_MAXIMUM) > 0
    assert client(d.port, pairs=[(SESSION_EXPIRY, 3600)]).connack.get(SESSION_EXPIRY) is None
    assert d.stop() == 0


def test_keepalive(port, own):
    """[MQTT-3.1.2-22], [MQTT-3.2.2-22]: one and a half times the client's own, since we named none; 0 is for ever"""
    for_ever, active = client(port, own + "0", keepalive=0), client(port, own + "1", keepalive=1)
    c = client(port, own, keepalive=1)
    assert c.connack.get(SERVER_KEEP_ALIVE) is None
    c.sock.settimeout(0.3)
    waited = 0
    while not c.kept:
        try:
            c.kept = c.sock.recv(100)
        except TimeoutError:
            waited += 1
            active.quiet()  # packets of any kind keep the other one
            assert waited < 20
    assert waited >= 3
    c.refused(0x8d)
    active.quiet()
    for_ever.quiet()


def test_server_keep_alive(tmp_path):
    """[MQTT-3.2.2-21]: what we name is what we go by"""
    d = Sluiced(tmp_path, 'limits = { keepalive = "1s"; };').start()
    c = client(d.port, keepalive=600)
    assert c.connack.get(SERVER_KEEP_ALIVE) == 1
    c.refused(0x8d)
    assert d.stop() == 0


def test_response_information(port, own):
    """[MQTT-3.1.2-28]: a topic of the client's own, for who asks; none for a name that makes no topic"""
    assert client(port, own).connack.get(RESPONSE_INFO) is None
    assert client(port, own, pairs=[(REQUEST_RESPONSE, 0)]).connack.get(RESPONSE_INFO) is None
    asked = [(REQUEST_RESPONSE, 1)]
    for name in (own, own + "\u20ac" * 1000, ""):
        c = client(port, name, pairs=asked)
        name = name or c.connack.get(ASSIGNED_ID)
        topic = c.connack.get(RESPONSE_INFO)
        assert topic == "response/" + name
        c.subscribed(f"{topic}/#")
        c.send(publish(f"{topic}/1", "x"))
        c.received()
    assert client(port, own + "/+", pairs=asked).connack.get(RESPONSE_INFO) is None


def test_connect_that_is_too_large(port, own):
    """[MQTT-3.1.4-1], [MQTT-3.2.2-7]: told as soon as its length is seen"""
    c = Client(port, connect(own, will=("w", "x" * 60000, 0, 0), password="y" * 60000)[:2000])
    assert c.expect(CONNACK).reason == 0x95
    assert c.closed()


def test_reason_of_a_refusal(port, own):
    """[MQTT-3.1.2-29] CONNACK may carry it whatever was asked; [MQTT-3.2.2-19], -20: unless it makes it too large"""
    name = "\1" + own
    for asked in (0, 1):
        c = Client(port, connect(name, pairs=[(PROBLEM_INFO, asked)]))
        assert "identifier" in c.expect(CONNACK).get(REASON)
    full = 2 + len(Client(port, connect(name)).expect(CONNACK).body)
    for most, there in ((full, True), (full - 1, False)):
        p = Client(port, connect(name, pairs=[(MAXIMUM_PACKET, most)])).expect(CONNACK)
        assert p.reason == 0x85 and (p.get(REASON) is not None) == there and not p.all(USER)


def test_connack_keeps_to_the_packet_size(port, own):
    """[MQTT-3.1.2-24]: without what can be left out; who takes no CONNACK at all cannot be served"""
    pairs = [(REQUEST_RESPONSE, 1), (SESSION_EXPIRY, 0)]
    full = client(port, own, pairs=pairs).connack
    size = 2 + len(full.body)
    p = client(port, own, pairs=[*pairs, (MAXIMUM_PACKET, size - 1)]).connack
    assert p.get(RESPONSE_INFO) is None and 2 + len(p.body) < size
    assert Client(port, connect(own, pairs=[(MAXIMUM_PACKET, 4)])).closed()

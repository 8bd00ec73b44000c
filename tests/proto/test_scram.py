# SPDX-License-Identifier: Apache-2.0
"""MQTT 5.0 §4.12 and §3.15: enhanced authentication, with a SCRAM client (RFC 5802, RFC 7677) of the test's own."""
import base64
import hashlib
import hmac
import os

import mqtt5
import pytest
import raw
from mqtt5 import AUTH_DATA, AUTH_METHOD, MAXIMUM_PACKET, REASON, auth, connect
from raw import AUTH, CONNACK, DISCONNECT, PINGREQ, PUBLISH, SUBACK, packet
from users import ANYTHING, b64, ctl, daemon, from_address, reload, status, user, users, verifier

SHA_256, SHA_1 = "SCRAM-SHA-256", "SCRAM-SHA-1"
PEOPLE = users(user("ann", "sesame", scram=[SHA_256, SHA_1]), user("bob", "lamp", scram=[SHA_256]), user("carl", "open"),
               user("of=odd,name", "odd", scram=[SHA_256])) + ANYTHING


class Scram:
    """One exchange as the client sees it."""

    def __init__(self, name, password, mechanism=SHA_256, authzid="", nonce=None):
        self.hash = {SHA_256: "sha256", SHA_1: "sha1"}[mechanism]
        self.password = password.encode()
        self.gs2 = f"n,{'a=' + authzid if authzid else ''},"
        self.nonce = nonce or b64(os.urandom(18))
        self.bare = f"n={name.replace('=', '=3D').replace(',', '=2C')},r={self.nonce}"

    def first(self):
        return (self.gs2 + self.bare).encode()

    def final(self, server_first):
        fields = dict(f.split("=", 1) for f in server_first.decode().split(","))
        assert fields["r"].startswith(self.nonce) and len(fields["r"]) >= len(self.nonce) + 16
        salted = hashlib.pbkdf2_hmac(self.hash, self.password, base64.b64decode(fields["s"]), int(fields["i"]))
        client_key = hmac.digest(salted, b"Client Key", self.hash)
        bare = f"c={b64(self.gs2.encode())},r={fields['r']}"
        self.message = f"{self.bare},{server_first.decode()},{bare}".encode()
        self.server_key = hmac.digest(salted, b"Server Key", self.hash)
        signature = hmac.digest(hashlib.new(self.hash, client_key).digest(), self.message, self.hash)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        return f"{bare},p={b64(proof)}".encode()

    def verify(self, server_final):
        assert server_final == b"v=" + b64(hmac.digest(self.server_key, self.message, self.hash)).encode()


def pairs(data=None, mechanism=SHA_256):
    return [(AUTH_METHOD, mechanism)] + ([(AUTH_DATA, data)] if data is not None else [])


def begin(port, s, name="c", mechanism=SHA_256, sock=None, more=(), **kw):
    c = mqtt5.Client(port, connect(name, pairs=[*pairs(s.first(), mechanism), *more], **kw), sock=sock)
    return c


def challenge(c, mechanism=SHA_256):
    """What AUTH 0x18 asks. It names the method, and nothing but what is needed."""
    p = c.expect(AUTH)
    assert p.reason == 0x18 and p.get(AUTH_METHOD) == mechanism and p.get(REASON) is None
    return p.get(AUTH_DATA)


def login(port, name, password, mechanism=SHA_256, client="c", **kw):
    """Connected, and the server has shown that it knows the verifier."""
    s = Scram(name, password, mechanism)
    c = begin(port, s, client, mechanism, **kw)
    c.send(auth(0x18, pairs(s.final(challenge(c, mechanism)), mechanism)))
    c.connack = c.expect(CONNACK)
    assert c.connack.reason == 0 and c.connack.get(AUTH_METHOD) == mechanism
    s.verify(c.connack.get(AUTH_DATA))
    return c


@pytest.fixture
def site(tmp_path):
    d = daemon(tmp_path, PEOPLE).start()
    yield d
    assert d.stop() == 0, d.log()


# ---- the first time ----

@pytest.mark.parametrize("mechanism", [SHA_256, SHA_1])
def test_login(site, mechanism):
    """[MQTT-4.12.0-2], [MQTT-4.12.0-5], [MQTT-3.15.1-1], [MQTT-3.15.2-1]: flags and codes are judged by the reader"""
    c = login(site.port, "ann", "sesame", mechanism)
    c.send(mqtt5.subscribe(1, "t"), mqtt5.publish("t", "x"))
    c.expect(SUBACK)
    assert c.expect(PUBLISH).payload == b"x"
    assert status(site)["admitted"] == 1


def test_names_are_escaped(site):
    login(site.port, "of=odd,name", "odd")


def test_data_may_come_with_the_first_auth(site):
    """§4.12: a CONNECT with the method alone"""
    s = Scram("ann", "sesame")
    c = mqtt5.Client(site.port, connect("c", pairs=pairs()))
    assert not challenge(c)
    c.send(auth(0x18, pairs(s.first())))
    c.send(auth(0x18, pairs(s.final(challenge(c)))))
    p = c.expect(CONNACK)
    assert p.reason == 0
    s.verify(p.get(AUTH_DATA))


def refused(c, *reasons):
    """By CONNACK, and closed."""
    p = c.expect(CONNACK)
    assert p.reason in reasons and p.get(AUTH_DATA) is None, p
    assert c.closed()


@pytest.mark.parametrize("name,password", [("ann", "Sesame"), ("nobody", "sesame"), ("carl", "open")])
def test_wrong_password(site, name, password):
    """[MQTT-4.12.0-4]; and who does not exist, or has no verifier, is asked like everybody, always with the same salt"""
    salts = set()
    for _ in range(2):
        s = Scram(name, password)
        c = begin(site.port, s)
        first = challenge(c)
        salts.add(first.decode().split(",")[1])
        assert first.endswith(b",i=4096")
        c.send(auth(0x18, pairs(s.final(first))))
        refused(c, 0x86)
    assert len(salts) == 1
    assert status(site)["refused"] == 2


def test_the_salt_of_nobody_outlives_a_restart(site):
    def salt():
        c = begin(site.port, Scram("nobody", "x"))
        out = challenge(c).decode().split(",")[1]
        c.close()
        return out
    before = salt()
    site.restart()
    assert salt() == before


def test_sha_1_only_for_who_has_its_verifier(tmp_path):
    """[MQTT-4.12.0-1]: where nobody has one, the method is unknown"""
    d = daemon(tmp_path, users(user("bob", "lamp", scram=[SHA_256])) + ANYTHING).start()
    c = begin(d.port, Scram("bob", "lamp", SHA_1), mechanism=SHA_1)
    refused(c, 0x8c)
    login(d.port, "bob", "lamp")
    assert d.stop() == 0, d.log()


@pytest.mark.parametrize("method", ["PLAIN", "SCRAM-SHA-256-PLUS", "scram-sha-256", "", "SCRAM-SHA-512", "password", "anonymous"])
def test_unknown_method(site, method):
    """[MQTT-4.12.0-1]; the names of what is no method of authentication packets are none"""
    c = mqtt5.Client(site.port, connect("c", pairs=[(AUTH_METHOD, method), (AUTH_DATA, b"x")], user="ann", password="sesame"))
    refused(c, 0x8c)


BAD_FIRST = {"empty": b"", "no SCRAM": b"\0ann\0sesame", "channel binding": b"p=tls-unique,,n=ann,r=abcdefgh", "no name": b"n,,r=abc",
             "a name of zeroes": b"n,,n=\0\0,r=abcdefgh", "no nonce": b"n,,n=ann", "huge": b"n,,n=" + b"a" * 5000 + b",r=abcdefgh",
             "long name": b"n,,n=" + b"a" * 300 + b",r=abcdefgh", "not UTF-8": b"n,,n=\xff\xfe,r=abcdefgh",
             "extension": b"n,,m=x,n=ann,r=abcdefgh", "bad escape": b"n,,n=a=3Zb,r=abcdefgh"}


@pytest.mark.parametrize("what", BAD_FIRST)
def test_bad_first_message(site, what):
    c = mqtt5.Client(site.port, connect("c", pairs=pairs(BAD_FIRST[what])))
    p = c.read()
    if p.kind == AUTH:  # some can only be told at the end
        c.send(auth(0x18, pairs(b"c=biws,r=abc,p=AAAA")))
        p = c.read()
    assert p.kind == CONNACK and p.reason in (0x82, 0x86) and c.closed()


BAD_FINAL = {"empty": b"", "again the first": b"n,,n=ann,r=abcdefgh", "another nonce": None, "no proof": b"c=biws,r=x",
             "no base64": b"c=biws,r=x,p=*"}


@pytest.mark.parametrize("what", BAD_FINAL)
def test_bad_final_message(site, what):
    s = Scram("ann", "sesame")
    c = begin(site.port, s)
    final = s.final(challenge(c))
    data = BAD_FINAL[what] if BAD_FINAL[what] is not None else final.replace(b"r=" + s.nonce.encode(), b"r=X" + s.nonce[1:].encode(), 1)
    if b"r=x" in data:
        data = data.replace(b"r=x", final.split(b",")[1])
    c.send(auth(0x18, pairs(data)))
    refused(c, 0x82, 0x86)


def test_an_exchange_cannot_be_replayed(site):
    s = Scram("ann", "sesame")
    c = begin(site.port, s)
    final = s.final(challenge(c))
    c.send(auth(0x18, pairs(final)))
    assert c.expect(CONNACK).reason == 0
    again = begin(site.port, s, "d")
    challenge(again)
    again.send(auth(0x18, pairs(final)))
    refused(again, 0x82, 0x86)


def test_acting_as_somebody_else(site):
    s = Scram("ann", "sesame", authzid="bob")
    c = begin(site.port, s)
    c.send(auth(0x18, pairs(s.final(challenge(c)))))
    refused(c, 0x87)
    s = Scram("ann", "sesame", authzid="ann")
    c = begin(site.port, s)
    c.send(auth(0x18, pairs(s.final(challenge(c)))))
    assert c.expect(CONNACK).reason == 0


EARLY = {"publish": mqtt5.publish("t", "x"), "subscribe": mqtt5.subscribe(1, "t"), "ping": packet(PINGREQ),
         "connect": connect("c"), "another method": auth(0x18, pairs(b"x", SHA_1)), "re-authenticate": auth(0x19, pairs(b"x")),
         "success": auth(0, pairs()), "nothing": auth()}


@pytest.mark.parametrize("what", EARLY)
def test_before_connack_only_auth_and_disconnect(site, what):
    """[MQTT-3.1.2-30], [MQTT-4.12.0-4]"""
    c = begin(site.port, Scram("ann", "sesame"))
    challenge(c)
    c.send(EARLY[what])
    p = c.read()
    assert p is None or (p.kind == CONNACK and p.reason >= 0x80 and c.closed()), p


def test_disconnect_during_the_exchange(site):
    c = begin(site.port, Scram("ann", "sesame"))
    challenge(c)
    c.send(mqtt5.disconnect())
    assert c.closed()


def test_a_client_that_never_answers(tmp_path):
    d = daemon(tmp_path, PEOPLE + 'limits = { connect_timeout = "1s"; };').start()
    c = begin(d.port, Scram("ann", "sesame"))
    challenge(c)
    assert c.closed()
    assert status(d, "broker")["connect_timeouts"] == 1
    assert d.stop() == 0, d.log()


def test_leaving_in_the_middle_and_stopping(site):
    left = begin(site.port, Scram("ann", "sesame"))
    challenge(left)
    left.close()
    staying = begin(site.port, Scram("ann", "sesame"), "d")
    challenge(staying)
    assert site.stop() == 0, site.log()
    site.start()


def test_a_packet_it_does_not_take(site):
    """[MQTT-3.1.2-24], [MQTT-3.15.2-2], -3: AUTH has no reason string and no user properties, and still fits or is not sent"""
    c = begin(site.port, Scram("ann", "sesame"), more=[(MAXIMUM_PACKET, 60)])
    p = c.read()
    assert p is None or (p.kind == CONNACK and p.reason == 0x95)
    login(site.port, "ann", "sesame", more=[(MAXIMUM_PACKET, 300)])


def test_mqtt_3_1_1_has_no_methods(site):
    c = raw.client(site.port, "old", user="ann", password="sesame")
    c.send(packet(AUTH, b""))
    assert c.closed()


def test_without_a_method_no_auth(site):
    """[MQTT-4.12.0-6], [MQTT-4.12.0-7]"""
    c = mqtt5.client(site.port, "plain", user="ann", password="sesame")
    assert c.connack.get(AUTH_METHOD) is None
    c.send(auth(0x19, pairs(b"x")))
    c.refused(0x82)


def test_user_name_beside_the_method_counts_for_nothing(site):
    reload(site, PEOPLE.replace('topic = "#"', 'topic = "of/%u"'))
    s = Scram("ann", "sesame")
    c = begin(site.port, s, user="bob", password="lamp")
    c.send(auth(0x18, pairs(s.final(challenge(c)))))
    assert c.expect(CONNACK).reason == 0
    c.send(mqtt5.subscribe(1, "of/ann", "of/bob"))
    assert c.expect(SUBACK).codes == [0, 0x87]


def test_guessing_ends(tmp_path):
    """A failed exchange counts like a wrong password."""
    d = daemon(tmp_path, PEOPLE + "logins = { failures = 3; };").start()
    for _ in range(3):
        s = Scram("ann", "wrong")
        c = begin(d.port, s, sock=from_address("127.0.0.66", d.port))
        c.send(auth(0x18, pairs(s.final(challenge(c)))))
        refused(c, 0x86)
    c = begin(d.port, Scram("ann", "sesame"), sock=from_address("127.0.0.66", d.port))
    refused(c, 0x9f)
    login(d.port, "ann", "sesame")
    assert d.stop() == 0, d.log()


def test_removed_during_the_exchange(site):
    s = Scram("bob", "lamp")
    c = begin(site.port, s)
    final = s.final(challenge(c))
    reload(site, users(user("ann", "sesame", scram=[SHA_256])) + ANYTHING)
    c.send(auth(0x18, pairs(final)))
    refused(c, 0x86)


def test_another_verifier_ends_the_connection(site):
    c = login(site.port, "bob", "lamp")
    reload(site, users(user("ann", "sesame", scram=[SHA_256]), user("bob", "lamp", scram=[SHA_256])) + ANYTHING)  # another salt
    c.refused(0x87)


def test_users_of_sluicectl(tmp_path):
    d = daemon(tmp_path, ANYTHING + "users = ( );").start()
    assert ctl(d, "user", "add", "eve", "--scram-sha-1", input="made by it\n").returncode == 0
    for mechanism in (SHA_256, SHA_1):
        login(d.port, "eve", "made by it", mechanism)
    assert d.stop() == 0, d.log()


# ---- again ----

def again(c, s, mechanism=SHA_256):
    c.send(auth(0x19, pairs(s.first(), mechanism)))
    c.send(auth(0x18, pairs(s.final(challenge(c, mechanism)), mechanism)))


def test_reauthentication(site):
    """§4.12.1; [MQTT-4.12.0-5]: AUTH 0x00 names the method"""
    c = login(site.port, "ann", "sesame")
    for _ in range(3):
        s = Scram("ann", "sesame")
        again(c, s)
        p = c.expect(AUTH)
        assert p.reason == 0 and p.get(AUTH_METHOD) == SHA_256
        s.verify(p.get(AUTH_DATA))
    c.quiet()


def test_packets_flow_during_reauthentication(site):
    """§4.12.1: what was agreed before holds until it ends"""
    c = login(site.port, "ann", "sesame")
    c.send(mqtt5.subscribe(1, "t"))
    c.expect(SUBACK)
    s = Scram("ann", "sesame")
    c.send(auth(0x19, pairs(s.first())))
    server_first = challenge(c)
    c.send(mqtt5.publish("t", "meanwhile"))
    assert c.expect(PUBLISH).payload == b"meanwhile"
    c.send(auth(0x18, pairs(s.final(server_first))))
    assert c.expect(AUTH).reason == 0


def test_failed_reauthentication(site):
    """[MQTT-4.12.1-2]"""
    c = login(site.port, "ann", "sesame", will=("will", b"due", 0, 0))
    w = login(site.port, "bob", "lamp", client="w")
    w.send(mqtt5.subscribe(1, "will"))
    w.expect(SUBACK)
    again(c, Scram("ann", "wrong"))
    c.refused(0x87)
    assert w.expect(PUBLISH).payload == b"due"


def test_reauthentication_as_somebody_else(site):
    c = login(site.port, "ann", "sesame")
    again(c, Scram("bob", "lamp"))
    c.refused(0x87)


OUT_OF_TURN = {"another method [MQTT-4.12.1-1]": auth(0x19, pairs(b"x", SHA_1)), "continue without a beginning": auth(0x18, pairs(b"x")),
               "success": auth(0, pairs()), "no properties": auth()}


@pytest.mark.parametrize("what", OUT_OF_TURN)
def test_auth_out_of_turn(site, what):
    c = login(site.port, "ann", "sesame")
    c.send(OUT_OF_TURN[what])
    c.refused(0x82)


def test_reauthentication_twice_at_once(site):
    c = login(site.port, "ann", "sesame")
    c.send(auth(0x19, pairs(Scram("ann", "sesame").first())))
    challenge(c)
    c.send(auth(0x19, pairs(Scram("ann", "sesame").first())))
    c.refused(0x82)


def test_a_verifier_that_changes_during_reauthentication(site):
    """The old one ends the connection; the new one lets it in again."""
    fresh = f'users = ( {{ name = "ann"; scram = "{verifier(SHA_256, "second")}"; }} );' + ANYTHING
    c = login(site.port, "ann", "sesame")
    c.send(auth(0x19, pairs(Scram("ann", "second").first())))
    challenge(c)
    reload(site, fresh)
    p = c.expect(DISCONNECT)
    assert p.reason == 0x87 and c.closed()
    login(site.port, "ann", "second")

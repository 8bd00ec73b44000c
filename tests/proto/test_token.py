# SPDX-License-Identifier: Apache-2.0
"""Tokens (JWT) in the place of a password: MQTT 5.0 §3.1.2.9 lets a password come without a user name, 3.1.1 does not."""
import json
import time

import jwt
import mqtt5
import pytest
import raw
from jwt import Issuer, b64
from mqtt5 import connect
from raw import CONNACK, PUBACK, PUBLISH, SUBACK, Raw
from users import ANYTHING, check, ctl, daemon, from_address, reload, status, user, users

ALGORITHMS = ["HS256", "RS256", "ES256"]


def tokens(*issuers, more="", audience='"plant"'):
    rows = ", ".join(i if isinstance(i, str) else i.row() for i in issuers)
    return f"tokens = {{ keys = ( {rows} ); audience = {audience}; {more} }};\n"


@pytest.fixture(scope="module")
def issuers(tmp_path_factory):
    return {alg: Issuer(tmp_path_factory.mktemp("keys"), alg) for alg in ALGORITHMS}


@pytest.fixture
def site(tmp_path, issuers):
    d = daemon(tmp_path, tokens(*issuers.values()) + users(user("bob", "lamp")) + ANYTHING).start()
    yield d
    assert d.stop() == 0, d.log()


def ask(d, token, client="c", sock=None, **more):
    c = mqtt5.Client(d.port, connect(client, password=token, **more), sock=sock)
    return c, c.expect(CONNACK).reason


def code(d, token, **more):
    c, reason = ask(d, token, **more)
    assert not reason or c.closed()
    c.close()
    return reason


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_login(site, issuers, alg):
    c, reason = ask(site, issuers[alg].token())
    assert reason == 0
    c.send(mqtt5.subscribe(1, "t"), mqtt5.publish("t", "x"))
    c.expect(SUBACK)
    assert c.expect(PUBLISH).payload == b"x"
    assert code(site, issuers[alg].token(exp=int(time.time()) + 600.5)) == 0, "a time with a fraction (RFC 7519 §2)"
    assert code(site, issuers[alg].token(aud=["elsewhere", "plant"])) == 0
    mqtt5.client(site.port, "b", user="bob", password="lamp").quiet()


def test_a_signature_is_checked_once(site, issuers):
    token = issuers["ES256"].token()
    assert [code(site, token) for _ in range(5)] == [0] * 5
    assert status(site)["cached"] == 4
    head, signature = token.rsplit(".", 1)
    other = ("A" if signature[0] != "A" else "B") + signature[1:]
    assert code(site, f"{head}.{other}") == 0x86, "that the claims were right once makes no other signature right"


NOW = int(time.time())
CLAIMS = {"run out": {"exp": NOW - 60}, "no end": {"exp": None}, "end is a text": {"exp": "2100"}, "end of all times": {"exp": 1e300},
          "negative end": {"exp": -1}, "not yet": {"nbf": NOW + 6000}, "nbf is a text": {"nbf": "now"}, "for another": {"aud": "cloud"},
          "for others": {"aud": ["cloud", "sky"]}, "for nobody": {"aud": None}, "for a number": {"aud": [7]}, "empty audience": {"aud": []},
          "nobody": {"sub": None}, "empty name": {"sub": ""}, "name is a number": {"sub": 7}, "name of control characters": {"sub": "a\nb"},
          "name too long": {"sub": "a" * 300}, "topics of numbers": {"publ": [1]}, "topics that are none": {"subs": ["a/#/b"]},
          "topics as an object": {"publ": {"a": "b"}}, "too many topics": {"publ": [f"t/{i}" for i in range(100)]}}


@pytest.mark.parametrize("what", CLAIMS)
def test_claims_that_do_not_do(site, issuers, what):
    assert code(site, issuers["HS256"].token(**CLAIMS[what])) == 0x87


def test_clocks_may_differ_a_little(site, issuers):
    now = int(time.time())
    assert code(site, issuers["HS256"].token(exp=now - 5)) == 0
    assert code(site, issuers["HS256"].token(nbf=now + 5)) == 0


def forged(issuers):
    """Tokens of all kinds that are none of ours."""
    hs, rs, es = (issuers[a] for a in ALGORITHMS)
    claims = {"sub": "ann", "aud": "plant", "exp": int(time.time()) + 600}
    good = rs.token()
    head, body, signature = good.split(".")
    none = b64(json.dumps({"alg": "none"})) + "." + b64(json.dumps(claims))
    es_head, es_body, es_signature = es.token().split(".")
    return {
        "alg none": none + ".", "alg none with a signature": none + "." + signature,
        "alg None": none.replace(b64(json.dumps({"alg": "none"})), b64(json.dumps({"alg": "NONE"}))) + ".",
        "HS256 with the public RSA key": jwt.hmac_with(rs.file.read_bytes(), {"alg": "HS256"}, claims),
        "HS256 with the public RSA key, trimmed": jwt.hmac_with(rs.file.read_bytes().strip(), {"alg": "HS256"}, claims),
        "HS256 with the public EC key": jwt.hmac_with(es.file.read_bytes(), {"alg": "HS256"}, claims),
        "HS256 with nothing": jwt.hmac_with(b"", {"alg": "HS256"}, claims),
        "RS256 that says ES256": rs.of_text('{"alg":"ES256"}', json.dumps(claims)),
        "ES256 that says RS256": es.of_text('{"alg":"RS256"}', json.dumps(claims)),
        "HS256 that says RS256": hs.of_text('{"alg":"RS256"}', json.dumps(claims)),
        "RS512": rs.of_text('{"alg":"RS512"}', json.dumps(claims)),
        "no alg": rs.of_text("{}", json.dumps(claims)),
        "alg is a list": rs.of_text('{"alg":["RS256"]}', json.dumps(claims)),
        "two algs": rs.of_text('{"alg":"RS256","alg":"none"}', json.dumps(claims)),
        "two subs": rs.of_text('{"alg":"RS256"}', json.dumps(claims)[:-1] + ',"sub":"bob"}'),
        "a critical header": rs.of_text('{"alg":"RS256","crit":["b64"],"b64":false}', json.dumps(claims)),
        "a zero in the name": rs.of_text('{"alg":"RS256"}', json.dumps(claims | {"sub": "ann\0x"})),
        "no JSON": rs.of_text('{"alg":"RS256"}', "sub=ann"), "a list": rs.of_text('{"alg":"RS256"}', "[]"),
        "more behind the claims": rs.of_text('{"alg":"RS256"}', json.dumps(claims) + "{}"),
        "deep": rs.of_text('{"alg":"RS256"}', '{"a":' + "[" * 2000 + "]" * 2000 + "}"),
        "other claims": f"{head}.{b64(json.dumps(claims | {'sub': 'root'}))}.{signature}",
        "no signature": f"{head}.{body}.", "two parts": f"{head}.{body}", "four parts": good + ".x", "encrypted": good + "..x",
        "padding": good + "=", "a space": good + " ", "no base64": f"{head}.{body}.*{signature[1:]}", "empty": "", "dots": "..",
        "zeroes for r and s": f"{es_head}.{es_body}.{b64(bytes(64))}", "a short signature": f"{es_head}.{es_body}.{es_signature[:-4]}",
        "a signature of another": f"{es_head}.{es_body}.{signature}", "huge": f"{head}.{'A' * 20000}.{signature}",
        "not UTF-8": head + "." + b64(b'{"sub":"\xff"}') + "." + signature,
    }


def test_forged(tmp_path, issuers):
    """Algorithm confusion and the rest: a key is for its own algorithm, whatever a token says."""
    d = daemon(tmp_path, tokens(*issuers.values()) + ANYTHING + "logins = { failures = 0; };").start()
    for what, token in forged(issuers).items():
        assert code(d, token) == 0x86, what
    assert status(d)["admitted"] == 0
    assert d.stop() == 0, d.log()


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_only_configured_keys(tmp_path, issuers, alg):
    stranger = Issuer(tmp_path / "stranger", alg)
    d = daemon(tmp_path, tokens(issuers[alg]) + ANYTHING).start()
    assert code(d, stranger.token()) == 0x86
    assert code(d, issuers[alg].token()) == 0
    for other in ALGORITHMS:
        if other != alg:
            assert code(d, issuers[other].token()) == 0x86
    assert d.stop() == 0, d.log()


def test_key_names(tmp_path):
    """Two keys of one algorithm, told apart by kid while the issuer changes from one to the other."""
    old, new = Issuer(tmp_path, "ES256", "old"), Issuer(tmp_path, "ES256", "new")
    both = tokens(old.row(kid="2025"), new.row(kid="2026"))
    d = daemon(tmp_path, both + ANYTHING).start()
    assert code(d, old.token({"kid": "2025"})) == 0 and code(d, new.token({"kid": "2026"})) == 0
    assert code(d, old.token()) == 0 and code(d, new.token()) == 0, "without a name all are tried"
    assert code(d, old.token({"kid": "2026"})) == 0x86 and code(d, old.token({"kid": "2027"})) == 0x86
    gone, _ = ask(d, old.token({"kid": "2025"}), "o")
    stays, _ = ask(d, new.token({"kid": "2026"}), "n")
    reload(d, tokens(new.row(kid="2026")) + ANYTHING)
    gone.refused(0x87)
    stays.quiet()
    assert code(d, old.token({"kid": "2025"})) == 0x86
    assert d.stop() == 0, d.log()


def test_issuer(tmp_path, issuers):
    d = daemon(tmp_path, tokens(issuers["RS256"], more='issuer = "https://id.example.com";') + ANYTHING).start()
    assert code(d, issuers["RS256"].token()) == 0x87
    assert code(d, issuers["RS256"].token(iss="https://id.example.org")) == 0x87
    assert code(d, issuers["RS256"].token(iss="https://id.example.com")) == 0
    assert d.stop() == 0, d.log()


def test_names_of_claims(tmp_path, issuers):
    conf = 'user_claim = "name"; client_claim = "device"; publish_claim = "may-send"; subscribe_claim = "may-get";'
    d = daemon(tmp_path, tokens(issuers["HS256"], more=conf)).start()
    make = issuers["HS256"].token
    assert code(d, make()) == 0x87, "sub is not the name here"
    c, reason = ask(d, make(name="ann", **{"may-send": "a", "may-get": ["b", "a"]}))
    assert reason == 0
    c.send(mqtt5.subscribe(1, "a", "b", "c"))
    assert c.expect(SUBACK).codes == [0, 0, 0x87]
    assert code(d, make(name="ann", device="meter 7"), client="meter 7") == 0
    assert code(d, make(name="ann", device="meter 7"), client="meter 8") == 0x87
    assert code(d, make(name="ann", device=7), client="7") == 0x87
    assert d.stop() == 0, d.log()


# ---- topics ----

def test_topics_of_a_token(tmp_path, issuers):
    """What it brings is all that it may do, and the configuration's denials still come first."""
    rules = 'acl = ( { deny = "all"; topic = "+/secret/#"; }, { allow = "all"; topic = "other/#"; } );'
    d = daemon(tmp_path, tokens(issuers["ES256"]) + rules).start()
    c, reason = ask(d, issuers["ES256"].token(publ=["plant/in/#", "own/%u/%c"], subs="plant/#"))
    assert reason == 0
    c.send(mqtt5.subscribe(1, ("plant/#", 2), "other/x", "#", "plant/secret/x", "$share/g/plant/x"))
    assert c.expect(SUBACK).codes == [2, 0x87, 0x87, 0x87, 0]
    for pid, (topic, reason) in enumerate([("plant/in/x", 0), ("plant/x", 0x87), ("other/x", 0x87), ("own/ann/c", 0x10),
                                           ("own/ann/d", 0x87), ("plant/secret/x", 0x87)], 1):
        c.send(mqtt5.publish(topic, topic, qos=1, pid=pid))
        while (p := c.read()).kind != PUBACK:
            assert p.kind == PUBLISH and p.topic == "plant/in/x"
        assert p.reason == reason, topic
    assert code(d, issuers["ES256"].token(publ="own/%c/#"), client="a/b") == 0x85
    c, reason = ask(d, issuers["ES256"].token(), "plain")
    c.send(mqtt5.subscribe(1, "other/x", "plant/x"))
    assert c.expect(SUBACK).codes == [0, 0x87], "one that says nothing of topics has what acl says"
    c, reason = ask(d, issuers["ES256"].token(subs=[]), "nothing")
    c.send(mqtt5.subscribe(1, "other/x"))
    assert c.expect(SUBACK).codes == [0x87]
    assert d.stop() == 0, d.log()


def test_denials_are_checked_again(tmp_path, issuers):
    d = daemon(tmp_path, tokens(issuers["HS256"]) + "acl = ( );").start()
    c, _ = ask(d, issuers["HS256"].token(publ="t/#", subs="t/#"))
    c.send(mqtt5.publish("t/x", "1", qos=1, pid=1))
    assert c.expect(PUBACK).reason == 0x10
    reload(d, tokens(issuers["HS256"]) + 'acl = ( { user = "ann"; deny = "write"; topic = "t/x"; } );')
    c.send(mqtt5.publish("t/x", "2", qos=1, pid=2), mqtt5.publish("t/y", "2", qos=1, pid=3))
    assert [c.expect(PUBACK).reason for _ in "12"] == [0x87, 0x10]
    assert d.stop() == 0, d.log()


def test_roles_of_users_without_a_password(tmp_path, issuers):
    d = daemon(tmp_path, tokens(issuers["HS256"]) + users('{ name = "ann"; roles = [ "op" ]; }') +
               'acl = ( { role = "op"; allow = "all"; topic = "op/#"; } );').start()
    c, _ = ask(d, issuers["HS256"].token())
    c.send(mqtt5.subscribe(1, "op/x"))
    assert c.expect(SUBACK).codes == [0]
    c, _ = ask(d, issuers["HS256"].token(sub="bob"), "d")
    c.send(mqtt5.subscribe(1, "op/x"))
    assert c.expect(SUBACK).codes == [0x87]
    assert d.stop() == 0, d.log()


# ---- time ----

def test_the_end_of_a_token_ends_the_connection(tmp_path, issuers):
    d = daemon(tmp_path, tokens(issuers["HS256"], more='leeway = "0s";') + ANYTHING).start()
    c, reason = ask(d, issuers["HS256"].token(exp=int(time.time()) + 3), keepalive=0, will=("will", b"due", 0, 0))
    assert reason == 0
    w, _ = ask(d, issuers["HS256"].token(), "w")
    w.send(mqtt5.subscribe(1, "will"))
    w.expect(SUBACK)
    c.refused(0x87)
    assert w.expect(PUBLISH).payload == b"due"
    w.quiet()
    assert d.stop() == 0, d.log()


# ---- 3.1.1, guessing, listeners ----

def test_mqtt_3_1_1(tmp_path, issuers):
    """3.1.1 [MQTT-3.1.2-22]: no password without a user name, so the configuration says which name stands for none"""
    d = daemon(tmp_path, tokens(issuers["HS256"], more='user_name = "jwt";') + users(user("bob", "lamp")) + ANYTHING).start()
    token = issuers["HS256"].token()
    assert Raw(d.port, raw.connect("c", password=token)).closed()
    raw.client(d.port, "c", user="jwt", password=token).quiet()
    raw.client(d.port, "b", user="bob", password="lamp").quiet()
    for name, password in (("bob", token), ("ann", token), ("jwt", "lamp"), ("jwt", "")):
        c = Raw(d.port, raw.connect("c", user=name, password=password))
        assert c.expect(CONNACK).body[1] == 4 and c.closed()
    assert d.stop() == 0, d.log()


def test_guessing_ends(tmp_path, issuers):
    d = daemon(tmp_path, tokens(issuers["HS256"]) + ANYTHING + "logins = { failures = 3; };").start()
    good = issuers["HS256"].token()
    assert code(d, good, sock=from_address("127.0.0.66", d.port)) == 0
    wrong = [good.rsplit(".", 1)[0] + "." + b64(bytes([i]) * 32) for i in range(5)]
    assert [code(d, w, sock=from_address("127.0.0.66", d.port)) for w in wrong] == [0x86] * 3 + [0x9f] * 2
    assert code(d, good, sock=from_address("127.0.0.66", d.port)) == 0, "known"
    assert code(d, issuers["HS256"].token(sub="new")) == 0, "from elsewhere"
    assert d.stop() == 0, d.log()


def test_a_listener_that_takes_tokens_asks(tmp_path, issuers):
    result, text = check(tmp_path, 'listeners = ( { bind = "0.0.0.0:18999"; } );' + tokens(issuers["RS256"]) + ANYTHING)
    assert result == 0, text
    d = daemon(tmp_path / "d", tokens(issuers["RS256"]) + ANYTHING).start()
    assert code(d, None) == 0x87
    assert code(d, "sesame") == 0x86
    assert d.stop() == 0, d.log()


def test_without_rules_a_token_may_do_nothing(tmp_path, issuers):
    d = daemon(tmp_path, tokens(issuers["HS256"])).start()
    c, _ = ask(d, issuers["HS256"].token())
    c.send(mqtt5.subscribe(1, "t"))
    assert c.expect(SUBACK).codes == [0x87]
    assert d.stop() == 0, d.log()


# ---- configuration ----

def wrong_keys(folder):
    rs, es, hs = Issuer(folder, "RS256"), Issuer(folder, "ES256"), Issuer(folder, "HS256")
    small, other = Issuer(folder, "RS256", "small", bits=1024), Issuer(folder, "ES256", "other", curve="secp384r1")
    koblitz = Issuer(folder, "ES256", "koblitz", curve="secp256k1")
    short, readable, empty = folder / "short", folder / "readable", folder / "empty"
    for path, text in ((short, "secret"), (readable, "x" * 40), (empty, "")):
        path.write_text(text)
        path.chmod(0o600)
    readable.chmod(0o644)
    return {
        ("HS256", rs.file): "everybody may know", ("RS256", es.file): "no RSA key", ("ES256", rs.file): "P-256",
        ("RS256", hs.file): "no public key", ("RS256", rs.key): "no public key", ("RS256", small.file): "2048",
        ("ES256", other.file): "P-256", ("ES256", koblitz.file): "P-256", ("HS256", short): "too short",
        ("HS256", empty): "too short", ("HS256", readable): "chmod o=", ("ES256", folder / "nothing"): "No such file",
    }


def test_keys_that_do_not_do(tmp_path):
    for (alg, path), words in wrong_keys(tmp_path / "keys").items():
        if alg == "HS256" and path.suffix == ".pem":
            path.chmod(0o600)
        result, text = check(tmp_path, tokens(f'{{ alg = "{alg}"; file = "{path}"; }}') + ANYTHING)
        assert result == 1 and words in text and "sluice.conf:3" in text, (alg, path, text)


SETTINGS = {"no keys": "tokens = { audience = \"a\"; };", "empty list": "tokens = { keys = ( ); audience = \"a\"; };",
            "alg none": 'tokens = { keys = ( { alg = "none"; file = "x"; } ); audience = "a"; };'}


@pytest.mark.parametrize("what", SETTINGS)
def test_settings_that_do_not_do(tmp_path, what):
    result, text = check(tmp_path, SETTINGS[what])
    assert result == 1 and "sluice.conf:3" in text, text


def test_audience_is_needed(tmp_path, issuers):
    for audience in ("", "audience = [ ];"):
        result, text = check(tmp_path, f"tokens = {{ keys = ( {issuers['RS256'].row()} ); {audience} }};")
        assert result == 1 and "audience" in text, text


def test_a_key_that_is_gone_is_refused_at_reload(tmp_path, issuers):
    mine = Issuer(tmp_path / "keys", "ES256")
    d = daemon(tmp_path, tokens(mine) + ANYTHING).start()
    mine.file.rename(mine.file.with_suffix(".away"))
    done = ctl(d, "reload")
    assert done.returncode == 1 and "No such file" in done.stderr
    assert code(d, mine.token()) == 0, "what ran goes on"
    assert d.stop() == 0, d.log()

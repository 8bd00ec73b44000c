# SPDX-License-Identifier: Apache-2.0
"""Who may do what, on a daemon with rules: asked at every packet, at delivery, and again when the rules change."""
import json

import mqtt5
import pytest
import raw
from mqtt5 import SESSION_EXPIRY, client
from raw import CONNACK, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, Raw
from users import ctl, daemon, reload, status, user, users

PEOPLE = users(user("ann", "a"), user("bob", "b", roles=["operator"]))
RULES = '''acl = ( { deny = "all"; topic = "+/secret/#"; },
    { role = "operator"; allow = "all"; topic = "plant/#"; },
    { allow = "read"; topic = "plant/#"; max_qos = 1; },
    { user = "ann"; allow = "publish"; topic = "plant/note"; retain = false; max_qos = 1; },
    { allow = "all"; topic = "own/%u/%c/#"; },
    { anonymous = true; allow = "publish"; topic = "drop/#"; } );
'''


@pytest.fixture
def site(tmp_path):
    d = daemon(tmp_path, PEOPLE + RULES, anonymous=True).start()
    yield d
    assert d.stop() == 0, d.log()


def ann(d, name="a", **more):
    return client(d.port, name, user="ann", password="a", **more)


def bob(d, name="b", **more):
    return client(d.port, name, user="bob", password="b", **more)


def test_publish(site):
    """5.0 §3.3.4, §3.4.2.1: refused with a reason, and nobody gets it"""
    b, a = bob(site), ann(site)
    b.send(mqtt5.subscribe(1, "plant/#"))
    b.expect(SUBACK)
    a.send(mqtt5.publish("plant/note", "0"), mqtt5.publish("plant/note", "1", qos=1, pid=1))
    assert a.expect(PUBACK).reason == 0
    assert [b.expect(PUBLISH).payload for _ in "01"] == [b"0", b"1"]
    a.send(mqtt5.publish("plant/x", "never"), mqtt5.publish("plant/x", "never", qos=1, pid=2))
    assert a.expect(PUBACK).reason == 0x87
    a.send(mqtt5.publish("plant/note", "never", qos=1, pid=3, retain=True))
    assert a.expect(PUBACK).reason == 0x87, "not retained"
    a.send(mqtt5.publish("plant/note", "never", qos=2, pid=4))
    assert a.expect(PUBREC).reason == 0x87, "too high a QoS"
    a.send(mqtt5.publish("own/bob/b/x", "never", qos=1, pid=4))
    assert a.expect(PUBACK).reason == 0x87, "another's"
    a.quiet()
    b.quiet()
    assert status(site)["denied_publishes"] == 5


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publish_of_a_client_that_cannot_be_told(site, qos):
    """3.1.1 [MQTT-3.3.5-2]: acknowledged as if, or closed; here acknowledged, and delivered to nobody"""
    b = bob(site)
    b.send(mqtt5.subscribe(1, "plant/#"))
    b.expect(SUBACK)
    a = raw.client(site.port, "old", user="ann", password="a")
    a.send(raw.publish("plant/x", "never", qos=qos, pid=7))
    if qos == 1:
        a.expect(PUBACK)
    if qos == 2:
        a.expect(PUBREC)
        a.send(raw.ack(PUBREL, 7))
        a.expect(PUBCOMP)
    a.quiet()
    b.quiet()


def test_subscribe(site):
    """5.0 §3.9.3; 3.1.1 §3.9.3 knows 0x80 alone"""
    wanted = ["plant/#", "#", "plant/x", "plant/secret/x", "own/ann/a/#", "own/ann/+/#", "own/bob/b/#", "$share/g/plant/+"]
    a = ann(site)
    a.send(mqtt5.subscribe(1, *[(w, 2) for w in wanted]))
    assert a.expect(SUBACK).codes == [1, 0x87, 1, 0x87, 2, 0x87, 0x87, 1]
    old = raw.client(site.port, "a", user="ann", password="a")
    old.send(raw.subscribe(1, *[(w, 2) for w in wanted]))
    assert list(old.expect(SUBACK).body[2:]) == [1, 0x80, 1, 0x80, 2, 0x80, 0x80, 1]
    nobody = client(site.port, "n")
    nobody.send(mqtt5.subscribe(1, "plant/#", "drop/#"))
    assert nobody.expect(SUBACK).codes == [0, 0x87]


def test_receive(site):
    """A subscription that is wider than a denial gets what the denial leaves, retained messages too."""
    reload(site, PEOPLE + '''acl = ( { user = "bob"; allow = "all"; topic = "#"; },
        { deny = "read"; topic = "plant/secret/#"; }, { allow = "read"; topic = "plant/#"; } );''', anonymous=True)
    b = bob(site)
    for pid, (topic, payload) in enumerate([("plant/secret/r", "never"), ("plant/r", "kept")], 1):
        b.send(mqtt5.publish(topic, payload, qos=1, pid=pid, retain=True))
        b.expect(PUBACK)
    a = ann(site)
    a.send(mqtt5.subscribe(1, ("plant/#", 1)))
    assert a.expect(SUBACK).codes == [1]
    p = a.expect(PUBLISH)
    assert p.payload == b"kept"
    a.send(mqtt5.ack(PUBACK, p.pid))
    for qos in (0, 1, 2):
        b.send(mqtt5.publish("plant/secret/x", "never", qos=qos, pid=qos + 5))
    b.send(mqtt5.publish("plant/x", "yes"))
    assert a.expect(PUBLISH).payload == b"yes"
    a.quiet()
    assert status(site)["denied_deliveries"] >= 4


def test_will(site):
    """Nobody leaves a will that it could not publish itself."""
    for topic, retain, code in (("plant/x", False, 0x87), ("plant/note", True, 0x87), ("plant/note", False, 0)):
        c = mqtt5.Client(site.port, mqtt5.connect("w", will=(topic, "last", 1, retain), user="ann", password="a"))
        assert c.expect(CONNACK).reason == code
        c.close()


HOSTILE_CLIENTS = {"a plus": "a+", "a hash": "#", "a slash": "x/y", "of the system": "$SYS"}


@pytest.mark.parametrize("what", HOSTILE_CLIENTS)
def test_names_that_would_widen_a_rule(site, what):
    """own/%u/%c/# must not become own/+/#."""
    name = HOSTILE_CLIENTS[what]
    c = mqtt5.Client(site.port, mqtt5.connect(name, user="ann", password="a"))
    assert c.expect(CONNACK).reason == 0x85 and c.closed()
    c = Raw(site.port, raw.connect(name, user="ann", password="a"))
    assert c.expect(CONNACK).body[1] == 2 and c.closed()
    client(site.port, name).quiet()  # no rule that is for a client without a name looks at it
    assert status(site)["denied_connects"] == 2


def test_user_name_that_would_widen_a_rule(site):
    reload(site, users(user("an+", "a"), user("#", "a")) + RULES)
    for name in ("an+", "#"):
        c = mqtt5.Client(site.port, mqtt5.connect("c", user=name, password="a"))
        assert c.expect(CONNACK).reason == 0x87 and c.closed()


def test_users_without_rules_may_do_nothing(site):
    reload(site, PEOPLE, anonymous=True)
    a = ann(site)
    a.send(mqtt5.subscribe(1, "t"), mqtt5.publish("t", "x", qos=1, pid=1))
    assert a.expect(SUBACK).codes == [0x87]
    assert a.expect(PUBACK).reason == 0x87


# ---- reload ----

NARROW = PEOPLE + '''acl = ( { user = "bob"; allow = "all"; topic = "plant/#"; },
    { allow = "read"; topic = "plant/a/#"; max_qos = 0; }, { allow = "all"; topic = "own/%u/%c/#"; } );'''


def test_live_subscriptions_are_checked_again(site):
    b, told, untold, kept = bob(site), ann(site, "told"), raw.client(site.port, "untold", user="ann", password="a"), ann(site, "kept")
    told.send(mqtt5.subscribe(1, ("plant/#", 1)))
    untold.send(raw.subscribe(1, ("plant/#", 1), ("plant/a/x", 1)))
    kept.send(mqtt5.subscribe(1, ("plant/a/+", 1)))
    for c in (told, untold, kept):
        c.expect(SUBACK)
    reload(site, NARROW, anonymous=True)
    told.refused(0x87)
    b.send(mqtt5.publish("plant/b", "never", qos=1, pid=1), mqtt5.publish("plant/a/x", "still", qos=1, pid=2))
    for c in (untold, kept):
        p = c.expect(PUBLISH)
        assert (p.payload, p.qos) == (b"still", 0), "no more than the new rule's QoS"
        c.quiet()
    kept.send(mqtt5.publish("plant/note", "x", qos=1, pid=1))
    assert kept.expect(PUBACK).reason == 0x87


def test_a_session_that_was_away(site):
    """What it may not have any more goes when it returns, from its queue too."""
    a = ann(site, "away", clean=True, pairs=[(SESSION_EXPIRY, 1000)])
    a.send(mqtt5.subscribe(1, ("plant/#", 1)))
    a.expect(SUBACK)
    a.send(mqtt5.disconnect())
    assert a.closed()
    b = bob(site)
    for pid, topic in enumerate(["plant/b", "plant/a/x"], 1):
        b.send(mqtt5.publish(topic, topic, qos=1, pid=pid))
        b.expect(PUBACK)
    reload(site, NARROW, anonymous=True)
    a = ann(site, "away", clean=False, pairs=[(SESSION_EXPIRY, 1000)])
    assert a.session_present
    p = a.expect(PUBLISH)
    assert p.payload == b"plant/a/x"
    a.send(mqtt5.ack(PUBACK, p.pid))
    b.send(mqtt5.publish("plant/b", "never", qos=1, pid=3), mqtt5.publish("plant/a/x", "never", qos=1, pid=4))
    b.expect(PUBACK)
    b.expect(PUBACK)
    a.quiet()


def test_a_will_is_checked_again(site):
    b = bob(site)
    b.send(mqtt5.subscribe(1, "plant/#"))
    b.expect(SUBACK)
    a = mqtt5.client(site.port, "w", will=("plant/note", "never", 0, 0), user="ann", password="a")
    reload(site, NARROW, anonymous=True)
    a.close()
    b.quiet()
    b.send(mqtt5.publish("plant/x", "after"))
    assert b.expect(PUBLISH).payload == b"after"


def test_a_wrong_rule_is_refused_whole(site):
    a = ann(site)
    site.configure(f'listeners = ( {{ bind = "127.0.0.1:{site.port}"; }} );' + PEOPLE + 'acl = ( { allow = "al"; topic = "a"; } );')
    done = ctl(site, "reload")
    assert done.returncode == 1 and "sluice.conf:4" in done.stderr
    a.send(mqtt5.publish("plant/note", "x", qos=1, pid=1))
    assert a.expect(PUBACK).reason in (0, 0x10)


# ---- sluicectl acl test ----

QUESTIONS = [
    ("ann c publish plant/note", "allowed", ["sluice.conf:8", "QoS 1 at most", "not retained"]),
    ("ann c publish plant/x", "denied", ["no rule allows it"]),
    ("ann c publish plant/secret/x", "denied", ["sluice.conf:5"]),
    ("bob c publish plant/x", "allowed", ["sluice.conf:6"]),
    ("ann c subscribe plant/#", "allowed", ["sluice.conf:7", "QoS 1"]),
    ("ann c subscribe #", "denied", ["no rule"]),
    ("ann c receive plant/x", "allowed", ["sluice.conf:7"]),
    ("ann c1 publish own/ann/c1/x", "allowed", ["sluice.conf:9"]),
    ("ann c1 publish own/ann/c2/x", "denied", ["no rule"]),
    ("- c publish drop/x", "allowed", ["sluice.conf:10"]),
    ("ann c publish drop/x", "denied", ["no rule"]),
]


def test_acl_test(site):
    for question, verdict, words in QUESTIONS:
        done = ctl(site, "acl", "test", *question.split())
        assert done.returncode == 0 and done.stdout.startswith(verdict), (question, done.stdout, done.stderr)
        assert all(w in done.stdout for w in words), (question, done.stdout)
    answer = json.loads(ctl(site, "--json", "acl", "test", "ann", "c", "publish", "plant/note").stdout)
    assert answer["verdict"] == "allowed" and answer["max_qos"] == 1 and answer["retain"] is False
    for question, result, words in (("ann c publish a/+", 1, "no topic"), ("ann c subscribe a+", 1, "no topic filter"),
                                    ("ann a/b publish x", 1, "would not get in"), ("ann c write x", 1, "publish, subscribe or receive"),
                                    ("ann c publish", 2, "needs")):
        done = ctl(site, "acl", "test", *question.split())
        assert done.returncode == result and words in done.stderr, (question, done.stderr)


def test_acl_test_where_nothing_is_asked(tmp_path):
    d = daemon(tmp_path, "", anonymous=True).start()
    done = ctl(d, "acl", "test", "-", "c", "publish", "x")
    assert done.stdout == "allowed: there are no rules for it\n"
    assert d.stop() == 0, d.log()


def test_denials_are_logged_but_not_without_end(site):
    a = ann(site)
    for i in range(100):
        a.send(mqtt5.publish(f"plant/{i}\x07", "never"))
    a.quiet()
    lines = [line for line in site.log().splitlines() if "security: " in line]
    assert 1 <= len(lines) <= 21 and "user ann may not publish plant/0?" in lines[0]
    assert status(site)["denied_publishes"] == 100

# SPDX-License-Identifier: Apache-2.0
"""MQTT 5.0, chapter 3.2.2.3: what a server need not offer, when the configuration takes it away (group mqtt)."""
import pytest
import raw
from daemon import Sluiced
from mqtt5 import (FORMAT, MAXIMUM_QOS, RETAIN_AVAILABLE, SHARED_AVAILABLE, SUBSCRIPTION_ID, SUBSCRIPTION_ID_AVAILABLE,
                   WILDCARD_AVAILABLE, Client, client, connect, publish, subscribe)
from raw import CONNACK, PUBACK

OFFERS = {MAXIMUM_QOS, RETAIN_AVAILABLE, WILDCARD_AVAILABLE, SHARED_AVAILABLE, SUBSCRIPTION_ID_AVAILABLE}


@pytest.fixture
def offering(tmp_path):
    """A daemon with these settings of mqtt."""
    daemons = []

    def start(settings):
        daemons.append(Sluiced(tmp_path, f"mqtt = {{ {settings} }};").start())
        return daemons[-1].port

    yield start
    for d in daemons:
        assert d.stop() == 0, d.log()


def told(c):
    return {i: v for i, v in c.connack.props if i in OFFERS}


def test_all_is_offered(port, own):
    """§3.2.2.3: and then nothing need be said"""
    assert told(client(port, own)) == {}


@pytest.mark.parametrize("most", [0, 1])
def test_maximum_qos(offering, most):
    """[MQTT-3.2.2-9] to -12: told; subscriptions of any QoS are taken; no more is published, by will or PUBLISH"""
    port = offering(f"qos = {most};")
    c = client(port, "c")
    assert told(c) == {MAXIMUM_QOS: most}
    assert c.subscribed(("t", 0), ("t", 1), ("t", 2)) == [0, min(1, most), most]
    c.send(publish("t", "x", most, 1))
    if most:
        c.answer(PUBACK)
    assert c.received().qos == most
    for qos in range(most + 1, 3):
        p = Client(port, connect("w", will=("t", "x", qos, 0))).expect(CONNACK)
        assert (p.reason, p.body[0]) == (0x9b, 0)
        over = client(port, "p")
        over.send(publish("t", "x", qos, 1))
        over.refused(0x9b)
    c.quiet()


def test_no_retaining(offering):
    """[MQTT-3.2.2-13], [MQTT-3.2.2-14]"""
    port = offering("retain = false;")
    c = client(port, "c")
    assert told(c) == {RETAIN_AVAILABLE: 0}
    assert Client(port, connect("w", will=("t", "x", 0, 1))).expect(CONNACK).reason == 0x9a
    c.send(publish("t", "x", retain=True))
    c.refused(0x9a)
    c = client(port, "c")
    c.subscribed("t")
    c.quiet()


NOT_OFFERED = {"wildcards": (WILDCARD_AVAILABLE, ["a/+", "#"], (), 0xa2), "shared": (SHARED_AVAILABLE, ["$share/g/a"], (), 0x9e),
               "subscription_ids": (SUBSCRIPTION_ID_AVAILABLE, ["a"], [(SUBSCRIPTION_ID, 1)], 0xa1)}


@pytest.mark.parametrize("what", NOT_OFFERED)
def test_subscriptions_not_offered(offering, what):
    """§3.2.2.3.11 to 13, [MQTT-3.14.2-1]: told, and closed for who asks all the same; what else there is goes on"""
    ident, filters, pairs, reason = NOT_OFFERED[what]
    port = offering(f"{what} = false;")
    for filter in filters:
        c = client(port, "c")
        assert told(c) == {ident: 0}
        assert c.subscribed("plain") == [0]
        c.send(subscribe(2, "good", filter, pairs=pairs))
        c.refused(reason)
    others = [f for w in NOT_OFFERED if w not in (what, "subscription_ids") for f in NOT_OFFERED[w][1]]
    assert client(port, "o").subscribed(*others) == [0] * len(others)


def test_older_clients_are_bound_too(offering):
    """§3.2.2.3: MQTT 3.1.1 has no words for it, so they are closed"""
    port = offering("qos = 1; retain = false;")
    for data in (raw.publish("t", "x", 2, 1), raw.publish("t", "x", retain=True)):
        c = raw.client(port, "c")
        c.send(data)
        assert c.closed()
    c = raw.client(port, "c")
    c.send(raw.subscribe(1, ("t", 2)))
    assert c.expect(raw.SUBACK).body[-1] == 1


def test_unchecked_payloads(offering):
    """§3.3.2.3.2: the check is the server's choice"""
    port = offering("check_payloads = false;")
    c = client(port, "c", will=("t", b"\xff", 0, 0), will_pairs=[(FORMAT, 1)])
    c.subscribed("t")
    c.send(publish("t", b"\xff", pairs=[(FORMAT, 1)]))
    assert (c.received().payload, c.passed) == (b"\xff", [])


ODD = ["\x01", "\x1f", "\x7f", "\x80", "\x9f", "\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff"]
EVEN = [" ", "~", "\xa0", "\ufdcf", "\ufdf0", "\ufffd", "\U00010000", "\U0001fffd", "\U0010fffd", "\u0800"]


def test_odd_characters(offering):
    """[MQTT-1.5.4-1], §1.5.4: control and non-characters in topics, filters and names, when they are not wanted"""
    port = offering("odd_characters = false;")
    c = client(port, "c", user="u\u20ac")
    for text in EVEN:
        c.subscribed(text)
        c.send(publish(text, "x"))
        assert c.received().topic == text
    for text in ODD:
        text = f"a{text}b"
        assert c.published(text, "x").reason == 0x90
        assert c.published(text, "x", qos=2).reason == 0x90
        for data, reason in ((publish(text, "x"), 0x90), (subscribe(1, text), 0x8f)):
            with client(port, "p") as p:
                p.send(data)
                p.refused(reason)
    for refused, reason in ((connect("a\x01"), 0x85), (connect("a\ufffe"), 0x85), (connect("d", user="\x02"), 0x86),
                            (connect("d", will=("\ufdd0", "x", 0, 0)), 0x90)):
        assert Client(port, refused).expect(CONNACK).reason == reason
    c.quiet()

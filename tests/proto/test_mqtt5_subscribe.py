# SPDX-License-Identifier: Apache-2.0
"""MQTT 5.0, chapters 3.8 to 3.12 and 4.7: SUBSCRIBE, UNSUBSCRIBE, PINGREQ, and what a filter matches."""
import pytest
from mqtt5 import (MAXIMUM_PACKET, PROBLEM_INFO, REASON, SUBSCRIPTION_ID, USER, ack, client, lasting, publish, subscribe, unsubscribe)
from raw import (PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, packet,
                 text)

NO_LOCAL, AS_PUBLISHED, IF_NEW, NEVER = 4, 8, 0x10, 0x20


def unsubscribed(c, *filters, pid=1, pairs=()):
    c.send(unsubscribe(pid, *filters, pairs=pairs))
    p = c.answer(UNSUBACK)
    assert p.pid == pid
    return p.codes


@pytest.mark.parametrize("pid", [1, 255, 256, 65535])
def test_answers(port, own, pid):
    """[MQTT-3.8.4-1], -2, -5 to -7, [MQTT-3.9.3-1], -2, [MQTT-2.2.1-6]: a code for each filter, in their order"""
    c = client(port, own)
    filters = [(f"{own}/2", 2), (f"{own}/0", 0), ("$share/g/" + own, 1), (f"{own}/1", 1), (f"{own}/0", 2)]
    c.send(subscribe(pid, *filters))
    p = c.expect(SUBACK)
    assert (p.pid, p.codes, p.props) == (pid, [2, 0, 1, 1, 2], [])
    c.send(unsubscribe(pid, f"{own}/1", f"{own}/none", "$share/g/" + own, f"{own}/1", f"{own}/2"))
    p = c.expect(UNSUBACK)
    assert (p.pid, p.codes) == (pid, [0, 0x11, 0, 0x11, 0])


def test_many_filters_are_many_subscriptions(port, own):
    """[MQTT-3.8.4-5], [MQTT-3.10.4-6]: the last of two that are the same counts"""
    c = client(port, own)
    c.subscribed((f"{own}/a", 2), (f"{own}/b", 0), (f"{own}/a", 0))
    for topic in ("a", "b"):
        c.published(f"{own}/{topic}", topic)
    assert [(g.payload, g.qos) for g in (c.received(), c.received())] == [(b"a", 0), (b"b", 0)]
    c.quiet()
    unsubscribed(c, f"{own}/b", f"{own}/a")
    c.send(publish(f"{own}/a", "x"), publish(f"{own}/b", "x"))
    c.quiet()


def test_replacing_a_subscription(port, own):
    """[MQTT-3.8.4-3], -4: its options change, retained messages come again, and nothing is lost in between"""
    c, p = client(port, own), client(port, own + "p")
    p.published(f"{own}/r", "kept", retain=True)
    for qos in (2, 0, 1):
        for _ in range(2):
            c.subscribed((f"{own}/+", qos))
            got = c.received()
            assert (got.payload, got.qos, got.retain) == (b"kept", min(qos, 1), True)
    stream = [subscribe(i + 1, (f"{own}/+", 1 | NEVER | i % 2 * AS_PUBLISHED)) + publish(f"{own}/n", f"{i}", 1, i + 1) for i in range(20)]
    c.send(*stream)
    got = [c.read() for _ in range(60)]
    assert [g.payload for g in got if g.kind == PUBLISH] == [b"%d" % i for i in range(20)]


@pytest.mark.parametrize("granted", [0, 1, 2])
def test_lower_qos_of_the_two(port, own, granted):
    """[MQTT-3.8.4-8], [MQTT-3.3.4-2]"""
    c = client(port, own)
    c.subscribed((f"{own}/#", granted), (f"{own}/x", 0))
    for qos in (0, 1, 2):
        c.send(publish(f"{own}/t", "x", qos, 1))
        if qos:
            c.answer(PUBACK if qos == 1 else PUBREC)
        assert c.received().qos == min(qos, granted)
        c.send(publish(f"{own}/x", "overlapping", 2, 2))
        c.answer(PUBREC)
        assert c.received().qos == granted
        c.send(ack(PUBREL, 1), ack(PUBREL, 2))
        c.expect(PUBCOMP), c.expect(PUBCOMP)
    c.quiet()


def test_no_local(port, own):
    """[MQTT-3.8.3-3]: of the same client, also what is retained; the others' messages come"""
    c, other = client(port, own), client(port, own + "o")
    c.published(f"{own}/mine", "retained", retain=True)
    other.published(f"{own}/theirs", "retained", retain=True)
    c.subscribed((f"{own}/+", 1 | NO_LOCAL))
    assert c.received().topic == f"{own}/theirs"
    for qos in (0, 1):
        c.send(publish(f"{own}/t", "mine", qos, 1))
        other.send(publish(f"{own}/t", "theirs", qos, 1))
        if qos:
            c.answer(PUBACK)
        assert c.received().payload == b"theirs"
    c.quiet()
    c.subscribed((f"{own}/t", 0))  # another subscription that matches
    c.send(publish(f"{own}/t", "mine"))
    assert c.received().payload == b"mine"


def test_no_local_beside_others(port, own):
    """[MQTT-3.8.3-3], [MQTT-3.3.4-2], -4: its own message comes by the other subscriptions alone, as these say"""
    c, other = client(port, own), client(port, own + "o")
    for pid, (filter, options) in enumerate([("+", 2 | NO_LOCAL), ("t", 0), ("#", 1 | NO_LOCAL | AS_PUBLISHED)], 1):
        c.subscribed((f"{own}/{filter}", options), pairs=[(SUBSCRIPTION_ID, pid)])
    for who, qos, retain, ids in ((c, 0, False, [2]), (other, 2, True, [1, 2, 3])):
        who.published(f"{own}/t", "x", qos=2, retain=True)
        got = c.received()
        assert (got.qos, got.retain, sorted(got.all(SUBSCRIPTION_ID))) == (qos, retain, ids)
        c.quiet()


def test_retain_as_published(port, own):
    """[MQTT-3.3.1-12], -13"""
    c, p = client(port, own), client(port, own + "p")
    c.subscribed((f"{own}/as", AS_PUBLISHED), f"{own}/plain")
    for topic in ("as", "plain"):
        for retain in (True, False):
            p.send(publish(f"{own}/{topic}", "x", retain=retain))
            assert c.received().retain == (retain and topic == "as")


@pytest.mark.parametrize("handling, new, again", [(0, True, True), (IF_NEW, True, False), (NEVER, False, False)])
def test_retain_handling(port, own, handling, new, again):
    """[MQTT-3.3.1-9] to -11"""
    c = client(port, own)
    c.published(f"{own}/r", "x", retain=True)

    def comes():
        c.subscribed((f"{own}/+", handling))
        c.send(packet(PINGREQ))
        c.answer(PINGRESP)
        got, c.passed = c.passed, []
        assert all(g.retain and g.payload == b"x" for g in got)
        return len(got)

    assert [comes(), comes()] == [new, again]
    unsubscribed(c, f"{own}/+")
    assert comes() == new


def test_handling_of_a_session_that_returns(port, own):
    """[MQTT-3.3.1-10]: its subscription is not new"""
    c = lasting(port, own)
    c.published(f"{own}/r", "x", retain=True)
    c.subscribed((f"{own}/r", 1 | IF_NEW))
    c.received()
    c.close()
    c = lasting(port, own)
    c.subscribed((f"{own}/r", 1 | IF_NEW))
    c.quiet()


def test_unsubscribe(port, own):
    """[MQTT-3.10.4-1], -2, -4, -5, [MQTT-3.11.3-1], -2: the same filter to the character, and no other"""
    c = client(port, own)
    c.subscribed(f"{own}/a/+", f"{own}/A/b", f"{own}/a/b/#")
    assert unsubscribed(c, f"{own}/a/b", f"{own}/a/B", f"{own}/a/#", f"{own}/a/+/") == [0x11] * 4
    c.send(publish(f"{own}/a/b", "x"))
    assert c.received().topic == f"{own}/a/b"
    c.quiet()
    assert unsubscribed(c, f"{own}/a/+") == [0]
    c.send(publish(f"{own}/a/c", "x"), publish(f"{own}/a/b", "still by the other"))
    assert c.received().payload == b"still by the other"
    assert unsubscribed(c, f"{own}/a/+", pid=7) == [0x11]


@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_begun_is_finished(port, own, qos):
    """[MQTT-3.10.4-3], [MQTT-3.10.4-2]: after UNSUBSCRIBE and over a reconnect"""
    c = lasting(port, own)
    c.subscribed((f"{own}/t", 2))
    p = client(port, own + "p")
    p.published(f"{own}/t", "begun", qos=qos)
    first = c.expect(PUBLISH)
    unsubscribed(c, f"{own}/t")
    p.published(f"{own}/t", "not any more", pid=2)
    c.quiet()
    c.close()
    c = lasting(port, own)
    got = c.received()
    assert (got.pid, got.payload, got.dup) == (first.pid, b"begun", True)
    c.quiet()


BAD = {
    "flags of SUBSCRIBE [MQTT-3.8.1-1]": (packet(SUBSCRIBE, b"\0\1\0" + text("a") + b"\0", 0), {0x81}),
    "flags of UNSUBSCRIBE [MQTT-3.10.1-1]": (packet(UNSUBSCRIBE, b"\0\1\0" + text("a"), 3), {0x81}),
    "filter that is no UTF-8 [MQTT-3.8.3-1]": (subscribe(1, b"\xed\xa0\x80"), {0x81}),
    "filter to end that is no UTF-8 [MQTT-3.10.3-1]": (unsubscribe(1, b"\xc0\xaf"), {0x81}),
    "NUL in a filter [MQTT-4.7.3-2]": (subscribe(1, "a\0"), {0x81}),
    "NUL in a filter to end [MQTT-4.7.3-2]": (unsubscribe(1, "a\0"), {0x81}),
    "no filter [MQTT-3.8.3-2]": (subscribe(1), {0x82}),
    "no filter to end [MQTT-3.10.3-2]": (unsubscribe(1), {0x82}),
    "no local, shared [MQTT-3.8.3-4]": (subscribe(1, ("$share/g/a", NO_LOCAL)), {0x82}),
    "reserved option 0x40 [MQTT-3.8.3-5]": (subscribe(1, ("a", 0x40)), {0x81}),
    "reserved option 0x80 [MQTT-3.8.3-5]": (subscribe(1, ("a", 0x80)), {0x81}),
    "QoS 3": (subscribe(1, ("a", 3)), {0x81, 0x82}),
    "retain handling 3": (subscribe(1, ("a", 0x30)), {0x82}),
    "identifier 0 [MQTT-2.2.1-3]": (subscribe(0, "a"), {0x82}),
    "subscription identifier 0": (subscribe(1, "a", pairs=[(SUBSCRIPTION_ID, 0)]), {0x82}),
    "subscription identifier twice": (subscribe(1, "a", pairs=[(SUBSCRIPTION_ID, 1)] * 2), {0x82}),
    "empty filter [MQTT-4.7.3-1]": (subscribe(1, ""), {0x8f}),
    "# not last [MQTT-4.7.1-1]": (subscribe(1, "a/#/b"), {0x8f}),
    "# not alone [MQTT-4.7.1-1]": (subscribe(1, "a#"), {0x8f}),
    "+ not alone [MQTT-4.7.1-2]": (subscribe(1, "a/b+"), {0x8f}),
    "no share name [MQTT-4.8.2-1]": (subscribe(1, "$share//a"), {0x8f}),
    "share name with + [MQTT-4.8.2-2]": (subscribe(1, "$share/g+/a"), {0x8f}),
    "share name alone [MQTT-4.8.2-2]": (subscribe(1, "$share/g"), {0x8f}),
    "share without a filter [MQTT-4.8.2-2]": (subscribe(1, "$share/g/"), {0x8f}),
    "the second one is bad": (subscribe(1, "a", "b/+c"), {0x8f}),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_packets(port, own, what):
    """[MQTT-4.13.1-1], [MQTT-3.14.2-1]"""
    data, reasons = BAD[what]
    c = client(port, own)
    c.send(data)
    c.refused(*reasons)


def test_reasons_of_suback_and_unsuback(port, own):
    """[MQTT-3.9.2-1], -2, [MQTT-3.11.2-1], -2, [MQTT-3.1.2-29]: in words where wanted, and where they fit"""
    def words(*pairs):
        c = client(port, own, pairs=pairs)
        c.send(unsubscribe(1, f"{own}/none"))
        p = c.expect(UNSUBACK)
        assert p.codes == [0x11] and not p.all(USER)
        return p, p.get(REASON)

    full, text_of_it = words()
    assert text_of_it
    size = 2 + len(full.body)
    assert words((PROBLEM_INFO, 0))[1] is None
    assert words((MAXIMUM_PACKET, size))[1]
    assert words((MAXIMUM_PACKET, size - 1))[1] is None
    c = client(port, own, pairs=[(MAXIMUM_PACKET, 30)])
    c.send(subscribe(1, *[f"{i}" for i in range(25)]))
    assert len(c.expect(SUBACK).body) == 28
    c.send(subscribe(1, *[f"{i}" for i in range(26)]))
    c.refused(0x95)  # an answer that is too large cannot be left out


def test_ping(port, own):
    """[MQTT-3.12.4-1]"""
    c = client(port, own)
    c.send(packet(PINGREQ) * 3)
    assert [c.expect(PINGRESP).body for _ in range(3)] == [b""] * 3


# ---- topics ----

MATCHES = {  # filter: what it matches, what not
    "sport/tennis/player1/#": (["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/a/b"], ["sport/tennis/player2"]),
    "sport/tennis/+": (["sport/tennis/player1", "sport/tennis/"], ["sport/tennis/a/b", "sport/tennis"]),
    "+/+": (["/finance", "a/b", "/"], ["a", "a/b/c"]),
    "/+": (["/finance"], ["finance", "/finance/a"]),
    "+": (["finance", " "], ["/finance", "$finance"]),
    "#": (["a", "a/b", "/"], ["$a", "$a/b"]),
    "+/monitor/#": (["a/monitor/b"], ["$a/monitor/b"]),
    "$a/#": (["$a", "$a/b"], ["a/b"]),
    "$a/+/c": (["$a/$b/c"], ["$a/c"]),
    "a/$/+": (["a/$/b"], []),
    "a//b": (["a//b"], ["a/b", "a/+/b".replace("+", "x")]),
}


@pytest.mark.parametrize("filter", MATCHES)
def test_matching(sluiced, filter):
    """[MQTT-4.7.1-1], -2, [MQTT-4.7.2-1], [MQTT-3.3.2-3]: for messages and for retained ones"""
    yes, no = MATCHES[filter]
    c = client(sluiced.port, "c")
    c.subscribed(filter)
    for topic in no + yes:
        c.send(publish(topic, "x", retain=True))
    assert [c.received().topic for _ in yes] == yes
    c.quiet()
    late = client(sluiced.port, "late")
    late.subscribed((filter, 0))
    late.send(packet(PINGREQ))
    late.answer(PINGRESP)
    assert sorted(g.topic for g in late.passed if not g.topic.startswith("$SYS")) == sorted(yes)


def test_nothing_is_normalized(port, own):
    """[MQTT-4.7.3-4], [MQTT-1.5.4-3]: case, composed characters, byte order marks and slashes tell topics apart"""
    c = client(port, own)
    topics = [f"{own}/{t}" for t in ("\ufeffx", "x", "X", "\u00e9", "e\u0301", "x/", "/x", " x", "\ufb01", "fi")]
    c.subscribed(*[(t, 0) for t in topics])
    for topic in topics:
        c.send(publish(topic, topic))
        got = c.received()
        assert (got.topic, got.payload) == (topic, topic.encode())
        c.quiet()


def test_long_topics(port, own):
    """[MQTT-4.7.3-3]: 65,535 bytes and 32,767 levels are fine; longer ones there cannot be"""
    c = client(port, own)
    for topic in ((own + "x" * 65535)[:65535], own + "/" * (65535 - len(own))):
        c.subscribed((topic, 1))
        c.published(topic, "x", pid=3)
        assert c.received().topic == topic


def test_odd_but_good(port, own):
    """[MQTT-4.7.3-1], [MQTT-1.5.4-1]: every character but U+0000, also those that should not be there"""
    c = client(port, own)
    for odd in ("\x01", "\x7f", "\x9f", "\ufffe", "\ufdd0", "\U0010ffff", "\U0001f600", "\u202e"):
        c.subscribed(own + odd)
        c.send(publish(own + odd, "x"))
        assert c.received().topic == own + odd

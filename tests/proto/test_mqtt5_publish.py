# SPDX-License-Identifier: Apache-2.0
"""MQTT 5.0, chapters 2.2, 3.3 to 3.7: PUBLISH and its acknowledgements."""
import time

import pytest
from daemon import Sluiced
from field import status
from mqtt5 import (ALIAS, ALIAS_MAXIMUM, CONTENT_TYPE, CORRELATION, EXPIRY, FORMAT, MAXIMUM_PACKET, PROBLEM_INFO, REASON,
                   RECEIVE_MAXIMUM, RESPONSE_TOPIC, SUBSCRIPTION_ID, USER, ack, client, lasting, publish)
from raw import PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, packet, text

ALL = [(FORMAT, 1), (CONTENT_TYPE, "text/plain"), (RESPONSE_TOPIC, "answer/here"), (CORRELATION, b"\0\1\xff"),
       (USER, ("k", "1")), (USER, ("a", "")), (USER, ("k", "1")), (USER, ("", "\u20ac"))]


def pair_of(port, own, *filters, **more):
    """A subscriber and a publisher."""
    s, p = client(port, own + "s", **more), client(port, own + "p")
    s.subscribed(*filters or [(f"{own}/#", 2)])
    return s, p


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_answered_as_its_qos_demands(port, own, qos):
    """[MQTT-3.3.4-1], [MQTT-2.2.1-2], -5, [MQTT-4.3.1-1], [MQTT-3.3.1-2], [MQTT-4.3.2-2], [MQTT-4.3.3-2]"""
    s, p = pair_of(port, own)
    p.send(publish(f"{own}/t", b"\0\1payload", qos, 77))
    if qos:
        answer = p.expect(PUBACK if qos == 1 else PUBREC)
        assert answer.body == b"\0\x4d"
    if qos == 2:
        p.send(ack(PUBREL, 77))
        assert p.expect(PUBCOMP).body == b"\0\x4d"
    p.quiet()
    got = s.received()
    assert (got.qos, got.dup, got.payload, bool(got.pid)) == (qos, False, b"\0\1payload", qos > 0)


def test_our_identifiers(port, own):
    """[MQTT-2.2.1-4], [MQTT-4.3.2-1], [MQTT-4.3.3-1]: not 0, none that is in flight, whatever order they are done in"""
    s, p = pair_of(port, own)
    flying = []
    for sent in range(1, 301):
        p.published(f"{own}/t", f"{sent}", qos=1 + sent % 2, pid=sent)
        got = s.expect(PUBLISH)
        assert got.pid and got.pid not in [f.pid for f in flying]
        flying.append(got)
        if len(flying) > 30:
            done = flying.pop(sent * 7 % 30)
            s.send(ack(PUBACK if done.qos == 1 else PUBREC, done.pid))
            if done.qos == 2:
                assert s.expect(PUBREL).pid == done.pid
                s.send(ack(PUBCOMP, done.pid))


def test_dup_is_between_two(port, own):
    """[MQTT-3.3.1-3], [MQTT-3.3.1-1]: what came with DUP goes out without; what we send again goes with it"""
    s = lasting(port, own + "s")
    s.subscribed((f"{own}/t", 2))
    p = client(port, own + "p")
    for qos in (1, 2):
        p.published(f"{own}/t", f"{qos}", qos=qos, pid=qos, dup=True)
        assert not s.expect(PUBLISH).dup
    s.close()
    s = lasting(port, own + "s")
    assert [(g.dup, g.qos) for g in (s.expect(PUBLISH), s.expect(PUBLISH))] == [(True, 1), (True, 2)]


def test_qos_3(port, own):
    """[MQTT-3.3.1-4], [MQTT-4.13.1-1]"""
    c = client(port, own)
    c.send(packet(PUBLISH, text("t") + b"\0\1\0", 6))
    c.refused(0x81)


def retained(port, topic):
    """What a new subscriber gets."""
    with client(port, topic + "-late") as c:
        c.subscribed((topic, 2))
        c.send(packet(PINGREQ))
        c.answer(PINGRESP)
        return [(m.payload, m.qos, m.retain) for m in c.passed]


def test_retained(port, own):
    """[MQTT-3.3.1-5] to -8: the last one with the flag is kept, an empty one removes it and is passed on itself"""
    s, p = pair_of(port, own)
    topic = f"{own}/t"
    p.published(topic, "one", retain=True)
    p.published(topic, "two", qos=2, retain=True)
    p.published(topic, "not kept")
    p.published(topic, "")
    for due in (b"one", b"two", b"not kept", b""):
        assert s.received().payload == due
    assert retained(port, topic) == [(b"two", 2, True)]
    p.published(topic, "", retain=True, pid=2)
    got = s.received()
    assert (got.payload, got.retain) == (b"", False)
    assert retained(port, topic) == []


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_properties_are_passed_on(port, own, qos):
    """[MQTT-3.3.2-4], -15 to -18, -20: as they came, in their order, at once, retained and from the disk"""
    s, p = pair_of(port, own)
    away = lasting(port, own + "away")
    away.subscribed((f"{own}/#", 1))
    away.close()
    p.send(publish(f"{own}/t", "caf\u00e9", qos, 1, pairs=ALL, retain=True))
    assert s.received().props == ALL
    late = client(port, own + "late")
    late.subscribed(f"{own}/t")
    assert late.received().props == ALL
    if qos:
        away = lasting(port, own + "away")
        assert away.received().props == ALL


@pytest.mark.parametrize("value", [0, 1])
def test_payload_format_0_is_passed_on_too(port, own, value):
    """[MQTT-3.3.2-4]"""
    s, p = pair_of(port, own)
    p.send(publish(f"{own}/t", "x", pairs=[(FORMAT, value)]))
    assert s.received().props == [(FORMAT, value)]


def test_payload_format_is_checked(port, own):
    """§3.3.2.3.2: what is not the UTF-8 that it claims to be goes to nobody; at QoS 0 only DISCONNECT can say so"""
    s, p = pair_of(port, own)
    p.send(publish(f"{own}/t", b"\xff\xfe", pairs=[(FORMAT, 0)]))
    assert s.received().payload == b"\xff\xfe"
    for qos in (1, 2, 2):
        assert p.published(f"{own}/t", b"\xff\xfe", qos=qos, pairs=[(FORMAT, 1)]).reason == 0x99
    for good in ("\u20ac", "", "\0\ufffe\U0010ffff\0"):
        assert p.published(f"{own}/t", good, pairs=[(FORMAT, 1)]).reason == 0
        assert s.received().payload == good.encode()
    p.send(publish(f"{own}/t", b"\xff\xfe", pairs=[(FORMAT, 1)]))
    p.refused(0x99)
    s.quiet()


BAD = {
    "topic with + [MQTT-3.3.2-2]": (publish("a/+", "x"), 0x90),
    "topic with # [MQTT-4.7.0-1]": (publish("#", "x"), 0x90),
    "topic with a surrogate [MQTT-3.3.2-1]": (publish(b"\xed\xa0\x80", "x"), 0x81),
    "no topic, no alias [MQTT-4.7.3-1]": (publish("", "x"), 0x82),
    "response topic with + [MQTT-3.3.2-14]": (publish("t", "x", pairs=[(RESPONSE_TOPIC, "a/+")]), 0x82),
    "response topic with NUL [MQTT-3.3.2-13]": (publish("t", "x", pairs=[(RESPONSE_TOPIC, b"a\0")]), 0x81),
    "content type that is no UTF-8 [MQTT-3.3.2-19]": (publish("t", "x", pairs=[(CONTENT_TYPE, b"\xc3")]), 0x81),
    "payload format 2": (publish("t", "x", pairs=[(FORMAT, 2)]), 0x82),
    "expiry twice": (publish("t", "x", pairs=[(EXPIRY, 1)] * 2), 0x82),
    "content type twice": (publish("t", "x", pairs=[(CONTENT_TYPE, "a")] * 2), 0x82),
    "subscription identifier [MQTT-3.3.4-6]": (publish("t", "x", pairs=[(SUBSCRIPTION_ID, 1)]), 0x82),
    "alias 0 [MQTT-3.3.2-8]": (publish("t", "x", pairs=[(ALIAS, 0)]), 0x94),
    "alias over the maximum [MQTT-3.3.2-9]": (publish("t", "x", pairs=[(ALIAS, 65535)]), 0x94),
    "alias that is not known": (publish("", "x", pairs=[(ALIAS, 1)]), 0x82),
    "identifier 0": (publish("t", "x", 1, 0), 0x82),
    "DUP at QoS 0": (packet(PUBLISH, text("t") + b"\0", 8), 0x81),
    "properties longer than the packet": (packet(PUBLISH, text("t") + b"\5\1\0", 0), 0x81),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_publish(port, own, what):
    """[MQTT-4.13.1-1], [MQTT-3.14.2-1]: told why, closed, and passed on to nobody"""
    data, reason = BAD[what]
    s = client(port, own + "s")
    s.subscribed("t", "a/b")
    c = client(port, own)
    c.send(data)
    c.refused(reason)
    s.quiet()


def test_topic_matches_the_filter(port, own):
    """[MQTT-3.3.2-3]"""
    filters = {f"{own}/+/b": [f"{own}/a/b", f"{own}//b"], f"{own}/a/#": [f"{own}/a", f"{own}/a/b", f"{own}/a/c/b"],
               f"{own}/x": [f"{own}/x"]}
    topics = sorted({t for due in filters.values() for t in due} | {f"{own}/y", f"{own}/a/c/b", f"{own}/X", f"{own}"})
    p = client(port, own)
    for i, (filter, due) in enumerate(filters.items()):
        s = client(port, f"{own}{i}")
        s.subscribed(filter)
        for topic in topics:
            p.send(publish(topic, "x"))
        assert sorted(s.received().topic for _ in due) == sorted(due)
        s.quiet()


def test_subscription_identifiers(port, own):
    """[MQTT-3.3.4-2] to -4: one copy, at the highest QoS, with the identifiers of all that match, and none without"""
    s, p = pair_of(port, own, f"{own}/none")
    s.subscribed((f"{own}/a/#", 1), pairs=[(SUBSCRIPTION_ID, 7)])
    s.subscribed((f"{own}/a/+", 0), pairs=[(SUBSCRIPTION_ID, 268435455)])
    s.subscribed((f"{own}/+/b", 2))
    p.published(f"{own}/a/b", "x", qos=2)
    got = s.received()
    assert got.qos == 2 and sorted(got.all(SUBSCRIPTION_ID)) == [7, 268435455]
    s.quiet()
    s.subscribed((f"{own}/a/#", 0), pairs=[(SUBSCRIPTION_ID, 8)])  # replaced
    s.subscribed((f"{own}/a/+", 0))  # taken away
    p.send(publish(f"{own}/a/b", "y"))
    assert s.received().all(SUBSCRIPTION_ID) == [8]
    p.send(publish(f"{own}/none", "z"))
    assert s.received().props == []


def test_several_copies_have_each_their_own(port, own):
    """[MQTT-3.3.4-5]: a shared subscription's copy is one of its own"""
    s, p = pair_of(port, own, f"{own}/none")
    s.subscribed((f"{own}/t", 1), pairs=[(SUBSCRIPTION_ID, 7)])
    s.subscribed((f"$share/g/{own}/t", 1), pairs=[(SUBSCRIPTION_ID, 9)])
    p.published(f"{own}/t", "x")
    assert sorted(s.received().all(SUBSCRIPTION_ID) for _ in range(2)) == [[7], [9]]
    s.quiet()


def test_identifiers_on_retained_messages(port, own):
    """[MQTT-3.3.4-3]: of the subscription that asked for them"""
    client(port, own).published(f"{own}/r", "x", retain=True)
    c = client(port, own + "2")
    c.subscribed(f"{own}/r", pairs=[(SUBSCRIPTION_ID, 128)])
    assert c.received().all(SUBSCRIPTION_ID) == [128]


def test_identifiers_outlive_a_restart(tmp_path):
    """[MQTT-3.3.4-3]: those of the subscription and those of a message that was queued before"""
    d = Sluiced(tmp_path).start()
    s = lasting(d.port, "s")
    s.subscribed(("a/#", 1), pairs=[(SUBSCRIPTION_ID, 300)])
    s.subscribed(("a/b", 1), pairs=[(SUBSCRIPTION_ID, 2)])
    s.close()
    client(d.port, "p").published("a/b", "before")
    d.kill()
    d.start()
    s = lasting(d.port, "s")
    assert sorted(s.received().all(SUBSCRIPTION_ID)) == [2, 300]
    s.send(publish("a/c", "after"))
    assert s.received().all(SUBSCRIPTION_ID) == [300]
    assert d.stop() == 0


# ---- expiry ----

def test_expiry_counts_down_over_a_restart(tmp_path):
    """[MQTT-3.3.2-5], [MQTT-3.3.2-6]: queued and retained; what has no expiry gets none"""
    d = Sluiced(tmp_path).start()
    s = lasting(d.port, "s")
    s.subscribed(("t/#", 1))
    s.close()
    p = client(d.port, "p")
    for pid, life in enumerate((1, 100, None), 1):
        p.published(f"t/{life}", "x", pid=pid, retain=True, pairs=[(EXPIRY, life)] if life else [])
    time.sleep(2.1)
    d.kill()
    d.start()
    s = lasting(d.port, "s")
    late = client(d.port, "late")
    late.subscribed("t/#")
    queued = [s.received() for _ in range(2)]
    s.quiet()
    replayed = sorted([late.received() for _ in range(2)], key=lambda m: m.topic)
    late.quiet()
    for first, second in (queued, replayed):
        assert first.topic == "t/100" and 90 <= first.get(EXPIRY) <= 98
        assert (second.topic, second.props) == ("t/None", [])
    assert d.stop() == 0


def test_expired_retained_messages_make_way(tmp_path):
    """[MQTT-3.3.2-5]: they take no place from others"""
    d = Sluiced(tmp_path, "limits = { retained = 3; };").start()
    p = client(d.port, "p")
    before = status(d)["broker"]["retained"]
    for i in range(3 - before):
        p.published(f"t/{i}", "x", retain=True, pairs=[(EXPIRY, 1)])
    p.published("t/new", "x", retain=True)
    assert status(d)["broker"]["retained_refused"] == 1
    time.sleep(1.1)
    p.published("t/new", "y", retain=True)
    s = client(d.port, "s")
    s.subscribed("t/#")
    assert s.received().payload == b"y"
    s.quiet()
    assert d.stop() == 0


def test_expiry_without_waiting(port, own):
    """[MQTT-3.3.2-6]: what did not wait keeps its interval, 0 and the largest included"""
    s, p = pair_of(port, own)
    for pid, life in enumerate((0, 1, 3600, 0xffffffff), 1):
        p.send(publish(f"{own}/t", "x", 0, pairs=[(EXPIRY, life)]))
        assert s.received().get(EXPIRY) in {life, max(life - 1, 0)}
        p.published(f"{own}/t", "x", pid=pid, pairs=[(EXPIRY, life)])
        assert s.received().get(EXPIRY) in {life, max(life - 1, 0)}


def test_expired_while_the_window_was_full(port, own):
    """[MQTT-3.3.2-5], [MQTT-4.3.3-7], [MQTT-4.3.3-13]: what was sent goes on to its end whatever its age, the rest is deleted"""
    s, p = pair_of(port, own, pairs=[(RECEIVE_MAXIMUM, 1)])
    for pid, life in enumerate((1, 1, 1000), 1):
        p.published(f"{own}/t", f"{pid}", qos=2, pid=pid, pairs=[(EXPIRY, life)])
    first = s.expect(PUBLISH)
    time.sleep(1.1)
    s.send(ack(PUBREC, first.pid))
    assert s.expect(PUBREL).pid == first.pid
    s.send(ack(PUBCOMP, first.pid))
    assert s.received().payload == b"3"
    for pid in (1, 2, 3):
        p.send(ack(PUBREL, pid))
        assert p.expect(PUBCOMP).body == bytes([0, pid])


def test_sent_again_whatever_its_age(port, own):
    """[MQTT-4.3.3-7]: a QoS 2 message that was sent does not expire"""
    s = lasting(port, own)
    s.subscribed((f"{own}/t", 2))
    client(port, own + "p").published(f"{own}/t", "x", qos=2, pairs=[(EXPIRY, 1)])
    s.expect(PUBLISH)
    s.close()
    time.sleep(1.1)
    s = lasting(port, own)
    got = s.received()
    assert (got.payload, got.dup) == (b"x", True)


# ---- aliases ----

def test_aliases_from_the_client(port, own):
    """[MQTT-3.3.2-7], -10, -12: all up to our maximum, given again, and gone with the connection"""
    s, p = pair_of(port, own)
    most = p.connack.get(ALIAS_MAXIMUM)
    assert most >= 1
    for alias in (1, most):
        p.send(publish(f"{own}/{alias}", "set", pairs=[(ALIAS, alias)]), publish("", "used", pairs=[(ALIAS, alias)]))
        assert [s.received().topic for _ in range(2)] == [f"{own}/{alias}"] * 2
    p.send(publish(f"{own}/other", "set", pairs=[(ALIAS, 1)]))
    assert s.received().props == []  # it is not passed on
    p.published("", "x", pairs=[(ALIAS, 1)])
    assert s.received().topic == f"{own}/other"
    p = client(port, own + "p")
    p.send(publish("", "x", pairs=[(ALIAS, 1)]))
    p.refused(0x82)


@pytest.mark.parametrize("most", [None, 0, 2])
def test_aliases_to_the_client(port, own, most):
    """[MQTT-3.1.2-26], -27, [MQTT-3.3.2-11]: no more than it allows; with the topic at first, without it later"""
    s, p = pair_of(port, own, pairs=[] if most is None else [(ALIAS_MAXIMUM, most)])
    topics = [f"{own}/{t}" for t in ("a", "b", "a", "c", "b", "c")]
    for topic in topics:
        p.send(publish(topic, topic))
    known = {}
    for topic in topics:
        got = s.received()
        alias = got.get(ALIAS)
        assert got.payload == topic.encode() and (alias is None or 1 <= alias <= (most or 0))
        if got.topic:
            assert got.topic == topic
            known[alias] = topic
        else:
            assert known[alias] == topic
    assert len(known) - (None in known) == (most or 0)


def test_aliases_for_what_waits_for_the_disk(port, own):
    """[MQTT-3.3.2-7]: whatever overtakes what, and in a connection that comes back, a topic is known before its alias is used"""
    s = lasting(port, own, pairs=[(ALIAS_MAXIMUM, 5)])
    s.subscribed((f"{own}/#", 1))
    p = client(port, own + "p")
    for _ in range(2):
        for i in range(40):
            p.send(publish(f"{own}/{i % 3}", f"{i % 3}", i % 2, i + 1))
        known = {}
        for _ in range(40):
            got = s.received()
            if got.topic:
                known[got.get(ALIAS)] = got.topic
            assert (got.topic or known[got.get(ALIAS)]) == f"{own}/{got.payload.decode()}"
        s.close()
        s = lasting(port, own, pairs=[(ALIAS_MAXIMUM, 5)])


# ---- acknowledgements ----

def refusals(port, own, **more):
    """Each kind of acknowledgement that refuses, by its name."""
    c = client(port, own, **more)
    c.send(publish("$SYS/mine", "x", 1, 1))
    yield "PUBACK", c.expect(PUBACK)
    c.send(publish("$SYS/mine", "x", 2, 2))
    yield "PUBREC", c.expect(PUBREC)
    c.send(ack(PUBREC, 9))
    yield "PUBREL", c.expect(PUBREL)
    c.send(ack(PUBREL, 9))
    yield "PUBCOMP", c.expect(PUBCOMP)


CODES = {"PUBACK": 0x87, "PUBREC": 0x87, "PUBREL": 0x92, "PUBCOMP": 0x92}


def test_reason_codes(port, own):
    """[MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1]: with a reason in words"""
    for kind, p in refusals(port, own):
        assert p.reason == CODES[kind] and p.get(REASON), kind


def test_no_subscribers(port, own):
    """[MQTT-3.4.2-1], [MQTT-3.5.2-1]: 0x10 when nobody gets it"""
    c = client(port, own)
    assert c.published(f"{own}/t", "x").body == b"\0\1\x10"
    assert c.published(f"{own}/t", "x", qos=2).body == b"\0\1\x10"
    c.send(ack(PUBREL, 1))
    assert c.expect(PUBCOMP).body == b"\0\1"


def test_reasons_only_where_wanted(port, own):
    """[MQTT-3.1.2-29]"""
    for kind, p in refusals(port, own, pairs=[(PROBLEM_INFO, 0)]):
        assert p.reason == CODES[kind] and p.props == [], kind


@pytest.mark.parametrize("kind", CODES)
def test_reasons_only_where_they_fit(port, own, kind):
    """[MQTT-3.4.2-2], -3, [MQTT-3.5.2-2], -3, [MQTT-3.6.2-2], -3, [MQTT-3.7.2-2], -3, [MQTT-3.1.2-24]"""
    full = dict(refusals(port, own))[kind]
    size = 2 + len(full.body)
    for most, there in ((size, True), (size - 1, False)):
        p = dict(refusals(port, own, pairs=[(MAXIMUM_PACKET, most)]))[kind]
        assert (p.reason, p.get(REASON) is not None, p.all(USER)) == (CODES[kind], there, [])


def test_maximum_packet_size_of_the_client(port, own):
    """[MQTT-3.1.2-24], -25: what is too large goes to the others, counts as sent, and what follows is not held up"""
    small = client(port, own + "small", pairs=[(MAXIMUM_PACKET, 100), (RECEIVE_MAXIMUM, 2)])
    big, p = client(port, own + "big"), client(port, own + "p")
    for s in (small, big):
        s.subscribed((f"{own}/t", 2))
    for pid in range(1, 8):
        p.published(f"{own}/t", "x" * 100, qos=1 + pid % 2, pid=pid)
    p.send(publish(f"{own}/t", "y" * 100))
    head = 2 + 2 + len(f"{own}/t") + 2 + 1
    for size in (100 - head, 100 - head + 1):
        p.published(f"{own}/t", "z" * size, pid=9)
    p.published(f"{own}/t", "last", pid=10)
    assert [small.received().payload for _ in range(2)] == [b"z" * (100 - head), b"last"]
    small.quiet()
    assert len([big.received() for _ in range(11)]) == 11


def test_too_large_is_counted(sluiced):
    """[MQTT-3.1.2-25]"""
    s, p = client(sluiced.port, "s", pairs=[(MAXIMUM_PACKET, 40)]), client(sluiced.port, "p")
    s.subscribed(("t", 1))
    for qos in (0, 1):
        p.send(publish("t", "x" * 50, qos, 1))
    p.expect(PUBACK)
    counts = status(sluiced)["broker"]
    assert (counts["too_large"], counts["dropped"]) == (2, 2)


def test_our_maximum_packet_size(tmp_path):
    """[MQTT-3.2.2-15]: up to what we said, and no more"""
    d = Sluiced(tmp_path, 'limits = { packet = "1k"; };').start()
    c = client(d.port)
    assert c.connack.get(MAXIMUM_PACKET) == 1024
    room = 1024 - 3 - 2 - 1 - 1
    c.send(publish("t", "x" * room))
    c.quiet()
    c.send(publish("t", "x" * (room + 1)))
    c.refused(0x95)
    assert d.stop() == 0

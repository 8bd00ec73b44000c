# SPDX-License-Identifier: Apache-2.0
"""MQTT 3.1.1, chapters 4.3 to 4.6: QoS 1 and 2 in every order of loss and repetition, identifiers, order."""
import itertools
import random

import pytest
from daemon import Sluiced
from raw import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, ack, client, publish, subscribe

AGAIN = "again"  # a new connection of the same session


def answers(c):
    """All that comes until what was sent before is answered. A PINGREQ overtakes what waits for the disk, a PUBLISH does not."""
    c.send(publish("fence", "", 1, 60000))
    out = []
    while not (out and out[-1].kind == PUBACK and out[-1].pid == 60000):
        out.append(c.read())
        assert out[-1] is not None
    return out[:-1]


# --- towards us ----------------------------------------------------------------------------------------------------

def model_in(steps):
    """What a publisher's steps are answered with, and what a subscriber gets."""
    open_ids, due, delivered = set(), [], []
    for n, (what, pid) in enumerate(steps):
        if what == PUBLISH:
            if pid not in open_ids:
                delivered.append(b"%d" % n)
            open_ids.add(pid)
            due.append((PUBREC, pid))
        elif what == PUBREL:
            open_ids.discard(pid)
            due.append((PUBCOMP, pid))
    return due, delivered


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "kept"])
def test_publisher_in_every_order(port, own, clean):
    """[MQTT-4.3.3-2], [MQTT-2.3.1-6], [MQTT-4.6.0-3]: PUBLISH, PUBREL and reconnection in every order, two identifiers"""
    s = client(port, own + "s")
    s.send(subscribe(1, (f"{own}/t", 0)))
    s.expect(SUBACK)
    choice = [(PUBLISH, 1), (PUBREL, 1), (PUBLISH, 2), (PUBREL, 2)] + ([] if clean else [(AGAIN, 0)])
    for steps in itertools.product(choice, repeat=4):
        client(port, own, True).close()
        p = client(port, own, clean)
        due, delivered = model_in(steps)
        got = []
        for n, (what, pid) in enumerate(steps):
            if what == PUBLISH:
                p.send(publish(f"{own}/t", f"{n}", 2, pid, dup=n % 2 == 1))
            elif what == PUBREL:
                p.send(ack(PUBREL, pid))
            else:
                got += answers(p)
                p.close()
                p = client(port, own, False)
                assert p.session_present
        got += answers(p)
        assert [(g.kind, g.pid) for g in got] == due, steps
        assert [s.expect(PUBLISH).payload for _ in delivered] == delivered, steps
    s.quiet()


def test_same_identifier_again_is_a_new_message_at_qos_1(port, own):
    """[MQTT-4.3.2-2]: DUP or not, after PUBACK it is another one"""
    s, p = client(port, own + "s"), client(port, own)
    s.send(subscribe(1, (f"{own}/t", 0)))
    s.expect(SUBACK)
    for i in range(6):
        p.send(publish(f"{own}/t", f"{i}", 1, 5, dup=i % 2 == 1))
        assert p.expect(PUBACK).pid == 5
        assert s.expect(PUBLISH).payload == b"%d" % i


def test_a_publisher_lost_before_pubrec(port, own):
    """[MQTT-4.3.3-2], [MQTT-4.4.0-1]: it cannot know whether its PUBLISH arrived, and sends it over each new connection"""
    s = client(port, own + "s")
    s.send(subscribe(1, (f"{own}/t", 2)))
    s.expect(SUBACK)
    for i in range(20):
        p = client(port, own, clean=False)
        p.send(publish(f"{own}/t", "once", 2, 9, dup=i > 0))
        if i % 3 == 0:
            p.expect(PUBREC)
        p.close()
    p = client(port, own, clean=False)
    p.send(publish(f"{own}/t", "once", 2, 9, dup=True), ack(PUBREL, 9))
    assert [p.expect(kind).pid for kind in (PUBREC, PUBCOMP)] == [9, 9]
    got = s.expect(PUBLISH)
    s.send(ack(PUBREC, got.pid))
    s.expect(PUBREL)
    s.send(ack(PUBCOMP, got.pid))
    s.quiet()


# --- from us -------------------------------------------------------------------------------------------------------

class Flight:
    """One QoS 2 message on its way to a subscriber."""

    def __init__(self):
        self.state = "sent"

    def step(self, what):
        """(kind, DUP) of what is due."""
        if what == PUBREC:
            self.state = "released" if self.state == "sent" else self.state
            return [(PUBREL, False)]
        if what == PUBCOMP and self.state == "released":
            self.state = "done"
        if what == AGAIN:
            return {"sent": [(PUBLISH, True)], "released": [(PUBREL, False)], "done": []}[self.state]
        return []


@pytest.mark.parametrize("restart", [False, True], ids=["reconnected", "killed"])
def test_subscriber_in_every_order(tmp_path, restart):
    """[MQTT-4.3.3-1], [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-2.3.1-4]: PUBREC, PUBCOMP, a PUBACK that does not belong there and
    reconnection in every order; no PUBLISH after PUBREL, its identifier from the first to the last"""
    d = Sluiced(tmp_path).start()
    p = client(d.port, "p", clean=False)
    walks = list(itertools.product((PUBREC, PUBCOMP, PUBACK, AGAIN), repeat=2 if restart else 4))
    for number, steps in enumerate(walks):
        s = client(d.port, f"s{number}", clean=False)
        s.send(subscribe(1, (f"t/{number}", 2)))
        s.expect(SUBACK)
        p.send(publish(f"t/{number}", "x", 1, 1))
        p.expect(PUBACK)
        # Delivered at QoS 1: the walk is of the QoS 2 message that follows it.
        first = s.expect(PUBLISH)
        s.send(ack(PUBACK, first.pid))
        p.send(publish(f"t/{number}", "y", 2, 2), ack(PUBREL, 2))
        p.expect(PUBREC), p.expect(PUBCOMP)
        sent = s.expect(PUBLISH)
        assert (sent.qos, sent.dup, sent.payload) == (2, False, b"y")
        flight = Flight()
        for what in steps:
            if what == AGAIN:
                s.close()
                if restart:
                    d.kill()
                    d.start()
                    p = client(d.port, "p", clean=False)
                s = client(d.port, f"s{number}", clean=False)
                assert s.session_present
            else:
                s.send(ack(what, sent.pid))
            due = flight.step(what)
            got = [s.read() for _ in due]  # after a restart they may have to come from the disk first
            assert [(g.kind, g.dup) for g in got] == due and answers(s) == [], (steps, what)
            assert all(g.pid == sent.pid and (g.kind != PUBLISH or g.payload == b"y") for g in got)
        s.close()
    assert d.stop() == 0


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "kept"])
def test_acknowledged_in_any_order(port, own, clean):
    """[MQTT-4.3.2-1], [MQTT-4.3.3-1], [MQTT-4.6.0-4]: PUBREL in the order of the PUBRECs, and nothing is sent twice"""
    s, p = client(port, own + "s", clean), client(port, own)
    s.send(subscribe(1, (f"{own}/t", 2)))
    s.expect(SUBACK)
    for i in range(1, 61):
        p.send(publish(f"{own}/t", f"{i}", 2, i), ack(PUBREL, i))
        p.expect(PUBREC), p.expect(PUBCOMP)
    ids = [s.expect(PUBLISH).pid for _ in range(60)]
    assert len(set(ids)) == 60
    dice = random.Random(3)
    dice.shuffle(ids)
    s.send(*[ack(PUBREC, pid) for pid in ids])
    assert [s.expect(PUBREL).pid for _ in ids] == ids
    dice.shuffle(ids)
    s.send(*[ack(PUBCOMP, pid) for pid in ids])
    assert answers(s) == []


# --- order ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("clean", [True, False], ids=["clean", "kept"])
def test_acknowledgements_in_order(port, own, clean):
    """[MQTT-4.6.0-2], -3, [MQTT-2.3.1-6]: whether what they promise has to go to the disk or not, mixed"""
    away = client(port, own + "away", clean=False)
    away.send(subscribe(1, (f"{own}/kept", 2)))
    away.expect(SUBACK)
    away.close()
    p = client(port, own, clean)
    due = []
    for i in range(1, 301):
        qos = 1 + i % 3 % 2
        p.send(publish(f"{own}/kept" if i % 5 == 0 else f"{own}/nobody", "x", qos, i))
        due.append((PUBACK if qos == 1 else PUBREC, i))
    assert [(x.kind, x.pid) for x in (p.read() for _ in due)] == due


def numbered(port, own, qos, topics, first, last):
    """Publishes first to last, each topic its own count."""
    with client(port, own + "p") as p:
        for i in range(first, last):
            for pid, topic in enumerate(topics, 1):
                p.send(publish(topic, f"{i}", qos, pid), ack(PUBREL, pid) if qos == 2 else b"")
            for _ in topics:
                if qos:
                    p.expect(PUBACK if qos == 1 else PUBREC)
                if qos == 2:
                    p.expect(PUBCOMP)
        p.quiet()


@pytest.mark.parametrize("qos", [1, 2])
def test_order_through_losses(port, own, qos):
    """[MQTT-4.6.0-1], -5, -6: the first time and again, over connections that are lost, from memory and from the queue"""
    topics = [f"{own}/{x}" for x in "abc"]
    s = client(port, own, clean=False)
    s.send(subscribe(1, (f"{own}/+", qos)))
    s.expect(SUBACK)
    last, sent_once, published = {t: -1 for t in topics}, {}, 0
    dice = random.Random(qos)
    for _ in range(12):
        if published < 120:
            numbered(port, own, qos, topics, published, published + 20)
            published += 20
        seen = []
        for _ in range(dice.randrange(40)):
            got = s.read()
            if got.kind == PUBREL:
                s.send(ack(PUBCOMP, got.pid))
                continue
            seen.append(got.pid)
            number = int(got.payload)
            if got.pid in sent_once:
                assert sent_once[got.pid] == (got.topic, number) and got.dup
            else:
                assert number == last[got.topic] + 1
                last[got.topic], sent_once[got.pid] = number, (got.topic, number)
            if dice.random() < 0.8:
                s.send(ack(PUBACK if qos == 1 else PUBREC, got.pid))
        assert seen == [pid for pid in sent_once if pid in seen], "again in the order of the first time"
        s.close()
        s = client(port, own, clean=False)
        assert s.session_present
    while any(n < published - 1 for n in last.values()):
        got = s.read()
        if got.kind == PUBREL:
            s.send(ack(PUBCOMP, got.pid))
            continue
        number = int(got.payload)
        if got.pid not in sent_once:
            assert number == last[got.topic] + 1
            last[got.topic], sent_once[got.pid] = number, (got.topic, number)
        s.send(ack(PUBACK if qos == 1 else PUBREC, got.pid))


def test_order_at_qos_0(port, own):
    """[MQTT-4.6.0-5], -6"""
    s = client(port, own)
    s.send(subscribe(1, f"{own}/+"))
    s.expect(SUBACK)
    numbered(port, own, 0, [f"{own}/a", f"{own}/b"], 0, 1000)
    got = [s.expect(PUBLISH) for _ in range(2000)]
    for topic in "ab":
        assert [int(g.payload) for g in got if g.topic == f"{own}/{topic}"] == list(range(1000))


# --- many ----------------------------------------------------------------------------------------------------------

def in_hundreds(numbers):
    numbers = list(numbers)
    return [numbers[i:i + 100] for i in range(0, len(numbers), 100)]


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "kept"])
def test_all_identifiers_in_flight_towards_us(port, own, clean):
    """[MQTT-4.3.3-2]: 65,535 QoS 2 messages without a PUBREL, each of them repeated, then released"""
    s, p = client(port, own + "s"), client(port, own, clean)
    s.send(subscribe(1, f"{own}/t"))
    s.expect(SUBACK)
    for some in in_hundreds(range(1, 65536)):
        p.send(*[publish(f"{own}/t", f"{i}", 2, i) for i in some])
        assert [p.expect(PUBREC).pid for _ in some] == some
        assert [int(s.expect(PUBLISH).payload) for _ in some] == some
    for some in in_hundreds(range(65535, 0, -1)):
        p.send(*[publish(f"{own}/t", f"{i}", 2, i, dup=True) for i in some])
        assert [p.expect(PUBREC).pid for _ in some] == some
    s.quiet()
    for some in in_hundreds(range(1, 65536)):
        p.send(*[ack(PUBREL, i) for i in some])
        assert [p.expect(PUBCOMP).pid for _ in some] == some
    p.send(publish(f"{own}/t", "again", 2, 65535))
    p.expect(PUBREC)
    assert s.expect(PUBLISH).payload == b"again"


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "kept"])
def test_all_identifiers_in_flight_from_us(tmp_path, clean, qos):
    """[MQTT-2.3.1-4], [MQTT-4.4.0-1]: 65,535 unacknowledged, each with an identifier of its own; the next waits for one to be free"""
    d = Sluiced(tmp_path, 'limits = { inflight = 65535; reader_backlog = "64M"; };').start()
    s, p = client(d.port, "s", clean), client(d.port, "p")
    s.send(subscribe(1, ("t", qos)))
    s.expect(SUBACK)
    got = []
    for some in in_hundreds(range(1, 65536)):
        p.send(*[publish("t", f"{i}", qos, i) for i in some])
        assert [p.read().pid for _ in some] == some
        got += [s.expect(PUBLISH) for _ in some]
    assert [int(g.payload) for g in got] == list(range(1, 65536))
    assert len({g.pid for g in got}) == 65535 and 0 not in {g.pid for g in got}
    p.send(*[ack(PUBREL, i) for i in range(1, 65536)] if qos == 2 else b"", publish("t", "one more", qos, 1))
    s.quiet()
    if not clean:
        s.close()
        s = client(d.port, "s", clean=False)
        again = [s.expect(PUBLISH) for _ in got]
        assert [(g.pid, g.payload, g.dup) for g in again] == [(g.pid, g.payload, True) for g in got]
    for g in (got[40000], got[0]):  # the identifier of the first is the next one's
        s.send(ack(PUBACK if qos == 1 else PUBREC, g.pid))
        if qos == 2:
            assert s.expect(PUBREL).pid == g.pid
            s.send(ack(PUBCOMP, g.pid))
    last = s.expect(PUBLISH)
    assert (last.payload, last.dup) == (b"one more", False)
    s.quiet()
    assert d.stop() == 0


def test_a_session_with_ten_thousand_subscriptions(tmp_path):
    """[MQTT-3.8.4-4], [MQTT-4.1.0-1]: in one SUBSCRIBE; they come back after kill -9, and each goes alone"""
    d = Sluiced(tmp_path).start()
    s = client(d.port, "s", clean=False)
    filters = [f"plant/{i % 100}/+/{i}" for i in range(10000)]
    s.send(subscribe(1, *[(f, i % 3) for i, f in enumerate(filters)]))
    assert s.expect(SUBACK).body[2:] == bytes(i % 3 for i in range(10000))
    s.close()
    d.kill()
    d.start()
    s, p = client(d.port, "s", clean=False), client(d.port, "p")
    assert s.session_present
    for i in random.Random(1).sample(range(10000), 300):
        p.send(publish(f"plant/{i % 100}/x/{i}", f"{i}", 2, 1), publish(f"plant/{i % 100 + 1}/x/{i}", "not mine"), ack(PUBREL, 1))
        got = s.expect(PUBLISH)
        assert (got.payload, got.qos) == (b"%d" % i, i % 3)
        if got.qos:
            s.send(ack(PUBACK if got.qos == 1 else PUBREC, got.pid))
        if got.qos == 2:
            s.expect(PUBREL)
            s.send(ack(PUBCOMP, got.pid))
    s.quiet()
    assert d.stop() == 0

# SPDX-License-Identifier: Apache-2.0
"""MQTT 5.0, chapter 4.8: shared subscriptions; and a request with its response, end to end."""
import subprocess

import pytest
import raw
from daemon import Sluiced, wait_for
from field import status
from mqtt5 import CORRELATION, RECEIVE_MAXIMUM, RESPONSE_TOPIC, ack, client, disconnect, lasting, publish
from raw import PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, packet


def members(port, own, count, qos=1, share="g", **more):
    out = [client(port, f"{own}-{i}", **more) for i in range(count)]
    for m in out:
        m.subscribed((f"$share/{share}/{own}/#", qos))
    return out


def burst(port, own, count, qos=1, first=0):
    p = client(port, own + "-p")
    for i in range(first, first + count):
        p.published(f"{own}/{i}", f"{i}", qos=qos, pid=i + 1)
    return p


def come(c):
    """All that is on its way to c, not acknowledged."""
    c.send(packet(PINGREQ))
    c.answer(PINGRESP)
    got, c.passed = c.passed, []
    return got


def numbers(got):
    return [int(g.payload) for g in got]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_each_message_to_one(port, own, qos):
    """[MQTT-4.8.2-1], [MQTT-4.6.0-6], §4.8.2: in turns, in order for each; other shares and plain subscriptions get their own"""
    group, other = members(port, own, 3, qos), members(port, own + "x", 0)
    lone = client(port, own + "-lone")
    lone.subscribed((f"$share/h/{own}/+", qos))
    plain = client(port, own + "-plain")
    plain.subscribed((f"{own}/+", 0))
    p = client(port, own + "-p")
    for i in range(30):
        p.send(publish(f"{own}/{i}", f"{i}", qos, i + 1))
    got = [[int(m.received().payload) for _ in range(10)] for m in group]
    assert sorted(sum(got, [])) == list(range(30)) and all(g == sorted(g) for g in got) and not other
    for one in (lone, plain):
        assert [int(one.received().payload) for _ in range(30)] == list(range(30))
    for one in (*group, lone, plain):
        one.quiet()


def test_granted_qos_of_each(port, own):
    """[MQTT-4.8.2-3]"""
    group = [client(port, f"{own}-{i}") for i in range(3)]
    for i, m in enumerate(group):
        m.subscribed((f"$share/g/{own}/#", i))
    burst(port, own, 9, qos=2)
    for i, m in enumerate(group):
        got = [m.received() for _ in range(3)]
        assert {g.qos for g in got} == {i}


def test_no_retained_messages(port, own):
    """§4.8.2: a shared subscription gets none when it is made"""
    client(port, own).published(f"{own}/r", "old", retain=True)
    members(port, own, 1)[0].quiet()


def test_weighted_to_who_has_room(port, own):
    """§4.8.2: a member whose window is full is passed over; who takes more gets more"""
    slow, fast = client(port, own + "-s", pairs=[(RECEIVE_MAXIMUM, 2)]), client(port, own + "-f", pairs=[(RECEIVE_MAXIMUM, 50)])
    for m in (slow, fast):
        m.subscribed((f"$share/g/{own}/#", 1))
    burst(port, own, 20)
    got = come(slow), come(fast)
    assert [len(g) for g in got] == [2, 18]
    slow.send(*[ack(PUBACK, g.pid) for g in got[0]])
    slow.quiet()
    burst(port, own, 2, first=20)
    assert [numbers(come(m)) for m in (slow, fast)] in ([[20], [21]], [[21], [20]])


def test_weighted_when_all_come_at_once(port, own):
    """§4.8.2: what is queued and not sent yet takes room as well"""
    slow, fast = client(port, own + "-s", pairs=[(RECEIVE_MAXIMUM, 2)]), client(port, own + "-f", pairs=[(RECEIVE_MAXIMUM, 50)])
    for m in (slow, fast):
        m.subscribed((f"$share/g/{own}/#", 1))
    client(port, own + "-p").send(b"".join(publish(f"{own}/{i}", f"{i}", 1, i + 1) for i in range(52)))
    assert numbers([fast.expect(PUBLISH) for _ in range(50)]) == [1, *range(3, 52)]
    assert numbers(come(slow)) == [0, 2]


def test_waits_with_who_has_least(port, own):
    """§4.8.2: when nobody has room, in proportion to what each takes at a time"""
    group = [client(port, f"{own}-{i}", pairs=[(RECEIVE_MAXIMUM, 1)]) for i in range(2)]
    for m in group:
        m.subscribed((f"$share/g/{own}/#", 1))
    burst(port, own, 20)
    assert sorted(sum([[int(m.received().payload) for _ in range(10)] for m in group], [])) == list(range(20))


@pytest.mark.parametrize("way", ["closed", "DISCONNECT", "taken over"])
def test_qos_1_goes_to_another(port, own, way):
    """§4.8.2: what a member has not acknowledged when its session ends goes to another one"""
    a, b = members(port, own, 2)
    burst(port, own, 6)
    mine, theirs = come(a), come(b)
    a.send(ack(PUBACK, mine[0].pid))
    if way == "closed":
        a.close()
    elif way == "DISCONNECT":
        a.send(disconnect())
    else:
        client(port, f"{own}-0")
    got = [b.expect(PUBLISH) for _ in mine[1:]]
    assert sorted(numbers(got)) == sorted(numbers(mine[1:])) and len(theirs) == 3
    b.quiet()


def test_qos_1_waits_for_a_session_that_lasts(port, own):
    """[MQTT-4.4.0-1], §4.8.2: it is sent again to whom it was sent"""
    a, b = lasting(port, own + "-a"), lasting(port, own + "-b")
    for m in (a, b):
        m.subscribed((f"$share/g/{own}/#", 1))
    burst(port, own, 4)
    mine = come(a)
    a.close()
    assert len(come(b)) == 2
    b.quiet()
    a = lasting(port, own + "-a")
    again = [a.received() for _ in mine]
    assert [(g.pid, g.payload, g.dup) for g in again] == [(g.pid, g.payload, True) for g in mine]


@pytest.mark.parametrize("step", ["PUBLISH", "PUBREC"])
def test_qos_2_is_finished_with_whom_it_was_begun(port, own, step):
    """[MQTT-4.8.2-4]"""
    a, b = lasting(port, own + "-a"), client(port, own + "-b")
    for m in (a, b):
        m.subscribed((f"$share/g/{own}/#", 2))
    burst(port, own, 2, qos=2)
    first, = come(a)
    if step == "PUBREC":
        a.send(ack(PUBREC, first.pid))
        a.expect(PUBREL)
    a.close()
    b.received()
    b.quiet()
    a = lasting(port, own + "-a")
    if step == "PUBLISH":
        again = a.expect(PUBLISH)
        assert (again.pid, again.dup) == (first.pid, True)
        a.send(ack(PUBREC, first.pid))
    assert a.expect(PUBREL).pid == first.pid
    a.send(ack(PUBCOMP, first.pid))
    a.quiet()


def test_qos_2_that_was_begun_goes_to_no_other(port, own):
    """[MQTT-4.8.2-5]; what had only been queued does"""
    a, b = client(port, own + "-a", pairs=[(RECEIVE_MAXIMUM, 1)]), client(port, own + "-b")
    a.subscribed((f"$share/g/{own}/#", 2))
    burst(port, own, 3, qos=2)
    a.expect(PUBLISH)
    b.subscribed((f"$share/g/{own}/#", 2))
    a.close()
    assert sorted(numbers([b.received(), b.received()])) == [1, 2]
    b.quiet()


@pytest.mark.parametrize("qos", [1, 2])
def test_refused_goes_to_no_other(port, own, qos):
    """[MQTT-4.8.2-6]"""
    a, b = members(port, own, 2, qos=2)
    burst(port, own, 2, qos=qos)
    (mine,), (_,) = come(a), come(b)
    a.send(ack(PUBACK if qos == 1 else PUBREC, mine.pid, 0x80))
    a.quiet()
    b.quiet()
    a.close()
    b.quiet()


def test_nobody_there_takes_qos_0(port, own):
    """§4.8.2: members that are away get QoS 1 and 2 when all are; who is there goes first"""
    away = [lasting(port, f"{own}-{i}") for i in range(2)]
    for m in away:
        m.subscribed((f"$share/g/{own}/#", 1))
        m.close()
    here, = members(port, own, 1)  # -0 again, without a past
    burst(port, own, 4)
    assert numbers(come(here)) == [0, 1, 2, 3]
    p = client(port, own + "-q")
    p.send(publish(f"{own}/x", "0"))
    assert numbers(come(here)) == [0]


def test_waits_for_sessions_that_are_away(tmp_path):
    """[MQTT-4.5.0-1]: over a restart, each message with one of them"""
    d = Sluiced(tmp_path).start()
    for name in "ab":
        c = lasting(d.port, name)
        c.subscribed(("$share/g/t/#", 1))
        c.close()
    burst(d.port, "t", 20)
    d.kill()
    d.start()
    got = [numbers([c.received() for _ in range(10)]) for c in (lasting(d.port, "a"), lasting(d.port, "b"))]
    assert sorted(sum(got, [])) == list(range(20))
    assert d.stop() == 0


@pytest.mark.parametrize("restart", [False, True])
def test_what_waited_on_disk_goes_to_another(tmp_path, restart):
    """[MQTT-4.8.2-5]: the whole queue of a session that ends but what was begun at QoS 2; also what of it is not in memory, and
    over a restart meanwhile"""
    d = Sluiced(tmp_path).start()
    none = status(d)["broker"]["sessions"]
    a = lasting(d.port, "a", pairs=[(RECEIVE_MAXIMUM, 1)])
    a.subscribed(("$share/g/t/#", 2))
    p = burst(d.port, "t", 1, qos=2, first=1500)
    assert numbers([a.expect(PUBLISH)]) == [1500]
    a.close()
    for first in range(0, 1500, 500):
        p.send(*[publish(f"t/{i}", f"{i}", 1, i + 1) for i in range(first, first + 500)])
        for _ in range(500):
            p.expect(PUBACK)
    p.close()
    b = lasting(d.port, "b")
    b.subscribed(("$share/g/t/#", 1))
    with client(d.port, "a"):
        if restart:
            d.kill()
            d.start()
            b = lasting(d.port, "b")
        got = set()
        while len(got) < 1500:
            got.add(int(b.received().payload))
        assert 1500 not in got
    b.quiet()
    wait_for(lambda: status(d)["broker"]["sessions"] == none + 1, what="the old session to be gone")
    assert d.stop() == 0


@pytest.mark.parametrize("level", [4, 5])
def test_members_of_any_version(port, own, level):
    """§4.8.2: MQTT 3.1.1 clients share as well"""
    group = [raw.client(port, f"{own}{i}", level=level, props=b"") for i in range(2)]
    for m in group:
        m.send(raw.subscribe(1, (f"$share/g/{own}/#", 1), v5=level == 5))
        m.expect(raw.SUBACK)
    burst(port, own, 4)
    got = [m.expect(PUBLISH).payload for m in group for _ in range(2)]
    assert sorted(got) == [b"0", b"1", b"2", b"3"]


def test_request_and_response(port, own):
    """§4.10: mosquitto_rr asks; the answer goes to the response topic with the correlation data"""
    server = client(port, own)
    server.subscribed((f"{own}/ask", 1))
    rr = subprocess.Popen(["mosquitto_rr", "-p", str(port), "-t", f"{own}/ask", "-e", f"{own}/answers/1", "-m", "question", "-W", "10",
                           "-D", "publish", "correlation-data", "case-7", "-F", "%t %D %p"], stdout=subprocess.PIPE, text=True)
    q = server.received()
    assert (q.payload, q.get(RESPONSE_TOPIC), q.get(CORRELATION)) == (b"question", f"{own}/answers/1", b"case-7")
    server.send(publish(q.get(RESPONSE_TOPIC), "answer", pairs=[(CORRELATION, q.get(CORRELATION))]))
    assert rr.communicate(timeout=10)[0].strip() == f"{own}/answers/1 case-7 answer"

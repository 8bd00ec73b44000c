# SPDX-License-Identifier: Apache-2.0
"""The urgent lane of a bridge: alarms do not wait behind a backlog, nothing is lost or doubled for it, and the two lanes
never use the same packet identifier."""
import time

import pytest
import users
from bridge_rig import (QUICK, Client, HandUpstream, Link, Site, bridge, cleanup, drained, offline, online,  # noqa: F401
                        status_of)
from daemon import SLUICECTL, SLUICED, Mosquitto, wait_for
from raw import CONNACK, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBSCRIBE, ack, client

pytestmark = pytest.mark.skipif(not SLUICED.exists() or not SLUICECTL.exists(), reason="not built")

ALARM, DATA = "sluice/test/event/alarm", "sluice/test/m/data/all"
ALL = 'out = ( { match = "sluice/test/event/#"; qos = %d; }, { match = "sluice/test/m/#"; qos = %d; } );'
PRESENT = b"\x20\2\1\0"


@pytest.fixture
def upstream(tmp_path, cleanup):
    return cleanup(Mosquitto(tmp_path / "upstream", "max_queued_messages 0\nmax_inflight_messages 0\n").start())


@pytest.fixture
def link(upstream, cleanup):
    return cleanup(Link(upstream.port))


@pytest.fixture
def far(upstream, cleanup):
    return cleanup(Client(upstream.port, filters=["#"]))


def start(tmp_path, cleanup, *bridges):
    return cleanup(Site(tmp_path / "site", *bridges).start())


def numbers(first, end):
    return [str(i) for i in range(first, end)]


def lanes_of(site):
    return status_of(site)["lanes"]


@pytest.mark.parametrize("qos,more", [(1, ""), (1, 'version = "5.0";'), (2, ""), (1, "window = 1;")])
def test_an_alarm_overtakes_a_backlog(tmp_path, cleanup, link, far, qos, more):
    """By default, with no word of lanes in the configuration."""
    site = start(tmp_path, cleanup, bridge(link.port, ALL % (qos, qos) + more))
    near = cleanup(Client(site.port))
    online(site)
    link.cut()
    offline(site)
    near.send(DATA, numbers(0, 4000), qos)
    near.send(ALARM, numbers(0, 3), qos)
    s = status_of(site)
    assert s["backlog"] == 4003 and s["urgent"] == 3
    assert s["lanes"]["normal"]["backlog"] == 4000 and s["lanes"]["urgent"]["backlog"] == 3
    assert s["bytes"] == s["lanes"]["normal"]["bytes"] + s["lanes"]["urgent"]["bytes"] > 0
    link.mend()
    drained(site)
    far.wait(4000, topic=DATA)
    order = [m[0] for m in far.got if m[0] in (ALARM, DATA)]
    assert order[:3] == [ALARM] * 3
    assert far.payloads(ALARM) == numbers(0, 3) and far.payloads(DATA) == numbers(0, 4000)
    s = status_of(site)
    assert s["acked"] == 4003 and s["dropped"] == 0
    assert s["lanes"]["urgent"]["acked"] == 3 and s["lanes"]["normal"]["acked"] == 4000


def test_an_alarm_overtakes_what_is_being_sent(tmp_path, cleanup, link, far):
    """The backlog goes at 100 a second; what is urgent goes at once."""
    site = start(tmp_path, cleanup, bridge(link.port, ALL % (1, 1) + "store = { drain_rate = 100; };"))
    near = cleanup(Client(site.port))
    online(site)
    link.cut()
    offline(site)
    near.send(DATA, numbers(0, 3000))
    link.mend()
    far.wait(10, topic=DATA)
    near.send(ALARM, numbers(0, 50))
    far.wait(50, topic=ALARM)
    behind = [m[0] for m in far.got if m[0] in (ALARM, DATA)].index(ALARM)
    assert behind < 2900 and status_of(site)["lanes"]["normal"]["backlog"] > 0
    assert far.payloads(ALARM) == numbers(0, 50)


def test_more_alarms_than_identifiers(tmp_path, cleanup, link, far):
    """The identifiers of the urgent lane go round; order is kept, nothing comes twice."""
    site = start(tmp_path, cleanup, bridge(link.port, ALL % (2, 1)))
    near = cleanup(Client(site.port))
    online(site)
    link.cut()
    offline(site)
    near.send(ALARM, numbers(0, 1700), 2)
    near.send(DATA, numbers(0, 500))
    link.mend()
    drained(site)
    far.wait(1700, topic=ALARM)
    far.wait(500, topic=DATA)
    assert far.payloads(ALARM) == numbers(0, 1700) and far.payloads(DATA) == numbers(0, 500)


def test_killed_and_cut_at_qos2(tmp_path, cleanup, link, far):
    """Each arrives once, in the order of its lane."""
    site = start(tmp_path, cleanup, bridge(link.port, ALL % (2, 2)))
    alarms = data = 0
    for turn in range(8):
        near = Client(site.port)
        near.send(DATA, numbers(data, data + 400), 2)
        near.send(ALARM, numbers(alarms, alarms + 40), 2)
        data, alarms = data + 400, alarms + 40
        near.close()
        link.mend()
        before = len(far.got)
        wait_for(lambda: len(far.got) > before, what="something to arrive")
        if turn % 2:
            link.cut()
        time.sleep(0.01 * turn)
        site.kill()
        link.cut()
        site.start()
    link.mend()
    drained(site)
    far.wait(data, topic=DATA)
    far.wait(alarms, topic=ALARM)
    time.sleep(0.3)
    assert far.payloads(ALARM) == numbers(0, alarms) and far.payloads(DATA) == numbers(0, data)


def test_a_will_after_a_kill_comes_once(tmp_path, cleanup, link, far):
    site = start(tmp_path, cleanup, bridge(link.port, 'out = ( { match = "#"; qos = 1; } );'))
    online(site)
    link.cut()
    offline(site)
    raw_clients = [client(site.port, f"w{i}", clean=False, will=(ALARM, b"gone", 1, 0)) for i in range(2)]
    raw_clients.append(client(site.port, "w2", clean=True, will=(ALARM, b"gone", 1, 0)))
    site.kill()
    site.start()
    s = lanes_of(site)
    assert s["urgent"]["backlog"] == 2  # of those whose sessions outlive the connection
    link.mend()
    drained(site)
    far.wait(2, topic=ALARM)
    time.sleep(0.3)
    assert far.payloads(ALARM) == ["gone"] * 2
    for c in raw_clients:
        c.close()


def test_the_option_comes_and_goes_with_a_backlog(tmp_path, cleanup, link, far):
    """What waits stays where it is and is sent once; what comes later goes by the rules of its time."""
    text = ('out = ( { match = "sluice/test/event/#"; qos = 2; lane = "normal"; }, { match = "s/hot"; qos = 2; %s },'
            ' { match = "s/#"; qos = 2; } );')
    site = start(tmp_path, cleanup, bridge(link.port, text % ""))
    near = cleanup(Client(site.port))
    online(site)
    link.cut()
    offline(site)
    assert list(lanes_of(site)) == ["normal"]
    near.send("s/hot", numbers(0, 10), 2)
    near.send("s/n", numbers(0, 500), 2)
    site.change(bridge(link.port, text % 'lane = "urgent";'))
    near.send("s/hot", numbers(10, 20), 2)
    near.send(ALARM, numbers(0, 5), 2)
    assert lanes_of(site)["normal"]["backlog"] == 515 and lanes_of(site)["urgent"]["backlog"] == 10
    site.kill()
    site.start()
    near = cleanup(Client(site.port))
    assert lanes_of(site)["normal"]["backlog"] == 515 and lanes_of(site)["urgent"]["backlog"] == 10
    site.change(bridge(link.port, text % ""))
    near.send("s/hot", numbers(20, 30), 2)
    assert lanes_of(site)["normal"]["backlog"] == 525 and lanes_of(site)["urgent"]["backlog"] == 10
    link.mend()
    drained(site)
    far.wait(30, topic="s/hot")
    far.wait(500, topic="s/n")
    far.wait(5, topic=ALARM)
    assert far.payloads("s/hot") == numbers(10, 20) + numbers(0, 10) + numbers(20, 30)
    assert far.payloads("s/n") == numbers(0, 500) and far.payloads(ALARM) == numbers(0, 5)
    site.change(bridge(link.port, text % "" + "keepalive = \"90s\";"))
    online(site)
    assert list(lanes_of(site)) == ["normal"]  # empty, and no rule wants it


def test_no_session_for_what_is_urgent(tmp_path, cleanup, link, far):
    """Then it waits with the rest, as the log says, and goes out."""
    rules = 'out = ( { match = "s/hot"; qos = 1; lane = "%s"; } );'
    limit = "limits = { sessions = 3; };\n"
    site = cleanup(Site(tmp_path / "site", bridge(link.port, rules % "normal"), conf=limit).start())
    near = cleanup(Client(site.port))
    online(site)
    near.publish("s/hot", "1")
    far.wait(1, topic="s/hot")
    site.change(bridge(link.port, rules % "urgent"), conf=limit)
    wait_for(lambda: "waits with the rest" in site.log(), what="the error")
    online(site)
    near.publish("s/hot", "2")
    far.wait(2, topic="s/hot")
    assert list(lanes_of(site)) == ["normal"]


def test_a_retained_value_does_not_come_again_when_its_rule_changes_lanes(tmp_path, cleanup, link, far):
    rules = 'out = ( { match = "s/#"; qos = 1; %s } );'
    site = start(tmp_path, cleanup, bridge(link.port, rules % ""))
    near = cleanup(Client(site.port))
    near.publish("s/r", "kept", retain=True)
    far.wait(1, topic="s/r")
    drained(site)  # or it would be sent again by the next connection
    for lane in ('lane = "urgent";', 'lane = "normal";'):
        site.change(bridge(link.port, rules % lane))
        online(site)
        near.publish("s/n", lane)
        wait_for(lambda lane=lane: lane in far.payloads("s/n"), what="the next message")
    assert far.payloads("s/r") == ["kept"]


def test_the_urgent_lane_has_a_quota_of_its_own(tmp_path, cleanup, link, far):
    site = start(tmp_path, cleanup, bridge(link.port, ALL % (1, 1) + 'store = { max = "1M"; urgent_max = "32k"; };'))
    near = cleanup(Client(site.port))
    online(site)
    link.cut()
    offline(site)
    near.send(DATA, numbers(0, 100))
    sent = [f"{i:04d}" + "x" * 196 for i in range(500)]
    near.send(ALARM, sent)
    s = status_of(site)
    urgent = s["lanes"]["urgent"]
    assert urgent["bytes"] <= 33 * 1024 and urgent["dropped"] == s["drops"]["oldest"] == 500 - urgent["backlog"] > 300
    assert s["lanes"]["normal"]["dropped"] == 0 and s["lanes"]["normal"]["backlog"] == 100
    assert s["bytes_most"] == 1024 * 1024 + 32 * 1024
    link.mend()
    drained(site)
    far.wait(urgent["backlog"], topic=ALARM)
    assert far.payloads(ALARM) == sent[-urgent["backlog"]:]


def test_identifiers_and_window(tmp_path, cleanup):
    """3.1.1 [MQTT-2.3.1-4], [MQTT-4.4.0-1]: no identifier is in use twice, also over a new connection and a kill,
    after which each message has the one that it had. One place of the window is kept for what is urgent."""
    upstream = cleanup(HandUpstream())
    site = cleanup(Site(tmp_path / "site", bridge(upstream.port, ALL % (1, 2) + 'in = ( { match = "u/#"; } ); window = 4;'
                                                  ' presence = { on = false; };', more=QUICK)).start())
    near = cleanup(Client(site.port))
    peer = upstream.accept()
    assert int.from_bytes(peer.expect(SUBSCRIBE).body[:2], "big") > 65500
    near.send(DATA, numbers(0, 20), 2)
    first = [peer.expect(PUBLISH) for _ in range(3)]
    assert [p.payload for p in first] == [b"0", b"1", b"2"] and [p.pid for p in first] == [1, 2, 3]
    near.send(ALARM, ["a", "b"])
    alarm = peer.expect(PUBLISH)
    assert (alarm.topic, alarm.payload, alarm.pid) == (ALARM, b"a", 65001)
    assert status_of(site)["in_flight"] == 4
    peer.send(ack(PUBREC, first[0].pid))
    assert peer.expect(PUBREL).pid == first[0].pid
    peer.send(ack(PUBCOMP, first[0].pid))  # a place, for the next alarm
    assert peer.expect(PUBLISH).payload == b"b"
    peer.close()

    def resent():
        peer = upstream.accept(PRESENT)
        assert int.from_bytes(peer.expect(SUBSCRIBE).body[:2], "big") > 65500
        seen = [peer.read() for _ in range(4)]
        assert [(p.kind, p.payload, p.pid, p.dup) for p in seen] == [
            (PUBLISH, b"a", 65001, True), (PUBLISH, b"b", 65002, True), (PUBLISH, b"1", 2, True), (PUBLISH, b"2", 3, True)]
        return peer

    peer = resent()
    wait_for(lambda: not users.status(site, "store")["open_bytes"], what="the end of the first message to be on disk")
    site.kill()
    peer.close()
    site.start()
    peer = resent()
    peer.send(ack(PUBACK, 65001), ack(PUBACK, 65002))
    assert peer.expect(PUBLISH).pid == 4  # one place stays free
    time.sleep(0.3)
    assert status_of(site)["in_flight"] == 3
    for pid in (2, 3, 4):
        peer.send(ack(PUBREC, pid))
        assert peer.expect(PUBREL).pid == pid


def test_receive_maximum_is_shared(tmp_path, cleanup):
    """5.0 [MQTT-3.3.4-9]: never more in flight than the upstream allows, both lanes together."""
    upstream = cleanup(HandUpstream(v5=True))
    connack = bytes([CONNACK << 4, 6, 0, 0, 3, 0x21, 0, 5])  # Receive Maximum 5
    site = cleanup(Site(tmp_path / "site", bridge(upstream.port, ALL % (1, 1) + 'version = "5.0"; presence = { on = false; };',
                                                  more=QUICK)).start())
    near = cleanup(Client(site.port))
    peer = upstream.accept(connack)
    near.send(DATA, numbers(0, 30))
    near.send(ALARM, numbers(0, 30))
    waiting, got = [], []
    while len(got) < 60:
        while len(waiting) < (5 if got.count(ALARM) < 30 else 4) and len(got) < 60:
            p = peer.expect(PUBLISH)
            assert p.pid not in waiting
            waiting.append(p.pid)
            got.append(p.topic)
        assert status_of(site)["in_flight"] <= 5
        peer.send(ack(PUBACK, waiting.pop(0)))
    # 4 readings were on their way when the alarms came
    assert got[:34] == [DATA] * 4 + [ALARM] * 30

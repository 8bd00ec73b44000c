# SPDX-License-Identifier: Apache-2.0
"""Bridges against an upstream made by hand: what it may say at the wrong time, and what it must get. Statements are
those of MQTT 3.1.1 unless said otherwise."""
import pytest
from bridge_rig import OUT, QUICK, Client, HandUpstream, Site, bridge, drained, online, status_of
from daemon import SLUICECTL, SLUICED, free_port, wait_for
from raw import (CONNECT, DISCONNECT, PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBSCRIBE, UNSUBSCRIBE, ack,
                 packet, publish, text)

pytestmark = pytest.mark.skipif(not SLUICED.exists() or not SLUICECTL.exists(), reason="not built")

SILENT = "presence = { on = false; };"
PRESENT = b"\x20\2\1\0"  # CONNACK with session present


@pytest.fixture
def upstream():
    u = HandUpstream()
    yield u
    u.close()


@pytest.fixture
def rig(tmp_path, upstream):
    """start(rules, …) gives the site, a client of it and the bridge's first connection."""
    ends = []

    def start(rules, connack=b"\x20\2\0\0", more=QUICK, filters=(), conf=""):
        site = Site(tmp_path / "site", bridge(upstream.port, rules + SILENT, more=more), conf=conf).start()
        near = Client(site.port, filters=filters)
        ends.extend([site.stop, near.close])
        return site, near, upstream.accept(connack)

    yield start
    for end in reversed(ends):
        end()


def again(upstream, connack=PRESENT):
    return upstream.accept(connack)


def take(peer, count):
    """The next count PUBLISH packets as (payload, dup, pid)."""
    return [(p.payload.decode(), p.dup, p.pid) for p in (peer.expect(PUBLISH) for _ in range(count))]


def test_connect_says_what_was_configured(tmp_path, upstream):
    site = Site(tmp_path / "site", bridge(upstream.port, OUT + 'client_id = "gw-7"; user = "u"; password = "p"; '
                                          'keepalive = "90s";')).start()
    body = upstream.accept().hello.body
    assert body[:8] == text("MQTT") + b"\4" + bytes([0x80 | 0x40 | 0x20 | 1 << 3 | 4])  # clean session 0, will QoS 1
    assert body[8:10] == (90).to_bytes(2, "big")
    assert body[10:].startswith(text("gw-7") + text("sluice/test/state"))
    assert b'"state":"offline"' in body and body.endswith(text("u") + text("p"))
    site.stop()


def test_clean_session(rig):
    site, near, peer = rig(OUT + "clean = true;")
    assert peer.hello.body[7] & 2


def test_sent_again_in_order_with_the_same_identifiers(rig, upstream):
    """[MQTT-4.4.0-1], [MQTT-4.6.0-1], [MQTT-3.3.1-1]: DUP, same order, same identifiers; then what is new."""
    site, near, peer = rig(OUT)
    near.send("s/n", ["0", "1", "2", "3"])
    first = take(peer, 4)
    assert [f[:2] for f in first] == [("0", False), ("1", False), ("2", False), ("3", False)]
    peer.send(ack(PUBACK, first[0][2]), ack(PUBACK, first[2][2]))
    wait_for(lambda: status_of(site)["acked"] == 2, what="the acknowledgements")
    peer.close()
    near.send("s/n", ["4"])
    peer = again(upstream)
    assert take(peer, 3) == [("1", True, first[1][2]), ("3", True, first[3][2]), ("4", False, first[3][2] + 1)]


def test_an_upstream_that_forgot_us_gets_no_dup(rig, upstream):
    """It has never seen the message: a repeat would be news to it."""
    site, near, peer = rig(OUT)
    near.send("s/n", ["0"])
    take(peer, 1)
    peer.close()
    assert take(again(upstream, b"\x20\2\0\0"), 1)[0][:2] == ("0", False)


def test_qos2_goes_on_with_pubrel(rig, upstream):
    """[MQTT-4.3.3-1]: after PUBREC it is PUBREL that is sent again, and never PUBLISH."""
    site, near, peer = rig('out = ( { match = "s/#"; qos = 2; } ); ')
    near.send("s/n", ["0", "1"], 2)
    (_, _, a), (_, _, b) = take(peer, 2)
    peer.send(ack(PUBREC, a))
    assert peer.expect(PUBREL).pid == a
    peer.close()
    peer = again(upstream)
    seen = [peer.read(), peer.read()]
    assert [(p.kind, p.pid, p.dup) for p in seen] == [(PUBREL, a, False), (PUBLISH, b, True)]
    peer.send(ack(PUBREC, a))  # again: it is answered again
    assert peer.expect(PUBREL).pid == a
    peer.send(ack(PUBCOMP, a), ack(PUBREC, b))
    assert peer.expect(PUBREL).pid == b
    peer.send(ack(PUBCOMP, b))
    assert drained(site)["acked"] == 2


def test_window(rig):
    site, near, peer = rig(OUT + "window = 3;")
    near.send("s/n", [str(i) for i in range(10)])
    got = take(peer, 3)
    assert status_of(site)["in_flight"] == 3
    peer.send(packet(PINGREQ + 1))  # an unasked PINGRESP does no harm
    for i in range(7):
        peer.send(ack(PUBACK, got[i][2]))
        got += take(peer, 1)
    assert [g[0] for g in got] == [str(i) for i in range(10)]


def test_unknown_acknowledgements_are_counted_and_answered(rig):
    site, near, peer = rig(OUT)
    peer.send(ack(PUBACK, 777), ack(PUBCOMP, 778), ack(PUBREC, 779), packet(9, b"\x03\x0c\0"), packet(11, b"\x03\x0d"))
    assert peer.expect(PUBREL).pid == 779  # or the upstream would ask for ever
    near.send("s/n", ["0"])
    (_, _, pid), = take(peer, 1)
    peer.send(ack(PUBREC, pid))  # PUBREC of a QoS 1 message
    assert peer.expect(PUBREL).pid == pid
    peer.send(ack(PUBACK, pid), ack(PUBACK, pid))
    wait_for(lambda: status_of(site)["unknown_acks"] == 7, what=f"the counts {status_of(site)}")
    s = status_of(site)
    assert s["state"] == "online" and s["losses"] == 0 and s["acked"] == 1


@pytest.mark.parametrize("bytes,why", [
    (b"\x30\xff\xff\xff\xff\x01", "length"), (b"\xf0\0", "out of place"), (b"\0\0", "out of place"),
    (b"\x30\x01\0", "PUBLISH"), (b"\x36\5\0\1a\0\1", "PUBLISH"), (b"\x32\5\0\1a\0\0", "PUBLISH"),
    (b"\x20\2\0\0", "CONNACK"), (b"\x10\0", "CONNECT"), (b"\x82\6\0\1\0\1a\0", "SUBSCRIBE"), (b"\xe0\0", "DISCONNECT"),
    (b"\xc0\0", "PINGREQ"), (b"\x40\x03\0\1\0", "PUBACK"), (b"\x50\xff\xff\xff\x7f", "PUBREC")])
def test_garbage_ends_the_connection_and_nothing_else(rig, upstream, bytes, why):
    site, near, peer = rig(OUT)
    peer.send(bytes)
    assert peer.closed()
    peer = again(upstream)
    assert why in status_of(site)["last_error"], status_of(site)["last_error"]
    near.send("s/n", ["0"])
    assert take(peer, 1)[0][0] == "0"


@pytest.mark.parametrize("first", [b"\x40\2\0\1", b"\xd0\0", b"\x30\4\0\1ax", b"\x20\3\0\0\0", b"\x20\2\0\6",
                                   b"\x20\2\1\1", b"\x15\3\3\0\2", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_the_first_packet_is_a_connack(tmp_path, upstream, first):
    """[MQTT-3.2.0-1]"""
    site = Site(tmp_path / "site", bridge(upstream.port, OUT)).start()
    peer = upstream.accept(first)
    assert peer.closed()
    peer = upstream.accept()
    assert online(site)["connects"] == 1
    peer.close()
    site.stop()


@pytest.mark.parametrize("code,slow", [(1, True), (2, True), (3, False), (4, True), (5, True)])
def test_refusals(tmp_path, upstream, code, slow):
    """§3.2.2.3: what people have to mend is tried slowly, what passes by itself soon."""
    site = Site(tmp_path / "site", bridge(upstream.port, OUT, more='backoff = { min = "50ms"; max = "20s"; };')).start()
    peer = upstream.accept(b"\x20\2\0" + bytes([code]))
    assert peer.closed()
    s = wait_for(lambda: status_of(site).get("last_error"), what="the fault")
    assert "refuses" in s
    if slow:
        assert upstream.nobody_comes(2)
    else:
        assert upstream.accept()
    site.stop()


def test_qos2_in_once(rig, upstream):
    """[MQTT-4.3.3-2]: a repeat is answered and not passed on, over a reconnect as well; a released identifier is
    free; an upstream that forgot us begins anew."""
    site, near, peer = rig('in = ( { match = "u"; qos = 2; } ); ', filters=["u"])
    peer.expect(SUBSCRIBE)
    for dup in (False, True):
        peer.send(publish("u", "a", 2, 5, dup=dup))
        assert peer.expect(PUBREC).pid == 5
    peer.close()
    peer = again(upstream)
    peer.expect(SUBSCRIBE)  # it was never acknowledged
    peer.send(publish("u", "a", 2, 5, dup=True))
    assert peer.expect(PUBREC).pid == 5
    peer.send(ack(PUBREL, 5))
    assert peer.expect(PUBCOMP).pid == 5
    peer.send(publish("u", "b", 2, 5))
    assert peer.expect(PUBREC).pid == 5
    peer.close()
    peer = again(upstream, b"\x20\2\0\0")
    peer.expect(SUBSCRIBE)
    peer.send(publish("u", "c", 2, 5))
    assert peer.expect(PUBREC).pid == 5
    peer.send(ack(PUBREL, 5), ack(PUBREL, 9))
    assert peer.expect(PUBCOMP).pid == 5 and peer.expect(PUBCOMP).pid == 9
    near.wait(3)
    assert near.payloads() == ["a", "b", "c"]


def test_qos2_in_once_over_a_kill(rig, upstream):
    site, near, peer = rig('in = ( { match = "u"; qos = 2; } ); ')
    keeper = Client(site.port, "keeper", clean=False, filters=["u"])
    peer.expect(SUBSCRIBE)
    peer.send(publish("u", "a", 2, 5))
    assert peer.expect(PUBREC).pid == 5
    keeper.wait(1)
    site.kill()
    site.start()
    peer = again(upstream)
    peer.expect(SUBSCRIBE)
    peer.send(publish("u", "a", 2, 5, dup=True))
    assert peer.expect(PUBREC).pid == 5
    peer.send(ack(PUBREL, 5), publish("u", "b", 1, 6))
    assert peer.expect(PUBCOMP).pid == 5 and peer.expect(PUBACK).pid == 6
    wait_for(lambda: "b" in keeper.payloads(), what="the next one")
    assert keeper.payloads() == ["a", "b"] or keeper.payloads() == ["a", "a", "b"] and keeper.packets[1].dup
    keeper.close()


def test_what_no_rule_wants_is_acknowledged_and_counted(rig):
    """An older subscription of the upstream's session may still be there."""
    site, near, peer = rig('in = ( { match = "u/#"; qos = 1; strip = "u/"; } ); ', filters=["#"])
    peer.expect(SUBSCRIBE)
    peer.send(publish("old", "x", 1, 3), publish("u", "x", 1, 4), publish("u/ok", "x", 1, 5))
    assert [peer.expect(PUBACK).pid for _ in range(3)] == [3, 4, 5]
    near.wait(1)
    assert near.got[0][0] == "ok"
    s = status_of(site)
    assert s["drops"]["in_no_rule"] == 1 and s["drops"]["in_no_topic"] == 1


def test_a_message_too_large_does_not_come_again_and_again(rig):
    site, near, peer = rig('in = ( { match = "u/#"; qos = 2; } ); ', filters=["#"], conf="limits = { packet = 2048; };")
    peer.expect(SUBSCRIBE)
    peer.send(publish("u/big", "x" * 1000000, 1, 3), publish("u/big", "x" * 2049, 2, 4), publish("u/zero", "x" * 70000),
              publish("u/ok", "y", 1, 5))
    assert peer.expect(PUBACK).pid == 3 and peer.expect(PUBREC).pid == 4
    peer.send(ack(PUBREL, 4))
    assert peer.expect(PUBACK).pid == 5 and peer.expect(PUBCOMP).pid == 4
    near.wait(1)
    s = status_of(site)
    assert s["drops"]["in_too_large"] == 3 and s["state"] == "online" and near.payloads() == ["y"]


def test_refused_filters_are_told(rig):
    site, near, peer = rig('in = ( { match = "u/yes"; }, { match = "u/no"; } ); ')
    pid = peer.expect(SUBSCRIBE).body[:2]
    peer.send(packet(9, pid + b"\1\x80"))
    s = wait_for(lambda: (s := status_of(site)).get("refused_filters") and s, what="the refusal")
    assert s["refused_filters"] == "u/no" and s["state"] == "online"
    assert site.log().count("refuses to send u/no") == 1


def test_stale_filters_go(rig, upstream):
    site, near, peer = rig('in = ( { match = "a"; }, { match = "b"; } ); ')
    pid = peer.expect(SUBSCRIBE).body[:2]
    peer.send(packet(9, pid + b"\1\1"))
    site.change(bridge(upstream.port, 'in = ( { match = "b"; } ); ' + SILENT))
    peer.expect(DISCONNECT)
    peer = again(upstream)
    out = peer.expect(UNSUBSCRIBE)
    assert out.body[2:] == text("a")
    assert peer.expect(SUBSCRIBE).body[2:] == text("b") + b"\1"
    peer.send(packet(11, out.body[:2]))
    wait_for(lambda: status_of(site)["unknown_acks"] == 0, what="the answer")
    peer.close()
    peer = again(upstream)
    peer.expect(SUBSCRIBE)  # the last one was not answered


def test_goodbye(tmp_path, upstream):
    """Presence goes before DISCONNECT, and DISCONNECT is the last packet ([MQTT-3.14.4-1])."""
    site = Site(tmp_path / "site", bridge(upstream.port, OUT)).start()
    peer = upstream.accept()
    p = peer.expect(PUBLISH)
    assert (p.topic, p.qos, p.retain) == ("sluice/test/state", 1, True) and b'"online"' in p.payload
    site.process.terminate()
    p = peer.expect(PUBLISH)
    assert (p.topic, p.qos, p.retain) == ("sluice/test/state", 1, True)
    assert b'"offline"' in p.payload and b'"stopped"' in p.payload
    peer.expect(DISCONNECT)
    assert peer.closed()
    peer.close()
    assert site.stop(3) == 0


def test_a_full_queue_here_refuses_what_comes_in(tmp_path, upstream):
    """A second bridge's queue is full and refuses: the upstream's message is not acknowledged, so that it keeps it."""
    site = Site(tmp_path / "site", bridge(upstream.port, 'in = ( { match = "u/#"; qos = 1; } ); ' + SILENT),
                bridge(free_port(), 'out = ( { match = "u/#"; } ); store = { max = "1k"; full = "refuse"; };',
                       name="full")).start()
    peer = upstream.accept()
    peer.expect(SUBSCRIBE)
    peer.send(publish("u/1", "x" * 500, 1, 1))
    assert peer.expect(PUBACK).pid == 1
    peer.send(publish("u/2", "x" * 900, 1, 2), publish("other", "x", 1, 3))
    assert peer.expect(PUBACK).pid == 3
    s = status_of(site)
    assert s["drops"]["in_refused"] == 1 and status_of(site, "full")["drops"]["refused"] == 1
    peer.close()
    site.stop()


def test_back_pressure(rig):
    """More than the open batch may hold: reading waits for the commit, then goes on where it was."""
    site, near, peer = rig('in = ( { match = "u/#"; qos = 1; } ); ', conf='store = { batch_max = "64k"; };')
    keeper = Client(site.port, "keeper", clean=False, filters=["u/#"])
    peer.expect(SUBSCRIBE)
    peer.send(*[publish("u/n", f"{i:04d}" + "x" * 2000, 1, i + 1) for i in range(400)])
    assert [peer.expect(PUBACK).pid for _ in range(400)] == list(range(1, 401))
    keeper.wait(400)
    assert [p[:4] for p in keeper.payloads()] == [f"{i:04d}" for i in range(400)]
    keeper.close()


# ---- MQTT 5 ----


@pytest.fixture
def rig5(tmp_path):
    ends = []

    def start(rules, props=b"", more=QUICK):
        upstream = HandUpstream(v5=True)
        site = Site(tmp_path / "site", bridge(upstream.port, rules + SILENT + 'version = "5.0";', more=more)).start()
        near = Client(site.port)
        ends.extend([upstream.close, site.stop, near.close])
        peer = upstream.accept(packet(2, b"\0\0" + bytes([len(props)]) + props))
        return site, near, peer, upstream

    yield start
    for end in reversed(ends):
        end()


def test_v5_connect(rig5):
    """Session expiry that outlives every outage, our maximum packet size."""
    *_, peer, _ = rig5(OUT)
    body = peer.hello.body
    assert body[6] == 5 and body[7] & 2 == 0
    props = body[11:11 + body[10]]
    assert b"\x11\xff\xff\xff\xff" in props and b"\x27" + (1048576).to_bytes(4, "big") in props


def test_v5_receive_maximum(rig5):
    """MQTT 5.0 [MQTT-3.3.4-9]"""
    site, near, peer, _ = rig5(OUT, b"\x21\0\2")
    near.send("s/n", [str(i) for i in range(5)])
    got = take(peer, 2)
    assert status_of(site)["in_flight"] == 2
    peer.send(ack(PUBACK, got[0][2]))
    got += take(peer, 1)
    assert [g[0] for g in got] == ["0", "1", "2"]


def test_v5_maximum_packet_size(rig5):
    """MQTT 5.0 [MQTT-3.1.2-24], -25 the other way round: what is too large is dropped as if it had been sent."""
    site, near, peer, _ = rig5(OUT, b"\x27\0\0\0\x40")
    near.send("s/n", ["x" * 100, "small"])
    assert take(peer, 1)[0][0] == "small"
    s = status_of(site)
    assert s["drops"]["too_large"] == 1 and s["backlog"] == 1


def test_v5_reasons(rig5):
    """A PUBACK with a reason ends the message and is counted; DISCONNECT says why."""
    site, near, peer, upstream = rig5(OUT)
    near.send("s/n", ["0"])
    (_, _, pid), = take(peer, 1)
    peer.send(packet(PUBACK, pid.to_bytes(2, "big") + b"\x97"))
    wait_for(lambda: status_of(site)["drops"]["rejected"] == 1, what="the count")
    assert status_of(site)["backlog"] == 0
    peer.send(packet(DISCONNECT, b"\x8b"))
    assert peer.closed()
    assert "shutting down" in offline_error(site)


def offline_error(site):
    return wait_for(lambda: status_of(site).get("last_error"), what="the fault")


def test_v5_server_keep_alive(rig5):
    """MQTT 5.0 [MQTT-3.1.2-21]"""
    site, near, peer, _ = rig5(OUT, b"\x13\0\1")
    peer.expect(PINGREQ)


def test_v5_maximum_qos(rig5):
    site, near, peer, _ = rig5('out = ( { match = "s/#"; qos = 2; } ); ', b"\x24\1")
    assert peer.closed()
    assert "QoS 1" in offline_error(site)


def test_v5_subscription_options(rig5):
    """No Local, Retain As Published, and retained messages only for a new subscription."""
    site, near, peer, _ = rig5('in = ( { match = "u"; qos = 1; } ); ')
    assert peer.expect(SUBSCRIBE).body[2:] == b"\0" + text("u") + bytes([1 | 1 << 2 | 1 << 3 | 1 << 4])


def test_v5_refusal_has_a_reason(rig5):
    site, near, peer, upstream = rig5('in = ( { match = "u"; } ); ')
    peer.expect(SUBSCRIBE)
    peer.send(packet(DISCONNECT, b"\x8e\0"))
    assert peer.closed()
    assert "client_id" in offline_error(site)

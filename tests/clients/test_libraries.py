# SPDX-License-Identifier: Apache-2.0
"""paho-mqtt and MQTT.js (over TCP and WebSocket), Paho C (blocking and asynchronous) and libmosquitto, each in MQTT 3.1, 3.1.1 and 5:
what their users do."""
import peers
import pytest
import raw
from daemon import wait_for
from peers import Message
from raw import PUBACK, PUBLISH, SUBACK


def watch(house, topic):
    c = raw.client(house.port, "watch-" + topic.replace("/", "-"))
    c.send(raw.subscribe(1, (topic, 1)))
    c.expect(SUBACK)
    return c


def test_every_qos_both_ways(peer):
    c, t = peer(), peer.own
    for granted in range(3):
        assert c.subscribe(f"{t}/{granted}", granted) == granted
        for qos in range(3):
            c.publish(f"{t}/{granted}", b"sent-%d" % qos, qos)
    want = {Message(f"{t}/{granted}", b"sent-%d" % qos, min(qos, granted), False) for granted in range(3) for qos in range(3)}
    assert set(c.wait(9)) == want and len(c.messages) == 9
    for granted in range(3):  # of one QoS, in the order of publishing
        for qos in range(granted + 1):
            of = [m.payload for m in c.messages if m.topic == f"{t}/{granted}" and m.qos == qos]
            assert of == sorted(of)
    c.disconnect()


def test_retained(peer):
    c, t = peer(), peer.own
    for qos in range(3):
        c.publish(f"{t}/kept/{qos}", b"old", qos, True)
        c.publish(f"{t}/kept/{qos}", b"kept-%d" % qos, qos, True)
    c.publish(f"{t}/kept/1", b"", 1, True)  # forgotten
    other = peer("d")
    other.subscribe(f"{t}/kept/#", 2)
    assert set(other.wait(2)) == {Message(f"{t}/kept/{q}", b"kept-%d" % q, q, True) for q in (0, 2)}
    c.publish(f"{t}/kept/0", b"live", 1, True)
    assert other.wait(3)[2] == Message(f"{t}/kept/0", b"live", 1, False)
    for qos in (0, 2):
        c.publish(f"{t}/kept/{qos}", b"", 1, True)


def test_will(peer, house):
    t = f"{peer.own}/will"
    with watch(house, t) as w:
        peer("polite", will=t).disconnect()
        w.quiet()
        peer("cut", will=t).drop()
        p = w.expect(PUBLISH)
        assert (p.topic, p.payload, p.qos) == (t, b"gone", 1)


def test_session_outlives_the_daemon(peer, house):
    """What was acknowledged while the client is away arrives after kill -9 of the daemon, once and in order."""
    t = peer.own
    c = peer(clean=False)
    assert not c.session_present
    c.subscribe(f"{t}/one", 1)
    c.subscribe(f"{t}/two", 2)
    c.disconnect()
    p = raw.client(house.port, "publisher")
    for i in range(20):
        p.send(raw.publish(f"{t}/one", b"%d" % i, 1, i + 1))
        assert p.expect(PUBACK).pid == i + 1
        p.send(raw.publish(f"{t}/two", b"%d" % i, 2, 100))
        p.expect(raw.PUBREC)
        p.send(raw.ack(raw.PUBREL, 100))
        p.expect(raw.PUBCOMP)
    house.crash()
    c = peer(clean=False)
    if (peer.library, peer.version) != ("paho_sync", 5):  # which does not tell
        assert c.session_present == (peer.version > 3)  # whose CONNACK has no such flag
    got = c.wait(40)
    for qos, name in ((1, "one"), (2, "two")):
        assert [m for m in got if m.topic == f"{t}/{name}"] == [Message(f"{t}/{name}", b"%d" % i, qos, False) for i in range(20)]
    c.unsubscribe(f"{t}/one")
    c.publish(f"{t}/one", b"nobody", 1)
    c.publish(f"{t}/two", b"still", 1)
    assert c.wait(41)[40:] == [Message(f"{t}/two", b"still", 1, False)]
    c.disconnect()
    peer(clean=True).disconnect()
    assert not peer(clean=False).session_present


def test_large_payload(peer):
    c, t = peer(), peer.own
    whole = bytes(i * 7 + (i >> 8) & 255 for i in range(3000000))
    c.subscribe(t, 2)
    for qos in range(3):
        c.publish(t, whole, qos)
        got = c.wait(qos + 1)[qos]
        assert (got.qos, len(got.payload)) == (qos, len(whole)) and got.payload == whole


def test_take_over(peer, house):
    """The one who was there goes; in MQTT 5 it hears why. Its will is published, since it did not take its leave."""
    t = f"{peer.own}/will"
    with watch(house, t) as w:
        first = peer(will=t)
        second = peer()
        reason = first.lost()
        assert reason == "142" if peer.version == 5 and peer.library == "paho_async" else reason != "0", reason
        assert w.expect(PUBLISH).payload == b"gone"
        second.subscribe(t, 0)
        second.publish(t, b"here")
        assert second.wait(1)[0].payload == b"here"


def test_tls_with_client_certificate(peer, house):
    tls = [house.authority.cert, house.cert, house.key]
    c = peer(tls=tls)
    c.subscribe(peer.own, 2)
    whole = b"0123456789abcdef" * 20000
    c.publish(peer.own, whole, 2)
    assert c.wait(1) == [Message(peer.own, whole, 2, False)]
    c.disconnect()


def test_tls_without_certificate(peer, house, tmp_path):
    """The listener names a client_ca: who shows no certificate of it does not get in."""
    stranger = house.authority.__class__(tmp_path / "other", "other-ca")
    cert, key = stranger.issue("client")
    with pytest.raises((peers.Refused, OSError)):
        peer(tls=[house.authority.cert, cert, key])
    wait_for(house.running)


def test_wire(house):
    """All that this file has said: to tshark no packet is malformed."""
    house.wire.judge(*range(1, 12), 14)

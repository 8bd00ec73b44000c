# SPDX-License-Identifier: Apache-2.0
"""A mosquitto that bridges to us: sites that have one keep it."""
import pytest
import raw
from daemon import Mosquitto, wait_for
from raw import PUBACK, PUBLISH, SUBACK


class Reader:
    """A durable QoS 2 subscriber; take(n): the next n messages."""

    def __init__(self, port, name, topic):
        self.port, self.name, self.held = port, name, set()
        self.connect()
        self.c.send(raw.subscribe(1, (topic, 2)))
        self.c.expect(SUBACK)

    def connect(self):
        self.c = raw.client(self.port, self.name, clean=False)

    def take(self, count):
        out = []
        while len(out) < count:
            p = self.c.read()
            assert p, "closed"
            if p.kind == raw.PUBREL:
                self.held.discard(p.pid)
                self.c.send(raw.ack(raw.PUBCOMP, p.pid))
                continue
            assert p.kind == PUBLISH, p
            if p.qos:
                self.c.send(raw.ack(PUBACK if p.qos == 1 else raw.PUBREC, p.pid))
            if p.qos < 2 or p.pid not in self.held:
                out.append((p.topic, p.payload, p.qos))
            if p.qos == 2:
                self.held.add(p.pid)
        return out


def send(port, topic, payloads, qos=2, retain=False):
    with raw.client(port, "sender") as c:
        for i, payload in enumerate(payloads, 1):
            c.send(raw.publish(topic, payload, qos, i if qos else None, retain))
            if qos == 1:
                c.expect(PUBACK)
            elif qos == 2:
                c.expect(raw.PUBREC)
                c.send(raw.ack(raw.PUBREL, i))
                c.expect(raw.PUBCOMP)
        c.quiet()


def kept(port, topic):
    """The retained message of a topic, when there is one."""
    with raw.client(port, "later") as c:
        c.send(raw.subscribe(1, (topic, 0)))
        c.send(raw.packet(raw.PINGREQ))
        got = {}
        while raw.PINGRESP not in got:
            p = c.read()
            got[p.kind] = p
        return got[PUBLISH].payload if PUBLISH in got else None


def bridge(folder, house, version, private, name):
    """A mosquitto that sends what is below NAME/up to us and gets what is below NAME/down."""
    return Mosquitto(folder / "mosquitto", f"""
max_inflight_messages 200
connection to-sluice
address 127.0.0.1:{house.port}
remote_clientid {name}
bridge_protocol_version {version}
try_private {private}
cleansession false
restart_timeout 1
topic {name}/up/# out 2
topic {name}/down/# in 2
""", persistence=True)


@pytest.mark.parametrize("private", ["true", "false"])
@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv50"])
def test_both_ways(tmp_path, house, version, private):
    """With try_private it sets the highest bit of the protocol level, which marks a bridge."""
    t = f"b-{version[5:]}-{private}"
    other = bridge(tmp_path, house, version, private, t)
    send(house.port, f"{t}/down/kept", [b"kept"], 1, True)
    other.start()
    up, down = Reader(house.port, f"up-{t}", f"{t}/up/#"), Reader(other.port, "down", f"{t}/down/#")
    assert down.take(1) == [(f"{t}/down/kept", b"kept", 1)]
    assert kept(other.port, f"{t}/down/kept") == b"kept"
    assert kept(house.port, f"$SYS/broker/connection/{t}/state") == b"1"
    for qos in range(3):
        for side, of, at in ((up, "up", other), (down, "down", house)):
            send(at.port, f"{t}/{of}/{qos}", [b"%d" % i for i in range(10)], qos)
            assert side.take(10) == [(f"{t}/{of}/{qos}", b"%d" % i, qos) for i in range(10)]
    send(other.port, f"{t}/up/kept", [b"up"], 1, True)
    send(house.port, f"{t}/down/kept", [b"live"], 1, True)
    assert (up.take(1), down.take(1)) == ([(f"{t}/up/kept", b"up", 1)], [(f"{t}/down/kept", b"live", 1)])
    assert kept(house.port, f"{t}/up/kept") == b"up"
    marked = version == "mqttv50" or private == "true"  # 5 asks for the flag as it was published
    assert kept(other.port, f"{t}/down/kept") == (b"live" if marked else b"kept")
    other.kill()
    wait_for(lambda: kept(house.port, f"$SYS/broker/connection/{t}/state") == b"0", what="its will")


class Outage:
    """One bridge and its two readers."""

    def __init__(self, folder, house, version):
        self.name, self.house, self.lasting = f"o-{version[5:]}", house, version != "mqttv50"  # there it asks for no session that lasts
        self.other = bridge(folder / version, house, version, "true", self.name).start()
        self.up = Reader(house.port, f"up-{self.name}", f"{self.name}/up/#")
        self.down = Reader(self.other.port, "down", f"{self.name}/down/#")
        send(self.other.port, f"{self.name}/up/out", [b"before"])
        assert self.up.take(1) == [(f"{self.name}/up/out", b"before", 2)]

    def send(self, port, way):
        send(port, f"{self.name}/{way}/out", [b"%d" % i for i in range(50)])

    def check(self):
        def want(way):
            return [(f"{self.name}/{way}/out", b"%d" % i, 2) for i in range(50)]

        self.up.connect()
        first = self.up.take(1)
        if not self.lasting and first[0][1] == b"before":  # we were killed before its PUBREL, and no session knows it
            first = self.up.take(1)
        assert first + self.up.take(49) == want("up")
        if self.lasting:
            assert self.down.take(50) == want("down")
        self.other.stop()


def test_outage(tmp_path, house):
    """We are killed, both sides go on, and all that was queued arrives once and in order."""
    bridges = [Outage(tmp_path, house, version) for version in ("mqttv31", "mqttv311", "mqttv50")]
    house.kill()
    for b in bridges:
        b.send(b.other.port, "up")
    house.start()
    for b in bridges:
        b.send(house.port, "down")
    for b in bridges:
        b.check()


def test_wire(house):
    """All that this file has said: to tshark no packet is malformed."""
    house.wire.judge(*range(1, 10))

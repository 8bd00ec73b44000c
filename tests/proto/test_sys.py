# SPDX-License-Identifier: Apache-2.0
"""$SYS topics: mosquitto's names, told to who listens, never on disk, nobody else's to write."""
import raw
from daemon import Sluiced
from raw import PUBACK, PUBLISH, SUBACK, client, publish, subscribe

NAMES = 53  # of topics


def values(c, count):
    out = {}
    while len(out) < count:
        p = c.read()
        if p.kind == PUBLISH:
            assert p.qos == 0
            out[p.topic.removeprefix("$SYS/broker/")] = p.payload.decode()
    return out


def test_values_and_names(tmp_path):
    d = Sluiced(tmp_path, 'sys = { every = "1s"; };').start()
    p = client(d.port, "p")
    p.send(publish("t", "12345", 1, 1), publish("r", "kept", retain=True))
    p.expect(PUBACK)
    c = client(d.port, "c")
    c.send(subscribe(1, ("$SYS/#", 1)))
    seen = values(c, NAMES)
    assert seen["clients/connected"] == "2" and seen["publish/messages/received"] == "2"
    assert seen["uptime"].endswith(" seconds")
    assert values(c, NAMES)["version"].startswith("sluice ")  # told again, live
    plain = client(d.port, "plain")
    plain.send(subscribe(1, "#"))
    assert plain.read().kind in (SUBACK, PUBLISH)
    d.kill()
    d.start()
    c = client(d.port, "c")
    c.send(subscribe(1, "$SYS/broker/retained messages/count"))
    got = {x.kind: x for x in (c.read(), c.read())}
    assert int(got[PUBLISH].payload) >= 1 and got[PUBLISH].retain
    assert d.stop() == 0


def test_not_for_clients_to_write(sluiced):
    c, p = client(sluiced.port, "c"), client(sluiced.port, "p")
    c.send(subscribe(1, "$SYS/broker/mine"))
    c.expect(SUBACK)
    p.send(publish("$SYS/broker/mine", "x", 1, 1))
    assert p.expect(PUBACK)
    c.quiet()
    v5 = client(sluiced.port, "v5", level=5)
    v5.send(raw.publish("$SYS/broker/mine", "x", 1, 1, props=b""))
    assert v5.expect(PUBACK).body[:3] == b"\0\1\x87"
    c.quiet()


def test_a_bridge_tells_of_itself(sluiced):
    """mosquitto's bridges say below $SYS, also by their will, whether they are connected. Nobody says it of another."""
    own, others = "$SYS/broker/connection/b/state", "$SYS/broker/connection/c/state"
    for topic in (others, "$SYS/broker/uptime", "$SYS/broker/connection/b/state/x", "$SYS/broker/connection/bb/state"):
        c = raw.Raw(sluiced.port, raw.connect("b", will=(topic, "0", 1, True)))
        assert c.expect(raw.CONNACK).body == b"\0\5" and c.closed()
    w = client(sluiced.port, "w")
    w.send(subscribe(1, "$SYS/broker/connection/+/state"))
    w.expect(SUBACK)
    b = client(sluiced.port, "b", will=(own, "0", 1, True))
    b.send(publish(own, "1", 1, 1, True), publish(others, "1", 1, 2, True))
    assert (b.expect(PUBACK).pid, b.expect(PUBACK).pid) == (1, 2)
    p = w.expect(PUBLISH)
    assert (p.topic, p.payload) == (own, b"1")
    b.close()
    assert w.expect(PUBLISH).payload == b"0"
    w.quiet()

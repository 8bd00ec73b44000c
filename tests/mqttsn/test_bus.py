# SPDX-License-Identifier: Apache-2.0
"""Motes and Modbus slaves on one pair of wires (docs/serial-motes.md): the reference node as a process, with a mote behind it
that is not ours; slaves of sluice-sim; a paced line that loses and damages what it is told to."""
import json
import random

import mqttsn
import pytest
import raw
from bus import Bus, build_node
from conftest import Site
from daemon import Process, wait_for
from field import check, simulated

SLAVES = """baud = 115200; format = "8N1"; stations = (
{ name = "one"; unit = 1; turnaround_us = 500; holding = ( { at = 0; count = 10; constant = 215; } ); } );
"""
UNITS = (20, 21)


class BusSite(Site):
    """One line with a slave and two nodes."""

    def __init__(self, folder, bus, every="200ms", more=""):
        self.bus, self.every, self.tty = bus, every, bus.port("gateway")
        super().__init__(folder, more)

    def text(self, line="", conf=""):
        nodes = " ".join(f'{{ name = "node{u}"; protocol = "mqtt-sn"; line = "motes"; unit = {u}; every = "200ms"; }},' for u in UNITS)
        return (f'lines = ( {{ name = "a"; protocol = "modbus-rtu"; port = "{self.tty}"; baud = 115200; format = "8N1"; '
                f'timing = {{ response = "250ms"; holdoff = "20ms"; }}; dead = {{ probe_first = "200ms"; }}; }}, '
                f'{{ name = "motes"; protocol = "mqtt-sn"; port = "line:a"; prefix = "sn/"; share = 60; retry = "30s"; {line} }} );\n'
                f'devices = ( {nodes} {{ name = "one"; line = "a"; unit = 1; groups = {{ g = {{ every = "{self.every}"; '
                f'points = ( {{ name = "x"; at = "holding:0"; type = "int16"; }} ); }}; }}; }} );\n{conf}')

    def lines(self):
        return {n["name"]: n for n in self.ask("status")["lines"]}

    def node(self, unit):
        return next(n for n in self.lines()["motes"]["bus"]["nodes"] if n["unit"] == unit)


@pytest.fixture(scope="module")
def node_program(tmp_path_factory):
    return build_node(tmp_path_factory.mktemp("node"))


@pytest.fixture
def shared_pair(tmp_path, node_program):
    """The bus with everything on it; nodes: processes by unit, ports: of UDP in front of them."""
    things, bus = [], Bus()
    bus.attach("slaves", simulated(tmp_path, lambda x: things.append(x) or x, SLAVES))
    site = BusSite(tmp_path / "site", bus)
    site.ports = {u: mqttsn.free_port() for u in UNITS}
    site.nodes = {}
    for u in UNITS:
        site.nodes[u] = Process([node_program, bus.port(u), str(u), str(site.ports[u])], tmp_path / f"node{u}.log").start()
        things.append(site.nodes[u])
    site.start()
    for u in UNITS:
        wait_for(lambda u=u: site.node(u)["state"] == "online", 60, f"node {u}")
    yield site
    for thing in site.open:
        thing.close()
    assert site.stop() == 0, site.log()
    for thing in things:
        thing.kill()
        assert "ERROR: AddressSanitizer" not in thing.log() and "runtime error" not in thing.log(), thing.log()
    bus.close()
    assert "ERROR: AddressSanitizer" not in site.log() and "runtime error" not in site.log(), site.log()


def mote(site, unit, name):
    m = mqttsn.Mote(site.ports[unit], name, timeout=60)
    site.open.append(m)
    return m.connect()


def received(watcher, count):
    """So many messages, acknowledged."""
    got = []
    while len(got) < count:
        p = watcher.expect(raw.PUBLISH)
        if p.qos == 1:
            watcher.send(raw.ack(raw.PUBACK, p.pid))
        got.append((p.topic, p.payload))
    return got


def harmful(seed, who, lose, damage):
    """Loses and damages, of all that the named ends say, so many in a hundred."""
    chance = random.Random(seed)

    def harm(source, data):
        if source not in who:
            return data
        dice = chance.randrange(100)
        if dice < lose:
            return b""
        if dice < lose + damage:
            at = chance.randrange(len(data))
            return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1:]
        return data

    return harm


def test_motes_and_slaves_share_a_pair(shared_pair):
    s = shared_pair
    watcher = s.watcher("sn/#", qos=1)
    motes = [mote(s, u, f"m{u}") for u in UNITS]
    for m in motes:
        topic = m.register(f"up/{m.name}")
        m.subscribe(f"down/{m.name}", 2)
        for qos in (1, 2, 1):
            m.publish(topic, f"{m.name} {qos}".encode(), qos)
    want = [(f"sn/up/{m.name}", f"{m.name} {qos}".encode()) for m in motes for qos in (1, 2, 1)]
    assert received(watcher, len(want)) == want
    c = s.client("c")
    for m in motes:
        for i, qos in enumerate((1, 2)):
            c.send(raw.publish(f"sn/down/{m.name}", f"to {m.name} {qos}".encode(), 1, i + 1))
            c.expect(raw.PUBACK)
            m.take(f"to {m.name} {qos}")
    addresses = {m["id"]: m["address"] for m in s.motes().values()}
    assert addresses == {f"m{u}": f"line:a node {u:02x}" for u in UNITS}
    assert s.lines()["motes"]["bus"]["share"] <= 0.6


def test_readings_keep_their_rate(shared_pair):
    """While both motes publish as fast as they can, no poll of the slave's is left out."""
    s = shared_pair
    watcher = s.watcher("sn/#", qos=0)
    motes = [mote(s, u, f"m{u}") for u in UNITS]
    topics = [m.register(m.name) for m in motes]
    before = s.ask("status")["devices"][0]
    count = 0
    while s.ask("status")["devices"][0]["polls"] < before["polls"] + 25:
        for m, t in zip(motes, topics):
            m.publish(t, str(count).encode(), 1)
        count += 1
    after = s.ask("status")["devices"][0]
    assert after["timeouts"] == before["timeouts"] and after["overruns"] == before["overruns"], (before, after)
    assert [p for _, p in received(watcher, 2 * count)] == [str(i // 2).encode() for i in range(2 * count)]


def test_what_the_line_loses_and_damages_is_neither_lost_nor_doubled(shared_pair):
    """QoS 0, which nobody above repeats. What goes to the slave is left alone."""
    s = shared_pair
    watcher = s.watcher("sn/up/#", qos=0)
    motes = [mote(s, u, f"m{u}") for u in UNITS]
    topics = [m.register(f"up/{m.name}") for m in motes]
    for m in motes:
        m.subscribe(f"down/{m.name}", 0)
    c = s.client("c")
    spoil = harmful(7, (*UNITS, "gateway"), 5, 4)
    s.bus.harm = lambda source, data: spoil(source, data) if source in UNITS or data[0] in UNITS else data
    for i in range(25):
        for m, t in zip(motes, topics):
            m.publish(t, str(i).encode(), 0)
            c.send(raw.publish(f"sn/down/{m.name}", str(i).encode(), 0))
        if i % 5 == 4:  # what waits for one node has bounds
            wait_for(lambda: all(s.node(u)["waiting"] == 0 for u in UNITS), 120, "the nodes")
    got = received(watcher, 50)
    for m in motes:
        assert [int(p) for t, p in got if t.endswith(m.name)] == list(range(25))
        assert [int(m.receive("PUBLISH").text) for _ in range(25)] == list(range(25))
    s.bus.harm = lambda source, data: data
    nodes = [s.node(u) for u in UNITS]
    assert all(n["missed"] for n in nodes) and not any(n["dropped"] for n in nodes), nodes


def test_a_node_that_is_unplugged_is_dead_and_comes_back(shared_pair):
    s = shared_pair
    states = s.client("states")
    states.send(raw.subscribe(1, ("sluice/+/node20/state", 0), ("sluice/+/mote/m20/state", 0)))
    m = mqttsn.Mote(s.ports[20], "m20", timeout=60)
    s.open.append(m)
    m.connect(keepalive=3)

    def told(end, state):
        while True:
            p = states.read()  # what is retained may come before SUBACK
            assert p is not None
            if p.kind == raw.PUBLISH and p.topic.endswith(end) and json.loads(p.payload)["state"] == state:
                return json.loads(p.payload)

    told("mote/m20/state", "online")
    old = s.bus.ends[20]
    s.bus.unplug(20)
    assert told("node20/state", "dead")["reason"] == "no answer"
    told("mote/m20/state", "lost")
    assert s.node(21)["state"] == "online"
    with s.bus.lock:
        s.bus.ends[20] = old
    told("node20/state", "online")
    m.connect()
    told("mote/m20/state", "online")


def test_the_gateway_is_killed_and_started_again(shared_pair):
    """Both sides begin anew, and a session goes on."""
    s = shared_pair
    m = mqttsn.Mote(s.ports[20], "m20", timeout=60)
    s.open.append(m)
    m.connect(clean=False)
    topic = m.register("up")
    s.crash()
    watcher = s.watcher("sn/up", qos=1)
    wait_for(lambda: s.node(20)["state"] == "online", 60, "the node")
    m.publish(topic, b"still here", 1)
    assert received(watcher, 1) == [("sn/up", b"still here")]
    assert s.node(20)["restarts"] == 1


@pytest.mark.parametrize("change, message", [
    (('"line:a"', '"line:b"'), r'"line:b" names no line of protocol modbus-rtu'),
    (("unit = 21", "unit = 20"), "unit 20 is also that of device node20"),
    (("unit = 21", "unit = 1"), "unit 1 is also that of device one"),
    (("unit = 21;", "unit = 21; function = 80;"), "function 80 is not for users to define; choose one of 65 to 72 or 100 to 110"),
    (('port = "line:a"', 'port = "udp:127.0.0.1:10000"'), 'motes on line motes make themselves known; only those on a port "line:NAME"'),
    (('line = "motes"', 'line = "a"'), "line a speaks modbus-rtu and device node20 is mqtt-sn"),
])
def test_mistakes_are_told(tmp_path, change, message):
    bus = Bus()
    text = BusSite(tmp_path / "s", bus).text()
    bus.close()
    assert check(tmp_path, text)[0] == 0
    code, said = check(tmp_path, text.replace(*change, 1))
    assert code and message in said, said


def test_a_reload_of_either_line_does_no_harm(shared_pair):
    """The Modbus line begins anew while polls are under way, then the motes' line does, then both go."""
    s = shared_pair
    m = mote(s, 20, "m20")
    topic = m.register("up")
    text = s.conf_path.read_text()
    for change in (('every = "200ms"; points', 'every = "300ms"; points'), ("share = 60", "share = 50")):
        text = text.replace(*change)
        s.conf_path.write_text(text)
        s.ask("reload")
        wait_for(lambda: all(s.node(u)["state"] == "online" for u in UNITS), 60, "the nodes")
        polls = s.node(20)["polls"]
        wait_for(lambda polls=polls: s.node(20)["polls"] > polls + 3, 60, "polls")
    watcher = s.watcher("sn/up", qos=1)
    m.publish(topic, b"still here", 1)
    assert received(watcher, 1) == [("sn/up", b"still here")]
    alone = "\n".join(t for t in text.split("\n") if not t.startswith(("lines =", "devices =")))
    s.conf_path.write_text(alone)
    s.ask("reload")
    assert s.ask("status")["lines"] == []

# SPDX-License-Identifier: Apache-2.0
"""A whole site among software that is not ours: pymodbus slaves behind a paced line, mosquitto over mutual TLS as the
upstream, paho as a client."""
import json
import sys
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from daemon import Authority, Mosquitto, Process, Sluiced, free_port, wait_for
from relay import Relay

LIB = Path(__file__).resolve().parents[1] / "lib"
TYPES = {"i16": ("int16", 0, -1234), "u16": ("uint16", 1, 54321), "i32": ("int32", 2, -123456789),
         "u32": ("uint32", 4, 3123456789), "i64": ("int64", 6, -1234567890123),
         "u64": ("uint64", 10, 12345678901234567890), "f32": ("float32", 14, 21.5), "f64": ("float64", 16, 3.14159265358979)}


def points():
    rows = [f'{{ name = "{n}"; at = "holding:{at}"; type = "{kind}"; }}' for n, (kind, at, _) in TYPES.items()]
    rows.append('{ name = "swapped"; at = "holding:20"; type = "float32"; order = "CDAB"; }')
    rows.append('{ name = "scaled"; at = "input:0"; type = "int16"; scale = 0.1; }')
    return ",\n".join(rows)


def site_conf(port, upstream, ca, cert, key):
    return f"""
lines = ( {{ name = "rs485"; protocol = "modbus-rtu"; port = "{port}"; baud = 19200; format = "8N1"; }} );
devices = (
  {{ name = "ramp"; line = "rs485"; unit = 1; groups = {{
     regs = {{ every = "300ms"; points = ( {{ name = "a"; at = "holding:3"; type = "uint16"; }}, {{ name = "b"; at = "holding:4"; type = "uint16"; }},
                                         {{ name = "far"; at = "input:900"; type = "uint16"; }} ); }};
     bits = {{ every = "500ms"; points = ( {{ name = "c0"; at = "coil:0"; type = "bool"; }}, {{ name = "c1"; at = "coil:1"; type = "bool"; }},
                                         {{ name = "d3"; at = "discrete:3"; type = "bool"; }} ); }}; }}; }},
  {{ name = "typed"; line = "rs485"; unit = 2; groups = {{ all = {{ every = "400ms"; points = ( {points()} ); }}; }}; }},
  {{ name = "nobody"; line = "rs485"; unit = 9; groups = {{ all = {{ every = "1s"; points = ( {{ name = "x"; at = "holding:0"; type = "uint16"; }} ); }}; }}; }}
);
bridges = ( {{ name = "cloud"; url = "mqtts://localhost:{upstream}"; tls = {{ ca = "{ca}"; cert = "{cert}"; key = "{key}"; }};
  out = ( {{ match = "sluice/test/#"; qos = 1; }} ); keepalive = "5s"; backoff = {{ min = "100ms"; max = "500ms"; }}; }} );
"""


class Collector:
    def __init__(self, port):
        self.seen, self.state = {}, {}
        self.client = paho.Client("collector", clean_session=False)
        self.client.on_message = self.take
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("#", 1)
        self.client.loop_start()

    def take(self, client, userdata, message):
        if "/data/" in message.topic:
            self.seen.setdefault(message.topic, []).append(json.loads(message.payload))
        elif message.topic.endswith("/state"):
            self.state[message.topic] = json.loads(message.payload)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def line():
    relay = Relay(19200, 10)
    yield relay
    relay.close()


@pytest.fixture
def slave(tmp_path, line):
    p = Process([sys.executable, LIB / "slave.py", line.slave_port, 19200], tmp_path / "slave.log").start()
    time.sleep(1)
    assert p.running(), p.log()
    yield p
    p.kill()


def upstream_conf(port, ca):
    cert, key = ca.issue("localhost", stem="server")
    return f"""
listener {port} 127.0.0.1
cafile {ca.cert}
certfile {cert}
keyfile {key}
require_certificate true
allow_anonymous true
"""


def check_numbers(seen):
    for topic, readings in seen.items():
        n = list(dict.fromkeys(r["n"] for r in readings))  # QoS 1 may repeat
        for start in {x >> 32 for x in n}:
            mine = [x for x in n if x >> 32 == start]
            assert mine == list(range(mine[0], mine[0] + len(mine))), f"{topic}: lost or out of order: {mine}"


def test_site(tmp_path, line, slave):
    ca = Authority(tmp_path / "ca")
    cert, key = ca.issue("gateway")
    tls_port = free_port()
    upstream = Mosquitto(tmp_path / "up", upstream_conf(tls_port, ca), persistence=True).start()
    far = Collector(upstream.port)
    d = Sluiced(tmp_path / "site", site_conf(line.master_port, tls_port, ca.cert, cert, key)).start()
    root = "sluice/test/"

    def full():
        return all(len(far.seen.get(root + t, [])) >= 5 for t in ("ramp/data/regs", "ramp/data/bits", "typed/data/all"))

    wait_for(full, 40, "readings upstream")
    for r in far.seen[root + "ramp/data/regs"]:
        assert r["v"] == {"a": 21, "b": 28, "far": 6300}, r
    for r in far.seen[root + "ramp/data/bits"]:
        assert r["v"] == {"c0": True, "c1": False, "d3": True}, r
    want = {n: value for n, (_, _, value) in TYPES.items()} | {"swapped": 21.5, "scaled": -123.4}
    for r in far.seen[root + "typed/data/all"]:
        assert r["v"] == want, r
    wait_for(lambda: far.state.get(root + "nobody/state", {}).get("state") == "dead", 30, "the silent unit to be dead")
    assert all(r["q"] == {"x": "timeout"} and "v" not in r or not r["v"] for r in far.seen[root + "nobody/data/all"])
    assert far.state[root + "state"]["state"] == "online"
    # the upstream goes away and the site is killed meanwhile
    upstream.stop()
    time.sleep(1)
    d.kill()
    assert d.start()
    time.sleep(1)
    far.client.loop_stop()
    upstream.start()
    far.client.reconnect()
    far.client.subscribe("#", 1)
    far.client.loop_start()
    starts = lambda: {r["n"] >> 32 for r in far.seen[root + "ramp/data/regs"]}  # noqa: E731
    wait_for(lambda: starts() == {1, 2} and far.state[root + "state"]["state"] == "online", 30, "both starts upstream")
    time.sleep(2)
    assert d.stop() == 0, d.log()
    wait_for(lambda: far.state[root + "state"]["state"] == "offline", 10, "presence")
    check_numbers(far.seen)
    assert line.short_silences == 0
    far.close()
    upstream.stop()


def test_many_paho_clients(sluiced):
    got, lock = {}, threading.Lock()
    clients = []

    def take(c, userdata, m):
        with lock:
            got.setdefault(userdata, []).append(m.payload)

    for i in range(10):
        c = paho.Client(f"c{i}", userdata=i, protocol=paho.MQTTv5 if i % 2 else paho.MQTTv311)
        c.on_message = take
        c.connect("127.0.0.1", sluiced.port)
        c.subscribe(f"to/{i}/#", 2)
        c.loop_start()
        clients.append(c)
    time.sleep(1)
    infos = [clients[(i + 1) % 10].publish(f"to/{i}/x", b"%d" % n, qos=n % 3) for i in range(10) for n in range(50)]
    for info in infos:
        info.wait_for_publish(20)
    wait_for(lambda: all(len(got.get(i, [])) == 50 for i in range(10)), 20, "all messages")
    assert all(sorted(got[i], key=int) == [b"%d" % n for n in range(50)] for i in range(10))
    for c in clients:
        c.disconnect()
        c.loop_stop()

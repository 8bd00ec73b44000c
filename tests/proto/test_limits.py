# SPDX-License-Identifier: Apache-2.0
"""What bounds one listener: packets, connections, connections a second of an address, the time to CONNECT. What is refused
is counted by reason and told where MQTT can tell it; others go on."""
import json
import os
import socket
import subprocess
import time

import mqtt5
import pytest
from daemon import SLUICECTL, SLUICED, Authority, Sluiced, free_port, wait_for
from raw import CONNACK, PUBACK, Raw, client, connect, packet, publish
from ws import WebSocket


def daemon(folder, more="", rest=""):
    d = Sluiced(folder, listener="limited")
    d.configure(f'listeners = ( {{ bind = "127.0.0.1:{d.port}"; anonymous = true; {more} }} );\n{rest}')
    d.start()
    wait_for(lambda: listener(d)["clients"] == 0, what="the end of the probe whether it listens")
    return d


def listener(d, index=0):
    def ask():
        done = subprocess.run([SLUICECTL, "-c", d.conf_path, "--json", "status"], capture_output=True, text=True)
        return json.loads(done.stdout)["listeners"][index] if done.returncode == 0 else None

    return wait_for(ask, what="an answer of the control socket")


def refused(d, **by):
    """Waits for the counts."""
    def same():
        now = listener(d)
        return {name: now["refused_by"][name] for name in by} == by and now["refused"] == sum(now["refused_by"].values())

    wait_for(same, what=f"{by} refused; there is {listener(d)}")
    return True


def sockets(d):
    return len(os.listdir(f"/proc/{d.pid}/fd"))


def v1(address, port=1):
    return f"PROXY TCP{6 if ':' in address else 4} {address} {address} {port} 1883\r\n".encode()


def test_connections(tmp_path):
    d = daemon(tmp_path, "max_connections = 2;")
    two = [client(d.port, f"c{i}") for i in range(2)]
    assert Raw(d.port, connect("old")).expect(CONNACK).body == b"\0\3"
    answer = mqtt5.Client(d.port, mqtt5.connect("new")).expect(CONNACK)
    assert answer.reason == 0x97 and "connections" in answer.get(mqtt5.REASON)
    refused(d, connections=2, clients=0)
    assert "turned away: as many connections as this listener allows" in d.log()
    two[0].close()
    wait_for(lambda: Raw(d.port, connect("third")).read().body == b"\0\0", what="a free place")
    two[1].quiet()
    assert d.stop() == 0


def test_of_those_refused_not_all_stay_to_be_told(tmp_path):
    """They are bounded too, and do not take the places of others."""
    d = daemon(tmp_path, "max_connections = 1;")
    one = client(d.port, "one")
    before = sockets(d)
    waiting = [Raw(d.port) for _ in range(150)]
    refused(d, connections=150)
    assert listener(d)["clients"] == 1
    wait_for(lambda: sockets(d) <= before + 64, what="the end of those who are too many to be told")
    one.close()
    wait_for(lambda: Raw(d.port, connect("next")).read().body == b"\0\0", what="a free place")
    for w in waiting:
        w.close()
    assert d.stop() == 0


def test_connections_a_second(tmp_path):
    """A burst of the rate is taken, more is refused, and each address has its own."""
    d = daemon(tmp_path, 'connect_rate = 5; proxy = true; everybody = true;')
    burst = [Raw(d.port, v1("192.0.2.7", i) + connect(f"c{i}", level=5), v5=True) for i in range(8)]
    answers = [c.read() for c in burst]
    reasons = [a and a.body[1] for a in answers]
    assert reasons[:5] == [0] * 5 and 0x9f in reasons[5:], reasons
    other = Raw(d.port, v1("192.0.2.8") + connect("other"))
    assert other.expect(CONNACK).body == b"\0\0"
    # All of an IPv6 network of 64 bits are one.
    nets = [Raw(d.port, v1(f"2001:db8:0:1::{i}") + connect(f"n{i}")) for i in range(1, 9)]
    assert sum(bool(a and a.body == b"\0\0") for a in [c.read() for c in nets]) in (5, 6)
    assert Raw(d.port, v1("2001:db8:0:2::1") + connect("n")).expect(CONNACK).body == b"\0\0"
    # Once a second has gone, again.
    def again():
        answer = Raw(d.port, v1("192.0.2.7") + connect("again")).read()
        return answer and answer.body == b"\0\0"
    wait_for(again, what="the rate to allow more")
    counted = listener(d)["refused_by"]
    assert counted["rate"] >= 4 and counted["connections"] == 0
    assert "more connections a second from this address" in d.log()
    other.quiet()
    assert d.stop() == 0


def test_rate_without_proxy(tmp_path):
    d = daemon(tmp_path, "connect_rate = 2;")
    wait_for(lambda: listener(d)["refused_by"]["rate"] > 0 or Raw(d.port).close(), what="a refusal")
    d.configure(f'listeners = ( {{ bind = "127.0.0.1:{d.port}"; anonymous = true; }} );\n')
    d.reload()
    wait_for(lambda: client_or_none(d.port), what="the reload")
    before = listener(d)["refused"]
    for i in range(30):
        client(d.port, f"many{i}")
    assert listener(d)["refused"] == before
    assert d.stop() == 0


def client_or_none(port):
    answer = Raw(port, connect("probe")).read()
    return answer and answer.body == b"\0\0"


def test_a_flood_of_addresses_is_remembered_in_bounds(tmp_path):
    d = daemon(tmp_path, 'connect_rate = 1; proxy = true; everybody = true;')
    def flood(net):
        for i in range(5000):
            c = Raw(d.port, v1(f"10.{net}.{i >> 8}.{i & 255}"))
            c.close()
    flood(1)
    before = d.memory_kb("VmRSS")
    flood(2)
    flood(3)
    if not os.environ.get("SLUICE_VARIANT"):  # sanitizers keep what was freed
        assert d.memory_kb("VmRSS") - before < 2000
    assert d.stop() == 0


def test_largest_packet(tmp_path):
    """Of the listener, not of others; told in CONNACK and with DISCONNECT 0x95."""
    d = Sluiced(tmp_path, listener="two")
    wide = free_port()
    d.configure(f'listeners = ( {{ bind = "127.0.0.1:{d.port}"; anonymous = true; max_packet = "2k"; }},\n'
                f'  {{ bind = "127.0.0.1:{wide}"; anonymous = true; }} );\nlimits = {{ packet = "64k"; }};\n')
    d.start()
    c = mqtt5.client(d.port, "narrow")
    assert c.connack.get(mqtt5.MAXIMUM_PACKET) == 2048
    assert mqtt5.client(wide, "wide").connack.get(mqtt5.MAXIMUM_PACKET) == 65536
    old = client(d.port, "old")
    old.send(publish("t", bytes(2048 - 3 - 3), qos=0))
    old.quiet()
    old.send(publish("t", bytes(2048)))
    assert old.closed()
    c.send(publish("t", bytes(2048), props=b""))
    c.refused(0x95)
    w = client(wide, "w")
    w.send(publish("t", bytes(60000), qos=1, pid=1))
    w.expect(PUBACK)
    refused(d, packet=2)
    assert listener(d, 1)["refused"] == 0
    assert d.stop() == 0


def test_time_to_connect(tmp_path):
    """Counts from the accept, whatever a handshake does meanwhile."""
    ca = Authority(tmp_path)
    cert, key = ca.issue("gw")
    ports = [free_port() for _ in range(3)]
    d = Sluiced(tmp_path / "d", listener="four")
    more = ["", 'proxy = true; everybody = true;', 'protocol = "http";', f'tls = {{ cert = "{cert}"; key = "{key}"; }};']
    rows = ",\n".join(f'{{ bind = "127.0.0.1:{p}"; anonymous = true; connect_timeout = "1s"; {m} }}'
                      for p, m in zip([d.port, *ports], more))
    d.configure(f"listeners = ( {rows} );\n")
    d.start()
    begun = time.monotonic()
    silent = [Raw(p) for p in (d.port, *ports)]
    silent[1].sock.sendall(b"PROXY TCP4 ")
    silent[2].sock.sendall(b"GET /mqtt HTTP/1.1\r\n")
    opened = WebSocket(ports[1])  # and then no CONNECT
    for c in (*silent, Raw(ports[1], sock=opened)):
        assert c.closed()
    assert time.monotonic() - begun < 9, "not the ten seconds that are the default"
    assert d.log().count("closed: no CONNECT") == 5
    for i in range(4):
        assert listener(d, i)["refused_by"]["connect_timeout"] == (2 if i == 2 else 1)
    assert d.stop() == 0


def test_handshakes_that_fail_are_counted(tmp_path):
    ca = Authority(tmp_path)
    cert, key = ca.issue("gw")
    d = daemon(tmp_path / "d", f'tls = {{ cert = "{cert}"; key = "{key}"; }};')
    before = listener(d)["refused_by"]["handshake"]
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", d.port), 10) as s:
            s.sendall(connect())
            s.settimeout(10)
            while s.recv(100):
                pass
    refused(d, handshake=before + 3)
    assert "TLS handshake: the peer does not speak TLS" in d.log()
    assert d.stop() == 0


def test_the_log_does_not_flood(tmp_path):
    d = daemon(tmp_path, "max_connections = 1;")
    one = client(d.port, "one")
    for _ in range(300):
        Raw(d.port).close()
    refused(d, connections=300)
    assert d.log().count("turned away") < 100
    one.quiet()
    assert d.stop() == 0


@pytest.mark.parametrize("setting,words", [
    ('max_packet = "100";', "max_packet"), ("max_connections = 0;", "max_connections"), ("connect_rate = 2000;", "connect_rate"),
    ('connect_timeout = "10ms";', "connect_timeout")])
def test_configuration(tmp_path, setting, words):
    d = Sluiced(tmp_path, listener=False)
    d.configure('listeners = ( { bind = "127.0.0.1:1"; anonymous = true;\n' + setting + " } );\n")
    out = subprocess.run([SLUICED, "--check", d.conf_path], capture_output=True, text=True)
    assert out.returncode != 0 and "sluice.conf:4: " in out.stdout + out.stderr and words in out.stdout + out.stderr


def test_who_is_refused_may_not_do_more(tmp_path):
    """After the CONNACK that refuses nothing is read."""
    d = daemon(tmp_path, "max_connections = 1;")
    one = client(d.port, "one")
    c = Raw(d.port, connect("two") + publish("t", b"x", qos=1, pid=1) + packet(12))
    assert c.expect(CONNACK).body[1] == 3 and c.closed()
    one.quiet()
    assert d.stop() == 0

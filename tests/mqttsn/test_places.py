# SPDX-License-Identifier: Apache-2.0
"""Where motes are and who they may be: forwarders, IPv6, multicast, bindings, rules, presence."""
import json
import socket
import struct

import mqttsn
import pytest
import raw
from mqttsn import INVALID_TOPIC_ID, NOT_SUPPORTED, PREDEFINED, wrap
from test_flows import publish_qos, received

# ---- forwarders (§5.5)


def test_forwarder(site):
    """The answer goes back the same way, and two nodes behind one forwarder are two motes."""
    s = site()
    one, two = s.mote("one", node=b"\x0a\x0b").connect(), s.mote("two", node=b"\x0a\x0c")
    two.socket = one.socket
    two.connect()
    one.subscribe("a", qos=1)
    publish_qos(s.client(), "a", b"1", 1)
    one.take("1")
    two.publish(two.register("x"), qos=1)
    assert s.motes()["one"]["address"].endswith("node 0a0b")
    plain = s.mote("three")
    plain.socket.close()
    plain.socket = one.socket
    plain.connect()  # the forwarder itself is another one
    assert set(s.motes()) == {"one", "two", "three"}


def test_node_moves(site):
    s = site()
    m = s.mote("m", node=b"\x01").connect(clean=False)
    m.subscribe("a", qos=1)
    m.disconnect(60)
    publish_qos(s.client(), "a", b"1", 1)
    m.move()
    m.node = b"\x02\x03"
    assert [p.text for p in m.wake()] == [b"1"]


@pytest.mark.parametrize("packet", ["03fe00", "02fe", "09fe000a0216", "04fe000a04fe000b0216", "04fe000a010006fe000b",
                                    "27fe00" + "aa" * 36 + "0216"])
def test_bad_envelopes(site, packet):
    s = site()
    m = s.mote()
    m.raw(bytes.fromhex(packet))
    m.silent(0.2)
    assert s.line()["malformed"] == 1


# ---- addresses

def test_ipv6(site):
    s = site(address="[::1]")
    m = s.mote(host="::1").connect()
    m.publish(m.register("a"), qos=1)
    assert s.motes()["mote"]["address"].startswith("[::1]:")


def test_both_families(site):
    s = site(address="[::]", prefix="")
    s.mote("six", host="::1").connect()
    s.mote("four").connect()
    assert s.motes()["four"]["address"].startswith("127.0.0.1:")


def listen_to_group(group, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((group, port))
    lo = struct.pack("=4s4si", socket.inet_aton(group), b"\0" * 4, socket.if_nametoindex("lo"))
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, lo)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, lo)
    s.settimeout(20)
    return s


def test_multicast(site):
    """ADVERTISE on its own timer, SEARCHGW in the group answered to who asked and to all."""
    group = "225.77.1.9"
    s = site(f'multicast = "{group}"; interface = "lo"; advertise = "1s"; gateway_id = 9;')
    with listen_to_group(group, s.sn) as heard, listen_to_group(group, s.sn) as asking:
        first = mqttsn.decode(heard.recv(100))
        assert (first.name, first.gw, first.duration) == ("ADVERTISE", 9, 1)
        m = s.mote()
        m.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF,
                            struct.pack("=4s4si", socket.inet_aton(group), b"\0" * 4, socket.if_nametoindex("lo")))
        m.socket.sendto(mqttsn.encode("SEARCHGW", radius=1), (group, s.sn))
        assert m.receive("GWINFO").gw == 9
        names = []
        while "GWINFO" not in names or names.count("ADVERTISE") < 2:
            names.append(mqttsn.decode(heard.recv(100)).name)
        asking.sendto(mqttsn.encode("CONNECT", protocol=1, text="x"), (group, s.sn))  # nobody connects to all
        m.connect()
        assert list(s.motes()) == ["mote"]


# ---- who may be there

def test_allow(site):
    s = site('allow = ( { id = "pump-*"; source = "127.0.0.0/8"; }, { id = "far-?"; source = "10.0.0.0/8"; }, '
             '{ id = "node-*"; node = "0a0b"; } );')
    s.mote("pump-7").connect()
    s.mote("pump").connect(code=NOT_SUPPORTED)
    s.mote("far-1").connect(code=NOT_SUPPORTED)
    s.mote("node-1").connect(code=NOT_SUPPORTED)
    s.mote("node-1", node=b"\x0a\x0c").connect(code=NOT_SUPPORTED)
    m = s.mote("node-1", node=b"\x0a\x0b").connect(clean=False)
    m.disconnect(60)
    m.node = b"\x0a\x0c"
    m.send("PINGREQ", text="node-1")  # it cannot move where it may not be
    m.receive("DISCONNECT")


ACL = ('acl = ( { user = "field"; allow = "write"; topic = "up/%c/#"; }, { user = "field"; allow = "read"; topic = "down/#"; }, '
       '{ client = "watcher"; allow = "all"; topic = "#"; }, { client = "client"; allow = "all"; topic = "#"; } );')


def test_rules(site):
    s = site('user = "field"; retry = "1s";', ACL)
    seen = s.watcher("#")
    m = s.mote("m1")
    m.send("CONNECT", flags=mqttsn.WILL | mqttsn.CLEAN, protocol=1, duration=60, text="m1")
    m.receive("WILLTOPICREQ")
    m.send("WILLTOPIC", flags=0, text="down/x")
    m.receive("WILLMSGREQ")
    assert m.ask("WILLMSG", "CONNACK", text="no").code == NOT_SUPPORTED
    m.connect(will=("up/m1/will", "yes"))
    m.publish(m.register("up/m1/a"), b"1", qos=1)
    m.publish(m.register("up/m2/a"), b"2", qos=1, code=NOT_SUPPORTED)
    m.publish(m.register("up/m2/b"), b"3", qos=2, code=NOT_SUPPORTED)
    m.subscribe("down/a", qos=1)
    m.subscribe("up/#", code=NOT_SUPPORTED)
    assert m.ask("WILLTOPICUPD", "WILLTOPICRESP", text="down/x").code == NOT_SUPPORTED
    topics = [received(seen).topic for _ in range(2)]
    assert sorted(topics) == ["sluice/test/mote/m1/state", "up/m1/a"]


def test_rules_of_minus_one(site):
    s = site('qos_minus_one = true; predefined = ( { id = 1; topic = "open/a"; }, { id = 2; topic = "shut/a"; } );',
             'acl = ( { allow = "write"; topic = "open/#"; }, { client = "watcher"; allow = "all"; topic = "#"; } );')
    seen = s.watcher("#")
    m = s.mote()
    m.publish(2, b"no", qos=-1, kind=PREDEFINED)
    m.publish(1, b"yes", qos=-1, kind=PREDEFINED)
    assert received(seen).payload == b"yes"
    assert s.line()["minus_one_refused"] == 1


def test_rules_that_change(site):
    s = site('user = "field";', ACL)
    m, c = s.mote("m1").connect(), s.client()
    topic = m.register("up/m1/a")
    m.publish(topic, qos=1)
    m.subscribe("down/a", qos=1)
    s.configure(s.text('user = "field";', ACL.replace('"down/#"', '"else/#"').replace("up/%c", "up2/%c")))
    s.ask("reload")
    m.publish(topic, qos=1, code=NOT_SUPPORTED)
    publish_qos(c, "down/a", b"1", 1)
    m.silent(0.3)


def test_predefined_topics_change(site):
    """A line that is configured anew keeps its motes, clean or not, and their ids."""
    s = site()
    a, b = s.mote("a").connect(clean=True), s.mote("b").connect(clean=False)
    ids = [m.register(f"t/{m.name}") for m in (a, b)]
    b.disconnect(60)
    a.publish(7, qos=1, kind=PREDEFINED, code=INVALID_TOPIC_ID)
    s.configure(s.text('predefined = ( { id = 7; topic = "yard/level"; } );'))
    s.ask("reload")
    a.publish(7, qos=1, kind=PREDEFINED)
    a.publish(ids[0], qos=1)
    b.publish(ids[1], qos=1)
    assert b.wake() == []


def test_offers(site):
    s = site(conf="mqtt = { wildcards = false; shared = false; qos = 1; };")
    m = s.mote().connect()
    m.subscribe("a/#", code=NOT_SUPPORTED)
    m.subscribe("$share/g/a", code=NOT_SUPPORTED)
    assert m.subscribe("a", qos=2).qos == 1
    m.publish(m.register("a"), qos=2, code=NOT_SUPPORTED)


def test_line_that_does_not_come_back(site):
    """Its motes are as good as lost: a while later their wills are published."""
    s = site()
    seen = s.watcher("w/#")
    s.mote("a").connect(clean=True, will=("w/a", "gone"))
    s.mote("b").connect(clean=False, will=("w/b", "gone"))
    s.configure("")
    s.ask("reload")
    seen.sock.settimeout(120)
    assert {received(seen).topic, received(seen).topic} == {"w/a", "w/b"}


def test_presence(site):
    s = site()
    seen = s.watcher("sluice/test/mote/+/state")

    def state():
        p = received(seen)
        return p.topic.split("/")[3], json.loads(p.payload)["state"]

    m = s.mote("a/b é").connect(keepalive=1)
    assert state() == ("a%2Fb%20%C3%A9", "online")
    m.disconnect(60)
    assert state()[1] == "asleep"
    m.connect(keepalive=1)
    assert state()[1] == "online"
    assert state()[1] == "lost"
    m.connect()
    assert state()[1] == "online"
    m.disconnect()
    assert state()[1] == "offline"


def test_commands_for_people(site):
    import subprocess
    from daemon import SLUICECTL
    s = site()
    m = s.mote("pump-1").connect(clean=False)
    m.register("a")
    out = subprocess.run([SLUICECTL, "-c", s.conf_path, "motes"], capture_output=True, text=True, timeout=30).stdout
    row = next(line for line in out.splitlines() if "pump-1" in line).split()
    assert row[1:3] == ["radio", "online"] and row[-1].startswith("127.0.0.1:")
    m.disconnect()
    out = subprocess.run([SLUICECTL, "-c", s.conf_path, "motes"], capture_output=True, text=True, timeout=30).stdout
    assert "no mote" in out


def test_trace(site):
    """sluicectl trace tells packets in words, of all or of one."""
    import subprocess
    from daemon import SLUICECTL
    s = site('predefined = ( { id = 7; topic = "yard/level"; } );')
    a, b = s.mote("pump-1", node=b"\x07").connect(), s.mote("pump-2").connect()
    topic = a.register("a/b")
    watching = [subprocess.Popen([SLUICECTL, "-c", s.conf_path, "-j", "trace", "radio", *more], stdout=subprocess.PIPE, text=True)
                for more in (["--count", "7"], ["--device", "pump-1", "--count", "5"])]
    heads = [json.loads(p.stdout.readline()) for p in watching]
    assert set(heads[0]["units"]) == {"pump-1", "pump-2"}
    b.ask("PINGREQ", "PINGRESP")
    a.publish(topic, b"1234", qos=1)
    a.publish(7, b"12", qos=1, kind=PREDEFINED)
    a.raw(b"\x05\x16\x00")
    frames = [[json.loads(line) for line in p.communicate(timeout=60)[0].splitlines()] for p in watching]
    assert [f["text"] for f in frames[0][:2]] == ["PINGREQ", "PINGRESP"]
    assert [(f["kind"], f.get("device"), f["text"]) for f in frames[1]] == [
        ("in", "pump-1", f"PUBLISH QoS 1 topic {topic} (a/b) id 2 4 bytes"), ("out", "pump-1", f"PUBACK topic {topic} (a/b) id 2 accepted"),
        ("in", "pump-1", "PUBLISH QoS 1 topic predefined 7 (yard/level) id 3 2 bytes"), ("out", "pump-1", "PUBACK topic 7 id 3 accepted"),
        ("in", "pump-1", "no whole message")]


@pytest.mark.parametrize("line,words", [
    ('port = "udp:nowhere:1";', "write udp:ADDRESS:PORT"),
    ('port = "udp:127.0.0.1";', "write udp:ADDRESS:PORT"),
    ('port = "pigeon:1";', "motes cannot be reached"),
    ('port = "udp:127.0.0.1:1"; multicast = "10.0.0.1";', "no multicast group"),
    ('port = "udp:127.0.0.1:1"; prefix = "a/#";', "cannot begin topics"),
    ('port = "udp:127.0.0.1:1"; prefix = "a";', "slash at the end"),
    ('port = "udp:0.0.0.0:1"; prefix = "";', "anonymous = true"),
    ('port = "udp:127.0.0.1:1"; predefined = ( { id = 1; topic = "a/+"; } );', "is no topic"),
    ('port = "udp:127.0.0.1:1"; predefined = ( { id = 1; topic = "a"; }, { id = 1; topic = "b"; } );', "twice"),
    ('port = "udp:127.0.0.1:1"; allow = ( { source = "here"; } );', "no network"),
    ('port = "udp:127.0.0.1:1"; allow = ( { node = "0g"; } );', "in hex"),
])
def test_bad_configuration(tmp_path, line, words):
    import subprocess
    from daemon import SLUICED
    path = tmp_path / "x.conf"
    path.write_text(f'site = "t";\nstate_dir = "{tmp_path}";\nlines = (\n{{ name = "radio"; protocol = "mqtt-sn"; {line} }} );\n')
    done = subprocess.run([SLUICED, "--check", path], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and words in done.stderr and f"{path}:4:" in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr

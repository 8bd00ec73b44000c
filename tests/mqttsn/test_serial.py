# SPDX-License-Identifier: Apache-2.0
"""MQTT-SN on serial lines (docs/serial-motes.md): framings, several motes behind one line, garbage, lines that vanish, the pace of
the wire; with a client that is not ours, with the simulated motes as judges, and with tshark's dissector."""
import collections
import os
import re
import signal
import subprocess

import pytest
import raw
from daemon import SIM, SLUICED, wait_for
from mqttsn import NOT_SUPPORTED, encode
from relay import Relay
from sn_site import Site
from sn_tty import TtyMote, Wire
from test_flows import received

FRAMINGS = ["plain", "slip-crc", "xbee", "xbee-escaped"]
RADIO = 0x0013A20040520000
NODES = {"plain": 0, "slip-crc": 5, "xbee": RADIO + 0x117E, "xbee-escaped": RADIO + 0x117E}


class SerialSite(Site):
    def __init__(self, folder, framing, line="", conf="", tty=None, baud=115200):
        folder.mkdir(parents=True, exist_ok=True)
        self.tty, self.framing, self.baud = tty or folder / "tty", framing, baud
        super().__init__(folder, line, conf)

    def text(self, line="", conf=""):
        return (f'lines = ( {{ name = "motes"; protocol = "mqtt-sn"; port = "{self.tty}"; framing = "{self.framing}"; '
                f'baud = {self.baud}; prefix = "sn/"; {line} }} );\n{conf}')

    def serial(self):
        return self.line()["serial"]


@pytest.fixture
def ending():
    """ending(x) gives x back and ends it after the test."""
    things = []
    yield lambda x: things.append(x) or x
    for x in reversed(things):
        x.close() if hasattr(x, "close") else x.kill()


@pytest.fixture
def serial(tmp_path):
    """serial(framing, …): a wire and a site on it."""
    made = []

    def start(framing, wire=True, **more):
        s = SerialSite(tmp_path / str(len(made)), framing, **more)
        s.wire = Wire(s.tty, framing) if wire else None
        made.append(s.start())
        if wire:
            wait_for(lambda: s.line()["state"] == "open", what="the line")
        return s

    yield start
    for s in made:
        for thing in s.open:
            thing.close()
        if s.running():
            assert s.stop() == 0, s.log()
        if s.wire:
            s.wire.close()
        assert "ERROR: AddressSanitizer" not in s.log() and "runtime error" not in s.log(), s.log()


def publish(client, topic, data, qos=1):
    client.send(raw.publish(topic, data, qos, 9 if qos else None))
    if qos:
        client.expect(raw.PUBACK if qos == 1 else raw.PUBREC)
    if qos == 2:
        client.send(raw.ack(raw.PUBREL, 9))
        client.expect(raw.PUBCOMP)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_both_ways(serial, framing):
    """Octets that framings know, and lengths up to max_packet."""
    s = serial(framing)
    watcher, c = s.watcher("sn/up"), s.client("c")
    m = TtyMote(s.wire, "a", NODES[framing]).connect(will=("gone", "x"))
    topic = m.register("up")
    m.subscribe("down", 2)
    for qos in (0, 1, 2):
        for data in (b"\xc0\xdb\x7e\x7d\x11\x13\xdc\xdd", bytes(range(240)), b""):
            m.publish(topic, data, qos)
            p = received(watcher)
            assert (p.topic, p.payload, p.qos) == ("sn/up", data, qos)
            publish(c, "sn/down", data, qos)
            assert m.take(data).qos == qos
    m.disconnect()
    state = s.serial()
    assert state["framing"] == framing and state["octets_in"] > 0 < state["octets_out"]
    assert state["skipped"] == state["bad_sums"] == state["gaps"] == state["too_long"] == 0


@pytest.mark.parametrize("framing", FRAMINGS[1:])
def test_many_motes_behind_one_line(serial, framing):
    s = serial(framing)
    watcher = s.watcher("sn/#")
    base = 0 if framing == "slip-crc" else RADIO
    motes = [TtyMote(s.wire, f"m{i}", base + 1 + i).connect() for i in range(20)]
    topics = [m.register(f"t/{m.name}") for m in motes]
    for m in motes:
        m.subscribe("all", 1)
    for i in (3, 19, 0, 7):
        motes[i].publish(topics[i], motes[i].name.encode(), 1)
        p = received(watcher)
        assert (p.topic, p.payload.decode()) == (f"sn/t/m{i}", f"m{i}")
    publish(s.client("c"), "sn/all", b"hello")
    for m in motes:
        m.take("hello")
    addresses = {m["id"]: m["address"] for m in s.motes().values()}
    width = 4 if framing == "slip-crc" else 16
    assert all(addresses[m.name].endswith(f"node {m.number:0{width}x}") for m in motes)


def test_a_node_has_the_ids_that_it_is_allowed(serial):
    s = serial("slip-crc", line='allow = ( { id = "pump"; node = "0005"; }, { id = "valve"; node = "0006"; } );')
    TtyMote(s.wire, "pump", 5).connect()
    TtyMote(s.wire, "pump", 6).connect(code=NOT_SUPPORTED)
    TtyMote(s.wire, "valve", 6).connect()


def test_a_mote_moves_to_another_node(serial):
    """It is the same session, and the old node is told nothing."""
    s = serial("slip-crc")
    m = TtyMote(s.wire, "mover", 5).connect(clean=False)
    topic = m.register("t")
    m.subscribe("down", 1)
    m.disconnect(duration=60)
    again = TtyMote(s.wire, "mover", 9)
    publish(s.client(), "sn/down", b"for you")
    again.send("PINGREQ", text="mover")
    again.take("for you")
    again.receive("PINGRESP")
    again.connect(clean=False)
    again.publish(topic, b"x", 1)
    m.silent()


@pytest.mark.parametrize("garbage", [b"\0", b"\xff", b"\xff\xff\xff", b"\x30", b"\x55" * 20, b"\x01", b"\x7e\x00\x20", b"\xc0", bytes(range(7, 200))])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_garbage_glued_to_a_packet_costs_garbage_alone(serial, framing, garbage):
    s = serial(framing)
    m = TtyMote(s.wire, "g", NODES[framing]).connect()
    topic = m.register("t")
    watcher = s.watcher("sn/#")
    packet = encode("PUBLISH", flags=0x20, topic=topic, id=77, text=b"whole")
    s.wire.put(garbage + s.wire.framing.up(m.number, packet))
    answer = m.receive("PUBACK")
    assert (answer.id, answer.code) == (77, 0)
    assert received(watcher).payload == b"whole"
    s.wire.put(garbage)
    m.ask("PINGREQ", "PINGRESP")
    assert s.serial()["skipped"] >= len(garbage) - 1 or framing == "slip-crc"


def test_flipped_bits_never_become_values(serial):
    """Each bit of a frame: not one of the damaged ones is believed, and each is counted."""
    s = serial("slip-crc")
    m = TtyMote(s.wire, "f", 5).connect()
    topic = m.register("t")
    watcher = s.watcher("sn/#")
    frame = s.wire.framing.up(5, encode("PUBLISH", flags=0x20, topic=topic, id=78, text=b"21.5"))
    for bit in range(8, 8 * len(frame) - 8):
        bad = bytearray(frame)
        bad[bit // 8] ^= 1 << bit % 8
        s.wire.put(bytes(bad))
    m.publish(topic, b"end", 1)
    assert received(watcher).payload == b"end"
    assert s.serial()["bad_sums"] >= 8 * len(frame) - 16
    m.silent()


@pytest.mark.parametrize("framing", FRAMINGS)
def test_what_a_radio_or_a_line_cuts_off_is_told_apart(serial, framing):
    """A packet in pieces with silences shorter than the gap is whole; one that is cut off is dropped."""
    s = serial(framing, line='gap = "3s";' if framing != "slip-crc" else "")
    m = TtyMote(s.wire, "p", NODES[framing]).connect()
    topic = m.register("t")
    frame = s.wire.framing.up(m.number, encode("PUBLISH", flags=0x20, topic=topic, id=80, text=b"in pieces"))
    for octet in frame:
        s.wire.put(bytes([octet]))
    m.receive("PUBACK")
    s.wire.put(frame[:-3])
    if framing != "slip-crc":
        wait_for(lambda: s.serial()["gaps"] == 1)
    s.wire.put(frame)
    m.receive("PUBACK")
    assert len(frame) - 10 <= s.serial()["skipped"] <= len(frame)  # without its escapes
    m.silent()


@pytest.mark.parametrize("framing", ["plain", "slip-crc"])
def test_a_line_that_vanishes_comes_back(serial, framing):
    """The adapter is pulled out and another is put in: what was waiting arrives, the mote goes on with its ids."""
    s = serial(framing)
    m = TtyMote(s.wire, "u", NODES[framing]).connect(clean=False)
    topic = m.register("t")
    m.subscribe("down", 1)
    watcher = s.watcher("sn/t")
    s.wire.close()
    os.unlink(s.tty)
    wait_for(lambda: s.line()["state"] == "down")
    publish(s.client("c"), "sn/down", b"while away")
    s.wire = Wire(s.tty, framing)
    m.on(s.wire)
    wait_for(lambda: s.line()["state"] == "open", 30)
    m.take("while away")
    m.publish(topic, b"back", 1)
    assert received(watcher).payload == b"back"
    assert s.serial()["openings"] == 2 and s.log().count("was lost") == 1


@pytest.mark.parametrize("framing", FRAMINGS)
def test_kill_9_is_not_noticed(serial, framing):
    """The mote behind the line goes on with its id, and gets what was not acknowledged again."""
    s = serial(framing)
    m = TtyMote(s.wire, "k", NODES[framing]).connect(clean=False)
    topic = m.register("t")
    m.subscribe("down", 1)
    publish(s.client("c"), "sn/down", b"not acknowledged")
    first = m.receive("PUBLISH")
    s.crash()
    wait_for(lambda: s.line()["state"] == "open")
    watcher = s.watcher("sn/t")
    m.send("PUBLISH", flags=0x20, topic=topic, id=500, text=b"still here")
    seen = [m.receive(), m.receive()]
    ack = next(p for p in seen if p.name == "PUBACK")
    again = next(p for p in seen if p.name == "PUBLISH")
    assert (ack.id, ack.code) == (500, 0) and received(watcher).payload == b"still here"
    assert again.dup and (again.id, again.topic, again.text) == (first.id, first.topic, first.text)
    m.send("PUBACK", topic=again.topic, id=again.id)
    m.ask("PINGREQ", "PINGRESP")


def test_a_line_that_is_not_there_yet(serial):
    s = serial("plain", wire=False)
    assert s.line()["state"] == "down" and f"{s.tty}: No such file or directory; trying again until it is there" in s.log()
    s.wire = Wire(s.tty, "plain")
    wait_for(lambda: s.line()["state"] == "open", 30)
    TtyMote(s.wire, "late").connect()


@pytest.mark.parametrize("baud", [9600, 115200])
@pytest.mark.parametrize("framing", ["plain", "slip-crc"])
def test_at_the_pace_of_a_wire(serial, ending, tmp_path, framing, baud):
    """A relay that carries octets when a wire would."""
    relay = ending(Relay(baud, 10))
    os.symlink(relay.master_port, tmp_path / "relayed")
    s = serial(framing, wire=False, tty=tmp_path / "relayed", baud=baud, line='gap = "5s";')  # the relay may have to wait for a processor
    wire = ending(Wire(None, framing, port=relay.slave_port))
    wait_for(lambda: s.line()["state"] == "open")
    watcher = s.watcher("sn/t")
    m = TtyMote(wire, "r", NODES[framing]).connect()
    topic = m.register("t")
    m.subscribe("down", 1)
    for i in range(10):
        m.publish(topic, b"%d" % i, 1)
        assert received(watcher).payload == b"%d" % i
    c = s.client("c")
    for i in range(5):
        publish(c, "sn/down", b"%d" % i)
    for i in range(5):
        m.take(b"%d" % i)
    assert s.serial()["skipped"] == 0 and not m.wire.framing.down(b"")[1]


@pytest.mark.parametrize("baud, line, seconds", [(115200, "", 2), (9600, "", 3), (300, "", 36), (300, 'retry = "10s";', 36),
                                                 (9600, 'retry = "20s";', 20), (9600, 'max_packet = 4000;', 18)])
def test_repeats_wait_for_the_wire(serial, baud, line, seconds):
    """8N1: a packet of 255 octets, with what is around it, takes 8.7 s at 300 baud."""
    assert serial("slip-crc", baud=baud, line=line).line()["retry"] == seconds


def test_a_tty_that_takes_nothing_holds_nobody_up(serial):
    """Nobody reads the far end: the daemon serves others, gives the tty no more than it takes, and goes on when it does."""
    s = serial("plain", line="max_packet = 4000;", baud=4000000)
    watcher = s.watcher("other")
    m = TtyMote(s.wire, "slow").connect()
    m.subscribe("down", 0)
    s.wire.pause()
    c = s.client("c")
    same, stuck = 0, 0
    while same < 30:  # until the tty takes no more
        publish(c, "sn/down", b"x" * 3000, 0)
        publish(c, "other", b"%d" % same)
        assert received(watcher).payload == b"%d" % same
        before, stuck = stuck, s.serial()["octets_out"]
        same = same + 1 if before == stuck else 0
    assert stuck < 1 << 20
    s.wire.resume()
    wait_for(lambda: s.serial()["octets_out"] > stuck)
    m.ask("PINGREQ", "PUBLISH")
    while len(message := m.bytes()) == 3009:
        pass
    assert message == encode("PINGRESP")


def test_another_speed_and_framing_at_a_reload(serial):
    s = serial("plain")
    TtyMote(s.wire, "a").connect()
    s.wire.close()
    s.wire = Wire(s.tty, "slip-crc")
    s.framing, s.baud = "slip-crc", 9600
    s.configure(s.text())
    s.reload()
    wait_for(lambda: s.line()["state"] == "open" and s.serial()["framing"] == "slip-crc")
    assert s.serial()["baud"] == 9600
    TtyMote(s.wire, "a", 3).connect()


class Judge:
    """The simulated motes behind a line."""

    def __init__(self, folder, tty, text):
        folder.mkdir(exist_ok=True)
        self.log = folder / "motes.csv"
        (folder / "motes.conf").write_text(text)
        self.process = subprocess.Popen([SIM, "motes", folder / "motes.conf", "--link", tty, "--log", self.log],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout.readline()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        _, text = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, text
        rows = [line.split(",") for line in self.log.read_text().splitlines()[1:]]
        self.acknowledged = {(r[2], int(r[3])) for r in rows if r[1] == "acknowledged"}
        return {line.split(":")[0]: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", line)} for line in text.splitlines()}

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.mark.parametrize("framing, count, baud, noise", [("plain", 1, 9600, 0), ("plain", 1, 115200, 0), ("slip-crc", 6, 9600, 0),
                                                         ("slip-crc", 30, 115200, 0), ("slip-crc", 10, 115200, 1000),
                                                         ("xbee", 6, 9600, 0), ("xbee-escaped", 30, 115200, 0)])
def test_the_simulated_motes_find_nothing_wrong(serial, ending, tmp_path, framing, count, baud, noise):
    """What was acknowledged has come once (quality 2), also on a line with noise; nobody was sent what makes no sense."""
    tty = tmp_path / "tty"
    judge = ending(Judge(tmp_path / "sim", tty, f"""
seed = 11; line = {{ framing = "{framing}"; baud = {baud}; noise = {noise}; }};
motes = ( {{ name = "m"; count = {count}; qos = "2"; every = "1s"; start = "500ms"; size = 24; retry = "4s"; retries = 20; topic = "t/{{id}}";
  subscribe = "down/{{id}}"; }} );"""))
    s = serial(framing, wire=False, tty=tty, baud=baud, line='retry = "4s"; retries = 20; gap = "5s";')
    watcher = s.watcher("sn/t/#", qos=1)
    c = s.client("c")
    got = collections.Counter()
    while len(got) < 5 * count + 10:
        p = received(watcher)
        name, number, *_ = p.payload.decode().split()
        got[name, int(number)] += 1
        if len(got) % 4 == 0:
            publish(c, f"sn/down/{name}", b"do it")
    assert set(got.values()) == {1}
    counts = judge.stop()
    motes = counts["motes"]
    assert motes["lost"] == motes["makes_no_sense"] == motes["unknown_ids"] == motes["refused"] == 0
    wait_for(lambda: s.line()["state"] == "down")
    while judge.acknowledged - set(got):
        name, number, *_ = received(watcher).payload.decode().split()
        got[name, int(number)] += 1
    assert set(got.values()) == {1} and motes["received"] > 0
    if not noise:
        assert motes["sent_away"] == motes["unanswered"] == 0 == s.serial()["skipped"]
    else:
        assert s.serial()["bad_sums"] > 0


def test_tshark_finds_nothing_malformed(serial, tmp_path):
    """All that went over a line, by a dissector that is not ours."""
    s = serial("slip-crc")
    watcher, c = s.watcher("sn/up"), s.client("c")
    m = TtyMote(s.wire, "t", 5).connect(clean=False, will=("w", "x"), qos=1)
    topic = m.register("up")
    m.subscribe("down/#", 2)
    m.subscribe("ab", 1)
    for qos in (0, 1, 2):
        m.publish(topic, b"data", qos)
        received(watcher)
    for qos in (0, 1, 2):
        publish(c, "sn/down/x", b"data", qos)
        m.take("data")
    m.publish(4242, b"x", 1, code=2)
    m.unsubscribe("ab")
    m.ask("PINGREQ", "PINGRESP")
    m.ask("SEARCHGW", "GWINFO", radius=0)
    m.disconnect(duration=10)
    m.disconnect()
    packets = s.wire.sent + s.wire.came
    dump = "".join(f"0000 {p.hex(' ')}\n\n" for p in packets)
    subprocess.run(["text2pcap", "-q", "-u", "10000,10000", "-", tmp_path / "line.pcap"], input=dump, text=True, check=True)
    out = subprocess.run(["tshark", "-r", tmp_path / "line.pcap", "-d", "udp.port==10000,mqttsn", "-T", "fields", "-e", "mqttsn.msg.type",
                          "-e", "_ws.malformed", "-e", "_ws.expert.message"], capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t") for line in out.splitlines()]
    assert len(rows) == len(packets) and all(kind and not malformed for kind, malformed, _ in rows), out
    assert len({kind for kind, *_ in rows}) >= 20


@pytest.mark.parametrize("line, wrong", [
    ('port = "/dev/ttyS0"; framing = "cobs";', "plain, slip-crc, xbee or xbee-escaped"),
    ('port = "/dev/ttyS0"; baud = 50;', "300"),
    ('port = "/dev/ttyS0"; max_packet = 5000;', "4096"),
    ('port = "/dev/ttyS0"; rs485 = { mode = "rts"; };', "holds everything up"),
    ('port = "usb:zz";', "vendor and product"),
    ('port = "tty";', "a path such as /dev/ttyUSB0"),
    ('port = "/dev/ttyS0"; framing = "xbee"; prefix = "";', "whoever reaches"),
])
def test_mistakes_are_told(tmp_path, line, wrong):
    path = tmp_path / "sluice.conf"
    path.write_text(f'site = "a"; state_dir = "{tmp_path}";\nlines = (\n{{ name = "x"; protocol = "mqtt-sn"; {line} }} );\n')
    done = subprocess.run([SLUICED, "--check", path], capture_output=True, text=True, timeout=30)
    assert done.returncode and "sluice.conf:3: " in done.stderr + done.stdout and wrong in done.stderr + done.stdout, done


def test_bare_topics_need_no_user_on_a_cable(tmp_path):
    path = tmp_path / "sluice.conf"
    path.write_text(f'site = "a"; state_dir = "{tmp_path}";\nlines = ( {{ name = "x"; protocol = "mqtt-sn"; port = "/dev/ttyS0"; prefix = ""; }} );\n')
    done = subprocess.run([SLUICED, "--check", path], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done

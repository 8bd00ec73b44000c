# SPDX-License-Identifier: Apache-2.0
"""sluicectl's field tools beside a service that polls: what they show, what they leave as it was, and how they end."""
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import pytest
from daemon import SLUICECTL, SLUICED, Sluiced, wait_for
from field import FAST, X, conf, device, line, point, site, status
from test_modbus_tcp import Server
from test_modbus_tcp import line as tcp_line
from wire import Slave, Wire, crc

pytestmark = pytest.mark.skipif(not SLUICED.exists(), reason="not built")


def start(daemon, *args, **more):
    return subprocess.Popen([SLUICECTL, "-c", daemon.conf_path, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **more)


def ctl(daemon, *args, seconds=30):
    p = start(daemon, *args)
    try:
        out, err = p.communicate(timeout=seconds)
    finally:
        p.kill()
    return p.returncode, out, err


def jsons(text):
    return [json.loads(row) for row in text.splitlines()]


def two(folder, ending):
    daemon, _ = site(folder, ending, [device("boiler", 1, [X, point("no", "holding:500", "int16")]), device("pump", 2, [X], "50ms"),
                                      device("ghost", 9, [X])])
    wait_for(lambda: {d["state"] for d in status(daemon)["devices"]} == {"online", "dead"}, what="all to be known")
    return daemon


def tshark(path, *args):
    done = subprocess.run(["tshark", "-r", path, *args], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_trace_tells_each_frame_as_it_was(tmp_path, ending):
    daemon = two(tmp_path, ending)
    code, out, err = ctl(daemon, "trace", "a", "--count", "60")
    assert code == 0 and not err, err
    rows = out.splitlines()
    assert rows[0].startswith("line a: modbus-rtu, 115200 8N1") and len(rows) == 62
    assert any("1 boiler" in r and "read holding:0" in r and "request" in r for r in rows)
    assert any("1 boiler" in r and "exception 2: illegal data address" in r and "reply" in r for r in rows)
    assert any("2 pump" in r and "holding:0 = 3" in r for r in rows)
    code, out, _ = ctl(daemon, "trace", "a", "--count", "80", "--json")
    head, *frames = jsons(out)
    assert code == 0 and head["ok"] and head["units"] == {"boiler": 1, "pump": 2, "ghost": 9} and len(frames) == 80
    ends = 0
    for f in frames:
        if f["kind"] == "timeout":
            continue
        data = bytes.fromhex(f["hex"])
        assert crc(data[:-2]) == data and f["crc"] == "good" and data[0] == f["unit"] and data[1] & 127 == f["function"]
        assert f["end_us"] > f["at_us"] >= ends  # in order, and none begins before the last has ended
        ends = f["end_us"]
    assert {f["kind"] for f in frames} >= {"request", "reply"}
    assert all(d["state"] == "online" for d in status(daemon)["devices"] if d["name"] != "ghost")


def test_a_trace_of_one_device_shows_that_alone_and_what_does_not_answer(tmp_path, ending):
    daemon = two(tmp_path, ending)
    _, out, _ = ctl(daemon, "trace", "a", "--device", "ghost", "--count", "2", "--json")
    assert [(f["unit"], f["kind"]) for f in jsons(out)[1:]] == [(9, "request"), (9, "timeout")]
    assert jsons(out)[2]["waited_us"] >= 200000
    _, out, _ = ctl(daemon, "trace", "a", "--device", "2", "--count", "3", "--hex")
    assert "02 03 00 00 00 01 84 39" in out and "boiler" not in out


def test_wireshark_reads_a_trace_without_being_told_anything(tmp_path, ending):
    daemon = two(tmp_path, ending)
    pcap = tmp_path / "line.pcap"
    code, out, err = ctl(daemon, "trace", "a", "--count", "60", "--pcap", pcap)
    assert code == 0 and not out and "60 frames written" in err
    rows = tshark(pcap, "-Y", "mbrtu && modbus", "-T", "fields", "-e", "mbrtu.unit_id", "-e", "modbus.func_code").split()
    assert len(rows) >= 2 * 55 and set(rows[1::2]) == {"3"} and set(rows[::2]) <= {"1", "2", "9"}
    assert not tshark(pcap, "-Y", "_ws.malformed || _ws.expert.severity >= error")
    assert tshark(pcap, "-Y", "modbus.exception_code == 2") and tshark(pcap, "-Y", "modbus.regval_uint16 == 3")
    with open(tmp_path / "pipe.pcap", "wb") as pipe:  # and through a pipe
        subprocess.run([SLUICECTL, "-c", daemon.conf_path, "trace", "a", "--count", "20", "--pcap", "-"], stdout=pipe, timeout=30, check=True)
    assert "Modbus RTU" in tshark(tmp_path / "pipe.pcap")


def test_a_trace_of_a_tcp_line(tmp_path, ending):
    server = ending(Server())
    daemon = ending(Sluiced(tmp_path, conf([tcp_line(server.port, "in_flight = 4;")], [
        device("d", 3, [point("x", "holding:7", "int16")], "50ms"), device("e", 5, [point("x", "holding:8", "int16")], "50ms")]))).start()
    _, out, _ = ctl(daemon, "trace", "a", "--count", "30", "--json")
    said = {f["text"] for f in jsons(out)[1:]}
    assert {"read holding:7", "holding:7 = 3007", "read holding:8", "holding:8 = 5008"} <= said
    pcap = tmp_path / "tcp.pcap"
    ctl(daemon, "trace", "a", "--count", "30", "--pcap", pcap)
    rows = tshark(pcap, "-Y", "mbtcp && modbus", "-T", "fields", "-e", "mbtcp.unit_id").split()
    assert len(rows) == 30 and set(rows) == {"3", "5"}
    assert not tshark(pcap, "-Y", "_ws.malformed || _ws.expert.severity >= error")


def test_who_does_not_read_loses_frames_and_is_told_and_nobody_waits_for_him(tmp_path, ending):
    server = ending(Server())
    daemon = ending(Sluiced(tmp_path, conf([tcp_line(server.port, "in_flight = 8;")], [
        device(f"d{i}", i + 1, [point("x", "holding:7", "int16")], "10ms") for i in range(16)]))).start()
    p = start(daemon, "trace", "a", "--json")
    p.stdout.readline()
    p.send_signal(signal.SIGSTOP)
    memory = daemon.memory_kb("VmRSS")
    polls = lambda: status(daemon)["lines"][0]["polls"]
    before = polls()
    wait_for(lambda: polls() > before + 4000, 60, "polls to go on")
    grown = daemon.memory_kb("VmRSS") - memory
    p.send_signal(signal.SIGCONT)
    for row in p.stdout:
        if json.loads(row).get("lost", 0) > 100:
            break
    else:
        raise AssertionError("nothing was lost, or it was not told")
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=20)
    assert p.returncode == 0
    if not os.environ.get("SLUICE_VARIANT"):  # sanitizers keep what was freed
        assert grown < 5000


def foreign(wire, n):
    for i in range(n):
        wire.send(crc([5, 3, 0, i % 4, 0, 2]))
        time.sleep(0.01)
        wire.send(crc([5, 3, 4, 0, 1, 0, 2]))
        time.sleep(0.03)


def listening(folder, ending):
    wire = ending(Wire())
    daemon = ending(Sluiced(folder, conf([line(wire.port)], [device("d", 1, [X])]))).start()
    assert wire.receive(0.05)  # it polls
    return wire, daemon


def test_a_sniffer_is_silent_and_hears_another_master(tmp_path, ending):
    wire, daemon = listening(tmp_path, ending)
    p = start(daemon, "sniff", "a", "--for", "3600s")
    wait_for(lambda: status(daemon)["lines"][0].get("visit", {}).get("tool") == "sniff", what="the line to be had")
    wire.receive(1.0)
    foreign(wire, 20)
    wire.send(b"\x01\x02\x03")
    assert wire.receive(1.0) == b""
    assert "not polled: sniff by" in ctl(daemon, "status")[1]
    code, _, err = ctl(daemon, "sniff", "a")
    assert code == 1 and "busy with sniff" in err  # one at a time
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=20)
    assert p.returncode == 0, err
    assert "request: read holding:3 x2" in out and "answer: holding:3 = 1 2" in out and "noise" in out
    assert "holding:0 to 1" in out and "19200 8N1 is right" in out
    assert wire.receive(0.05)  # it polls again
    assert "visit" not in status(daemon)["lines"][0]


def test_a_sniffer_that_vanishes_or_whose_time_is_over_gives_the_line_back(tmp_path, ending):
    wire, daemon = listening(tmp_path, ending)
    visited = lambda: "visit" in status(daemon)["lines"][0]
    p = start(daemon, "sniff", "a", "--for", "3600s")
    wait_for(visited, what="the line to be had")
    p.kill()
    p.communicate()
    wait_for(lambda: not visited(), what="the line to be free")
    wait_for(lambda: wire.receive(0.05), what="polling")
    code, out, _ = ctl(daemon, "sniff", "a", "--for", "1s")
    assert code == 0 and "Not a byte came" in out
    wait_for(lambda: wire.receive(0.05), what="polling")
    assert daemon.log().count("polled again: sniff by") == 2


def test_a_reload_ends_what_watches_the_line_that_changes(tmp_path, ending):
    wire, daemon = listening(tmp_path, ending)
    trace, sniff = start(daemon, "trace", "a"), start(daemon, "sniff", "a")
    wait_for(lambda: "visit" in status(daemon)["lines"][0], what="the line to be had")
    trace.stdout.readline()
    daemon.configure(conf([line(wire.port)], [device("e", 1, [X])]))
    daemon.reload()
    for p in (trace, sniff):
        p.communicate(timeout=20)
    assert trace.returncode == 1 and sniff.returncode == 0
    wait_for(lambda: status(daemon)["devices"][0]["name"] == "e", what="the reload")
    start(daemon, "trace", "a").kill()
    assert daemon.stop(5) == 0


class Terminal:
    """sluicectl on a terminal of its own."""

    def __init__(self, daemon, *args, rows=24, columns=80):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.execve(SLUICECTL, [str(SLUICECTL), "-c", str(daemon.conf_path), *args], {**os.environ, "TERM": "xterm"})
        self.resize(rows, columns)
        self.seen = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        while select.select([self.fd], [], [], 0)[0]:
            try:
                self.seen += os.read(self.fd, 65536)
            except OSError:
                break
        return self.seen

    def echoes(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def end(self, keys=b"", number=None):
        """Its exit status, after keys or a signal."""
        if keys:
            os.write(self.fd, keys)
        if number:
            os.kill(self.pid, number)
        self.read()
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.read()
        return code

    def close(self):
        os.close(self.fd)


@pytest.mark.parametrize("keys, number", [(b"q", None), (b"", signal.SIGINT), (b"", signal.SIGTERM)], ids=["q", "ctrl-c", "term"])
def test_top_fills_the_screen_and_leaves_it_as_it_was(tmp_path, ending, keys, number):
    daemon = two(tmp_path, ending)
    top = ending(Terminal(daemon, "top"))
    wait_for(lambda: top.read().count(b"q quits") > 2, 30, "three screens")
    assert b"\x1b[?1049h" in top.seen and b"boiler" in top.seen and b"online" in top.seen and b"POLLS/s" in top.seen
    assert not top.echoes()
    top.resize(5, 30)
    before = len(top.seen)
    wait_for(lambda: b"\x1b[H" in top.read()[before:] and b"q quits" not in top.seen[top.seen.rindex(b"\x1b[H"):] and
             top.seen.rstrip().endswith(b"\x1b[J"), 30, "a small screen")
    last = top.seen[top.seen.rindex(b"\x1b[H"):]
    assert last.count(b"\n") == 4
    assert top.end(keys, number) == 0
    assert top.seen.rstrip().endswith(b"\x1b[?25h\x1b[?1049l")


def test_what_is_wrong_is_told_and_nothing_happens(tmp_path, ending):
    daemon = two(tmp_path, ending)
    for args, code, said in (
            (["trace"], 2, "trace needs"), (["trace", "b"], 1, "there is no line b; there is a"), (["trace", "a", "b"], 2, "too much"),
            (["trace", "a", "--count", "0"], 2, "from 1 to"), (["trace", "a", "--count", "many"], 2, "from 1 to"),
            (["trace", "a", "--device", "bolier"], 1, "no device bolier on line a; there is boiler (unit 1)"),
            (["trace", "a", "--pcap", "/nowhere/x"], 1, "No such file"), (["trace", "a", "--for", "1s"], 2, "no option --for"),
            (["sniff", "a", "--for", "5"], 2, "as in"), (["sniff", "a", "--for", "2h"], 2, "as in"), (["sniff", "b"], 1, "no line b"),
            (["trace", "a", "--pcap"], 2, "a value is missing behind --pcap"), (["trace", "a", "--count"], 2, "a value is missing behind --count"),
            (["top"], 2, "needs a terminal"), (["status", "--hex"], 2, "no option --hex")):
        got, out, err = ctl(daemon, *args)
        assert got == code and said in err and not out, (args, got, out, err)
    assert "polled again" not in daemon.log()


def test_a_file_that_cannot_be_parsed_is_told_and_not_that_no_daemon_runs(tmp_path):
    broken = tmp_path / "broken.conf"
    broken.write_text('site = "a";\nstate_dir = ;\n')
    done = subprocess.run([SLUICECTL, "-c", broken, "reload"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 3 and f"{broken}:2: syntax error" in done.stderr and "name its socket with -s" in done.stderr, done
    assert "does not run" not in done.stderr

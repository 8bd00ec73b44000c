# SPDX-License-Identifier: Apache-2.0
"""The Modbus TCP server of the running daemon: points that other masters read and write, units of a line that they reach, and
what a master must not do. Masters: sockets of the test's own, pymodbus and mbpoll; others in tests/field/test_modbus_peers.py."""
import os
import socket
import ssl
import struct
import threading
import time

import pytest
from daemon import SLUICED, Authority, Sluiced, free_port, wait_for
from field import Watcher, check, conf, device, line, point, simulated, status
from test_modbus import VALUES, layout, mbpoll_words_tcp

pytestmark = pytest.mark.skipif(not SLUICED.exists(), reason="not built")

FAST = 'baud = 115200; format = "8N1"; timing = { response = "%s"; holdoff = "20ms"; }; dead = { probe_first = "200ms"; };'
QUICK, PATIENT = FAST % "250ms", FAST % "3s"  # a machine that is busy with other things may keep an answer back
STATION = """baud = 115200; format = "8N1"; strict = true; stations = (
{ name = "one"; unit = 1; turnaround_us = 500; vendor = "Acme"; holding = ( { at = 0; count = 10; constant = 215; spread = 1; },
  { at = 20; count = 20; writable = true; } ); coil = ( { at = 0; count = 8; writable = true; } ); %s },
{ name = "two"; unit = 2; turnaround_us = 500; holding = ( { at = 0; count = 10; constant = 3; } ); } );
"""


class Master:
    """A connection; ask() for one request at a time, send() and answers() for many."""

    def __init__(self, port, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), 10)
        self.socket.settimeout(20)
        self.id, self.rest = 0, b""

    def send(self, unit, pdu):
        self.id += 1
        self.socket.sendall(struct.pack(">HHHB", self.id, 0, len(pdu) + 1, unit) + pdu)
        return self.id

    def answer(self):
        while len(self.rest) < 8 or len(self.rest) < 6 + struct.unpack(">H", self.rest[4:6])[0]:
            got = self.socket.recv(65536)
            if not got:
                raise EOFError
            self.rest += got
        number, protocol, size, unit = struct.unpack(">HHHB", self.rest[:7])
        assert protocol == 0
        pdu, self.rest = self.rest[7:6 + size], self.rest[6 + size:]
        return number, unit, pdu

    def ask(self, unit, pdu):
        sent = self.send(unit, pdu)
        number, answered, got = self.answer()
        assert (number, answered) == (sent, unit)
        return got

    def read(self, unit, at, count, function=3):
        got = self.ask(unit, struct.pack(">BHH", function, at, count))
        assert got[0] == function and got[1] == len(got) - 2, got.hex()
        return list(struct.unpack(f">{count}H", got[2:])) if function > 2 else got[2:]

    def ended(self):
        self.socket.settimeout(30)
        try:
            while self.socket.recv(65536):
                pass
            return True
        except ConnectionResetError:
            return True

    def close(self):
        self.socket.close()


def server(port, units="", gateways="", more=""):
    return (f'modbus_servers = ( {{ bind = "127.0.0.1:{port}"; {more} ' + (f"units = ( {units} ); " if units else "") +
            (f"gateways = ( {gateways} ); " if gateways else "") + "} );\n")


def shown(at, name, kind=None, more="", dev="d"):
    return f'{{ at = "{at}"; device = "{dev}"; point = "{name}"; ' + (f'type = "{kind}"; ' if kind else "") + more + "}"


POINTS = [point("t", "holding:0", "uint16", "scale = 0.1;"), point("on", "holding:1.0"), point("w", "holding:20", "int16", "scale = 0.1; write = { min = -50.0; max = 100.0; };"),
          point("two", "holding:22", "uint32", "write = { };"), point("coil", "coil:3", None, "write = { };"), point("ro", "holding:5", "uint16")]
UNIT = "{ unit = 5; points = ( " + ", ".join([
    shown("holding:0", "t", "float32", 'quality = "holding:40"; '), shown("input:0", "t", "int16", "scale = 0.1; "), shown("holding:2.0", "on"),
    shown("holding:2.3", "coil"), shown("discrete:1", "on"), shown("holding:10", "w", "int16", "scale = 0.1; write = true; "),
    shown("holding:11", "two", "uint32", 'order = "CDAB"; write = true; '), shown("coil:0", "coil", None, "write = true; "),
    shown("holding:30", "ro", "uint16")]) + " ); }"


def rig(folder, ending, more="", faults="", gateways="", units=UNIT, points=POINTS, every="100ms", extra=(), wire=PATIENT):
    tty = simulated(folder, ending, STATION % faults)
    port = free_port()
    text = conf([line(tty, more=wire)], [device("d", 1, points, every), *extra]) + server(port, units, gateways, more)
    daemon = ending(Sluiced(folder, text)).start()
    return daemon, ending(Watcher(daemon)), port


def test_points_are_read_and_written_as_registers_of_a_unit(tmp_path, ending):
    daemon, watcher, port = rig(tmp_path, ending)
    watcher.wait("d/data/g", lambda p: "q" not in p)
    m = ending(Master(port))
    assert struct.unpack(">f", struct.pack(">2H", *m.read(5, 0, 2)))[0] == pytest.approx(21.5)
    assert m.read(5, 0, 1, 4) == [215]
    assert m.read(5, 2, 1) == [0]  # 216 is even and the coil is off
    assert m.read(5, 40, 1) == [0]
    assert m.read(5, 1, 1, 2) == b"\0"
    assert m.read(5, 0, 1, 1) == b"\0"
    # One write of several points: each is a command whose verdict counts, told with the master's address.
    assert m.ask(5, struct.pack(">BHHBhHH", 16, 10, 3, 6, 215, 7, 1)) == struct.pack(">BHH", 16, 10, 3)
    me = "modbus:127.0.0.1:%d" % m.socket.getsockname()[1]
    assert watcher.wait("event/command", lambda p: p["point"] == "w")["client"] == me
    event = watcher.wait("event/command", lambda p: p["point"] == "two")
    assert event["value"] == 0x10007 and event["verdict"] == "ok" and event["client"] == me
    watcher.wait("d/data/g", lambda p: p["v"]["w"] == 21.5 and p["v"]["two"] == 0x10007)
    assert m.read(5, 10, 3) == [215, 7, 1]
    assert m.ask(5, b"\x05\0\0\xff\0") == b"\x05\0\0\xff\0"
    watcher.wait("d/data/g", lambda p: p["v"]["coil"])
    assert m.read(5, 2, 1) == [8] and m.read(5, 0, 1, 1) == b"\1"
    assert m.ask(5, b"\x0f\0\0\0\1\1\0") == b"\x0f\0\0\0\1"
    assert m.ask(5, struct.pack(">BHh", 6, 10, -5)) == struct.pack(">BHh", 6, 10, -5)
    got = m.ask(5, struct.pack(">BHHHHBh", 23, 0, 2, 10, 1, 2, 300))
    assert got[:2] == b"\x17\4" and struct.unpack(">f", got[2:])[0] == pytest.approx(21.5)
    watcher.wait("d/data/g", lambda p: p["v"]["w"] == 30)
    identity = m.ask(5, b"\x2b\x0e\1\0")
    assert identity[:7] == b"\x2b\x0e\1\x81\0\0\3" and b"Sluice" in identity
    for pdu, code in ((struct.pack(">BHh", 6, 10, 1200), 3),  # 120.0: above max
                      (struct.pack(">BHH", 6, 0, 1), 2), (struct.pack(">BHH", 6, 11, 1), 2), (struct.pack(">BHH", 6, 30, 1), 2),
                      (struct.pack(">BHH", 3, 0, 1), 2), (struct.pack(">BHH", 3, 1, 1), 2), (struct.pack(">BHH", 3, 0, 4), 2),
                      (struct.pack(">BHH", 3, 100, 1), 2), (struct.pack(">BHH", 3, 0, 0), 3), (struct.pack(">BHH", 3, 0, 126), 3),
                      (b"\x05\0\0\1\0", 3), (b"\x08\0\0\1\2", 1), (b"\x16\0\x0a\0\1\0\2", 1), (b"\x2b\x0d\1\0", 1), (b"\x2b\x0e\5\0", 3), (b"\x2b\x0e\4\7", 2)):
        assert m.ask(5, pdu) == bytes([pdu[0] | 0x80, code]), (pdu.hex(), code)
    assert m.ask(6, b"\3\0\0\0\1") == b"\x83\x0a"
    counts = status(daemon)["modbus_servers"][0]
    assert counts["masters"] == 1 and counts["writes"] == 7 and counts["refused_by"]["unit"] == 1 and counts["refused_by"]["function"] == 3
    assert counts["connections"][0]["peer"] == me[7:] and counts["connections"][0]["requests"] == counts["requests"]
    assert daemon.stop(3) == 0


def test_what_is_not_good_now_is_no_value(tmp_path, ending):
    """Never read, timeout, stale, the line away: exception 11, or the fill value; never the last good one."""
    silent = 'faults = ( { kind = "silence"; skip = 30; } );'
    filled = UNIT.replace("unit = 5;", "unit = 6; fill = 32768;")
    daemon, watcher, port = rig(tmp_path, ending, faults=silent, units=UNIT + ", " + filled, wire=QUICK,
                                extra=[device("never", 9, [point("x", "holding:0", "uint16")], "200ms", more='response = "300ms";')])
    m = ending(Master(port))
    wait_for(lambda: m.ask(5, b"\3\0\x1e\0\1") == b"\3\2\0\xdc", what="a value")
    wait_for(lambda: m.ask(5, b"\3\0\x1e\0\1") == b"\x83\x0b", what="no value")
    wait_for(lambda: m.ask(5, b"\1\0\0\0\1") == b"\x81\x0b", what="no coil either")
    assert "ro" not in watcher.on("d/data/g")[-1]["v"]
    assert m.read(6, 0, 13) == [32768] * 2 + [0] + [32768] * 10  # with the holes between points
    assert m.read(6, 30, 1) == [32768]
    wait_for(lambda: m.read(5, 40, 1)[0] == 7, what="stale")
    assert m.read(6, 40, 1) == [7]
    # A write is refused with what the device did not say.
    assert m.ask(5, struct.pack(">BHh", 6, 10, 5)) == b"\x86\x0b"
    daemon.configure(conf([line("/dev/nothing-there", more=PATIENT)], [device("d", 1, POINTS)]) + server(port, UNIT))
    daemon.reload()
    wait_for(lambda: status(daemon)["lines"][0]["state"] == "down", what="the line to be down")
    m = ending(Master(port))
    assert m.ask(5, b"\3\0\x1e\0\1") == b"\x83\x0b"
    assert m.ask(5, struct.pack(">BHh", 6, 10, 5)) == b"\x86\x0a"


def test_every_type_and_order_is_shown_as_it_is_read(tmp_path, ending):
    """What a device holds goes through our values and comes out of the map bit by bit; mbpoll is the judge."""
    rows, regs = layout()
    rows = [row for row in rows if isinstance(VALUES[row[1]][0], (int, float))]  # dates are texts
    from test_modbus_tcp import line as tcp_line
    from test_modbus_tcp import pymodbus as tcp_server
    slave, port = tcp_server(tmp_path, regs + [0] * 20, ending), free_port()
    points = [point(name, f"holding:{at}", kind, f'order = "{order}";') for name, kind, order, at in rows]
    same = ", ".join(shown(f"holding:{at}", name, kind, f'order = "{order}"; ') for name, kind, order, at in rows)
    daemon = ending(Sluiced(tmp_path, conf([tcp_line(slave)], [device("d", 1, points)]) + server(port, f"{{ unit = 1; points = ( {same} ); }}"))).start()
    ending(Watcher(daemon)).wait("d/data/g", lambda p: "q" not in p)
    for name, kind, order, at in rows:
        count = len(VALUES[kind][1]) // 2
        assert mbpoll_words_tcp(port, 1, at, count) == regs[at:at + count], (name, kind, order)


def gateway(more="", units="1-9", to=""):
    return f'{{ units = "{units}"; line = "a"; {to} {more} }}'


def test_units_of_a_line_are_reached_beside_our_own_polls(tmp_path, ending):
    daemon, watcher, port = rig(tmp_path, ending, units="", gateways=gateway('writes = ( "holding:20-29", "coil:0-3" ); functions = ( "read", "identify" ); ', "11-19", "to = 1;"),
                                extra=[device("f", 2, [point("x", "holding:0", "uint16")], more='limits = { forbidden = "holding:5-6"; };')])
    watcher.wait("d/data/g", lambda p: "q" not in p)
    m, n = ending(Master(port)), ending(Master(port))
    assert m.read(11, 0, 10) == [215 + i for i in range(10)] and m.read(12, 0, 3) == [3] * 3
    assert m.ask(11, struct.pack(">BHH", 6, 21, 77)) == struct.pack(">BHH", 6, 21, 77) and n.read(11, 21, 1) == [77]
    assert m.ask(11, b"\x16\0\x15\0\xf2\0\x05") == b"\x16\0\x15\0\xf2\0\x05" and n.read(11, 21, 1) == [77 & 0xF2 | 5 & ~0xF2]
    assert b"Acme" in m.ask(11, b"\x2b\x0e\1\0") and m.ask(11, b"\x11")[0] == 0x11
    for unit, pdu, code in ((11, struct.pack(">BHH", 6, 30, 1), 2), (11, struct.pack(">BHHBHH", 16, 29, 2, 4, 1, 1), 2), (11, b"\x05\0\4\xff\0", 2),
                            (11, b"\x46\1", 1), (11, b"\x08\0\0\0\0", 1), (11, b"\x2b\x0d\0", 1), (11, struct.pack(">BHH", 3, 500, 1), 2), (11, b"\3\0\0", 3),
                            (12, struct.pack(">BHH", 3, 4, 2), 2), (15, struct.pack(">BHH", 3, 0, 1), 11), (7, struct.pack(">BHH", 3, 0, 1), 10)):
        assert m.ask(unit, pdu) == bytes([pdu[0] | 0x80, code]), (pdu.hex(), code)
    event = watcher.wait("event/command", lambda p: p.get("request") == "060015004d")
    assert event["client"] == "modbus:127.0.0.1:%d" % m.socket.getsockname()[1] and event["verdict"] == "ok" and event["line"] == "a" and event["unit"] == 1
    # Many at once, from several masters: each gets its own answers by their numbers, and our polls go on.
    def flood(master, unit, wrong):
        sent = {master.send(unit, struct.pack(">BHH", 3, i % 8, 1)): i % 8 for i in range(60)}
        for _ in range(60):
            number, answered, pdu = master.answer()
            if pdu == b"\x83\6":
                continue  # too many wait on the line
            if answered != unit or pdu != struct.pack(">BBH", 3, 2, 215 + sent[number]):
                wrong.append(pdu)
    before, wrong = status(daemon)["devices"][0]["polls"], []
    masters = [ending(Master(port)) for _ in range(6)]
    threads = [threading.Thread(target=flood, args=(x, 11, wrong)) for x in masters]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong
    now = status(daemon)
    assert now["devices"][0]["polls"] > before and now["devices"][0]["timeouts"] == 0 and now["lines"][0]["raw"] >= 360
    assert now["modbus_servers"][0]["masters"] == 8 and now["modbus_servers"][0]["refused_by"]["function"] == 3
    assert daemon.stop(3) == 0


def test_a_unit_of_a_tcp_device_is_reached_and_one_that_breaks_is_said(tmp_path, ending):
    from test_modbus_tcp import Server
    from test_modbus_tcp import line as tcp_line
    slave, port = Server(lambda n, request, reply: (0, reply) if request[6] != 9 else None), free_port()
    points = [point("x", "holding:1", "uint16")]
    daemon = ending(Sluiced(tmp_path, conf([tcp_line(slave.port, 'in_flight = 4; timing = { response = "300ms"; };')], [device("d", 1, points)]) +
                            server(port, "", gateway(units="0-255")))).start()
    ending(Watcher(daemon)).wait("d/data/g", lambda p: "q" not in p)
    m = ending(Master(port))
    assert m.read(7, 5, 3) == [7005, 7006, 7007] and m.read(0, 5, 1) == [5] and m.ask(9, b"\3\0\0\0\1") == b"\x83\x0b"
    slave.close()
    daemon.configure(conf([tcp_line(free_port())], [device("d", 1, points)]) + server(port, "", gateway(units="0-255")))
    daemon.reload()
    wait_for(lambda: m.ask(7, b"\3\0\0\0\1") == b"\x83\x0a", what="the path to be away")  # the server itself has stayed


def test_a_master_that_misbehaves_is_let_go(tmp_path, ending):
    daemon, watcher, port = rig(tmp_path, ending, more='max_connections = 3; idle = "2s";')
    watcher.wait("d/data/g", lambda p: "q" not in p)
    good = ending(Master(port))
    for wrong in (b"GET / HTTP/1.0\r\n\r\n", struct.pack(">HHHB", 1, 1, 6, 5) + b"\3\0\0\0\2", struct.pack(">HHHB", 1, 0, 1, 5) + b"\3\0",
                  struct.pack(">HHHB", 1, 0, 255, 5) + bytes(254)):
        m = ending(Master(port))
        m.socket.sendall(wrong)
        assert m.ended()
        m.close()
    # A frame in pieces, two in one, and a half that never ends.
    frame = struct.pack(">HHHB", 9, 0, 6, 5) + b"\3\0\0\0\2"
    for i in range(len(frame)):
        good.socket.sendall(frame[i:i + 1])
    assert good.answer()[0] == 9
    good.socket.sendall(frame * 2)
    assert [good.answer()[0], good.answer()[0]] == [9, 9]
    half, idle = ending(Master(port)), ending(Master(port))
    half.socket.sendall(frame[:9])
    fourth = ending(Master(port))
    assert fourth.ended()
    stop = threading.Event()
    def keep():
        while not stop.wait(0.3):
            good.ask(5, b"\3\0\0\0\2")
    thread = threading.Thread(target=keep)
    thread.start()
    assert idle.ended() and half.ended()
    stop.set()
    thread.join()
    by = status(daemon)["modbus_servers"][0]["refused_by"]
    assert by["frame"] >= 4 and by["idle"] >= 1 and by["connections"] == 1
    assert good.read(5, 10, 1) == [0]


def test_a_master_that_does_not_read_is_not_read(tmp_path, ending):
    daemon, watcher, port = rig(tmp_path, ending)
    watcher.wait("d/data/g", lambda p: "q" not in p)
    m, good = ending(Master(port)), ending(Master(port))
    m.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    before = daemon.memory_kb("VmRSS")
    m.socket.settimeout(0.5)
    frames = b"".join(struct.pack(">HHHB", i, 0, 6, 5) + b"\3\0\0\0\2" for i in range(1000))
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 200_000_000:
            sent += m.socket.send(frames)
    assert good.read(5, 10, 1) == [0]
    if not os.environ.get("SLUICE_VARIANT"):  # sanitizers keep what was freed
        assert daemon.memory_kb("VmRSS") < before + 2000
    m.socket.settimeout(20)
    for _ in range(2000):  # it goes on where it was
        m.answer()


def test_who_may_connect(tmp_path, ending):
    port = free_port()
    units = server(port, "{ unit = 1; points = ( " + shown("holding:0", "t", "uint16") + " ); }", more='allow = ( "127.0.0.2", "192.0.2.0/24" );')
    tty = simulated(tmp_path, ending, STATION % "")
    daemon = ending(Sluiced(tmp_path, conf([line(tty, more=PATIENT)], [device("d", 1, POINTS)]) + units)).start()
    assert ending(Master(port)).ended()
    assert status(daemon)["modbus_servers"][0]["refused_by"]["address"] == 1
    with socket.socket() as s:
        s.bind(("127.0.0.2", 0))
        s.connect(("127.0.0.1", port))
        s.settimeout(20)
        s.sendall(struct.pack(">HHHB", 1, 0, 6, 3) + b"\3\0\0\0\2")
        assert s.recv(100) == struct.pack(">HHHB", 1, 0, 3, 3) + b"\x83\x0a"
    assert "is not in allow" in daemon.log()


def test_mistakes_are_named(tmp_path):
    def told(text, *what, lines=None):
        out = check(tmp_path, conf(lines or [line("/dev/ttyS0")], [device("d", 1, POINTS + [point("s", "holding:50", "string", "length = 8; "), point("m", "holding:60", "uint16", 'names = ("1 = on");')]),
                                                          device("e", 2, POINTS)]) + text)
        for w in what:
            assert w in out[1] and (out[0] or w == ""), (text, out)
        return out
    unit = lambda *points: "{ unit = 1; points = ( " + ", ".join(points) + " ); }"
    served = lambda *points: server(1502, unit(*points))
    assert told(server(1502, UNIT, gateway()))[0] == 1  # unit 5 twice
    told(server(1502, UNIT, gateway()), "c.conf:5: ", "unit 5 is served already")
    assert told(server(1502, UNIT, gateway(units="6-9")))[0] == 0
    told(server(1502, UNIT).replace("127.0.0.1", "0.0.0.0"), "Modbus asks nobody who they are", "allow = (")
    assert told(server(1502, UNIT, more='allow = "10.0.0.0/8";').replace("127.0.0.1", "0.0.0.0"))[0] == 0
    told(server(1502, UNIT, more='allow = "10.0.0.1/8";'), "is no address and no network")
    told(server(1502, UNIT).replace("127.0.0.1:1502", "unix:/tmp/x"), "is no address to listen on")
    told(server(1502), "serves nothing")
    told(served(shown("holding:0", "t", "float32"), shown("holding:1", "ro", "uint16")), "holding:1 is already t of device d (")
    told(served(shown("holding:0", "t", "uint16", 'quality = "holding:0"; ')), "holding:0 is already t of device d")
    told(served(shown("holding:2.3", "on"), shown("holding:2.3", "coil")), "holding:2 is already on of device d")
    told(served(shown("holding:0", "nothing", "uint16")), "device d has no point nothing")
    told(served(shown("holding:0", "t", "uint16", dev="x")), "there is no device x")
    told(served(shown("holding:0", "s", "uint16")), "s of device d is a text")
    told(served(shown("holding:0", "m", "uint16")), "m of device d is a text")
    told(served(shown("holding:0", "s", "string", "length = 4; ")), "is longer; give it more `length`")
    told(served(shown("holding:0", "t", "string", "length = 4; ")), "is no text")
    told(served(shown("coil:0", "t")), "is no bit")
    told(served(shown("holding:0", "t", "date6")), "cannot be shown with that type")
    told(served(shown("holding:0", "ro", "uint16", "write = true; ")), "ro of device d cannot be written; give it write = { }")
    told(served(shown("input:0", "w", "uint16", "write = true; ")), "can be written only as a coil or holding register")
    told(served(shown("holding:0.1", "coil", None, "write = true; ")), "only as a whole register or a coil")
    told(served(shown("holding:0", "t")), "`type` is missing")
    told(served(shown("holding:0", "t", "uint16", 'quality = "coil:3"; ')), "is no register")
    told(server(1502, "", gateway(units="9-1")), "is no unit and no range")
    told(server(1502, "", gateway(units="0-9")), "a serial line has units from 1 to 247")
    told(server(1502, "", gateway(to="to = 240;")), "240 to 248")
    told(server(1502, "", gateway('writes = "input:5";')), "is nothing that can be written")
    told(server(1502, "", gateway('functions = "write";')), "is none of read, identify, diagnose, other")
    told(server(1502, "", gateway().replace('"a"', '"b"')), "there is no line b")


def test_a_reload_changes_only_what_changed(tmp_path, ending):
    daemon, watcher, port = rig(tmp_path, ending)
    watcher.wait("d/data/g", lambda p: "q" not in p)
    m, other = ending(Master(port)), free_port()
    text = daemon.conf_path.read_text()
    daemon.conf_path.write_text(text.replace("modbus_servers = ( ", server(other, UNIT)[:-4].strip() + ", "))
    daemon.reload()
    second = wait_for(lambda: connect(other), what="the second server")
    assert second.read(5, 30, 1) == [220] and m.read(5, 30, 1) == [220]
    second.close()
    daemon.conf_path.write_text(text.replace("holding:30", "holding:31"))
    daemon.reload()
    assert m.ended()
    m = wait_for(lambda: connect(port), what="the server")
    assert m.read(5, 31, 1) == [220]
    daemon.conf_path.write_text(text.replace("holding:30", "holding:0"))
    daemon.reload()
    time.sleep(0.5)
    assert m.read(5, 31, 1) == [220]  # refused whole
    m.close()


def connect(port):
    try:
        return Master(port)
    except OSError:
        return None


def test_over_tls_a_master_shows_who_it_is(tmp_path, ending):
    """Modbus/TCP Security: certificates on both sides."""
    ca, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    (cert, key), (mine, my_key), (bad, bad_key) = ca.issue("box"), ca.issue("scada"), other.issue("scada")
    tls = f'tls = {{ cert = "{cert}"; key = "{key}"; client_ca = "{ca.cert}"; }};'
    daemon, watcher, port = rig(tmp_path, ending, more=tls)
    watcher.wait("d/data/g", lambda p: "q" not in p)

    def connect_tls(pair):
        context = ssl.create_default_context(cafile=ca.cert)
        if pair:
            context.load_cert_chain(*pair)
        m = Master(port)
        m.socket = context.wrap_socket(m.socket, server_hostname="localhost")
        return ending(m)

    assert connect_tls((mine, my_key)).read(5, 30, 1) == [220]
    for pair in (None, (bad, bad_key)):
        with pytest.raises((OSError, EOFError)):
            connect_tls(pair).read(5, 30, 1)
    plain = ending(Master(port))
    plain.socket.sendall(struct.pack(">HHHB", 1, 0, 6, 5) + b"\3\0\0\0\2")
    assert plain.ended()
    assert status(daemon)["modbus_servers"][0]["tls"] is True
    assert connect_tls((mine, my_key)).read(5, 0, 1, 4) == [215]
    assert check(tmp_path, conf([line("/dev/ttyS0")], [device("d", 1, POINTS)]) + server(1502, UNIT, more=tls).replace("127.0.0.1", "0.0.0.0"))[0] == 0


def test_masters_that_speak_as_on_a_serial_line(tmp_path, ending):
    """RTU over TCP: pymodbus, and a line of another gateway of ours."""
    from pymodbus.client import ModbusTcpClient
    from pymodbus.transaction import ModbusRtuFramer
    daemon, watcher, port = rig(tmp_path, ending, more='framing = "rtu";', gateways=gateway('functions = ( "read", "identify" );', "11-19", "to = 1;"))
    watcher.wait("d/data/g", lambda p: "q" not in p)
    client = ModbusTcpClient("127.0.0.1", port=port, framer=ModbusRtuFramer, timeout=20)
    assert client.connect()
    assert client.read_holding_registers(30, 1, slave=5).registers == [220]
    assert client.read_holding_registers(0, 10, slave=11).registers == [215 + i for i in range(10)]
    assert client.read_holding_registers(1, 1, slave=5).exception_code == 2
    assert not client.write_registers(11, [7, 1], slave=5).isError()
    client.close()
    watcher.wait("d/data/g", lambda p: p["v"].get("two") == 0x10007)
    far = ending(Sluiced(tmp_path / "far", conf([line(f"rtu+tcp:127.0.0.1:{port}", more=PATIENT)], [
        device("points", 5, [point("t", "holding:0", "float32"), point("two", "holding:11", "uint32", 'order = "CDAB";')]),
        device("unit", 11, [point("x", "holding:9", "uint16")])]))).start()
    there = ending(Watcher(far))
    assert there.wait("points/data/g", lambda p: "q" not in p)["v"] == {"t": pytest.approx(21.5), "two": 0x10007}
    assert there.wait("unit/data/g", lambda p: "q" not in p)["v"] == {"x": 224}
    wrong = ending(Master(port))
    wrong.socket.sendall(b"\5\3\0\0\0\2\0\0")  # no CRC
    assert wrong.ended()
    assert status(daemon)["modbus_servers"][0]["refused_by"]["frame"] == 1
    assert "does not speak Modbus RTU over TCP" in daemon.log()

# SPDX-License-Identifier: Apache-2.0
"""Modbus TCP of the running daemon: against pymodbus's server, mbpoll as the judge, and a server of the test's own that
answers late, out of turn, wrongly, or not at all."""
import socket
import struct
import sys
import threading
import time

import pytest
from daemon import SLUICED, Process, Sluiced, free_port, listens, wait_for
from field import Watcher, check, conf, device, point, status
from test_commands import Hand
from test_modbus import VALUES, layout, mbpoll_words_tcp

pytestmark = pytest.mark.skipif(not SLUICED.exists(), reason="not built")

SERVER = """
import sys
from pymodbus.datastore import ModbusSequentialDataBlock as Block, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartTcpServer
regs = [int(x) for x in sys.argv[2].split(",")]
unit = ModbusSlaveContext(hr=Block(0, regs), ir=Block(0, regs), co=Block(0, [False] * 64), di=Block(0, [True] * 64), zero_mode=True)
StartTcpServer(context=ModbusServerContext(slaves={0: unit, 1: unit, 255: unit}, single=False), address=("127.0.0.1", int(sys.argv[1])))
"""


def line(port, more=""):
    return f'{{ name = "a"; protocol = "modbus-tcp"; port = "tcp:127.0.0.1:{port}"; {more} }}'


def pymodbus(folder, regs, ending):
    port = free_port()
    (folder / "server.py").write_text(SERVER)
    ending(Process([sys.executable, folder / "server.py", port, ",".join(map(str, regs))], folder / "server.log").start())
    wait_for(lambda: listens(port), what="the server")
    return port


def test_every_type_and_order_over_tcp_and_what_was_written_is_there(tmp_path, ending):
    rows, regs = layout()
    port = pymodbus(tmp_path, regs + [0] * 20, ending)
    points = [point(name, f"holding:{at}", kind, f'order = "{order}";') for name, kind, order, at in rows]
    last = len(regs)
    more = [point("w", f"holding:{last}", "float32", 'write = { verify = "readback"; };'), point("bit", f"holding:{last + 2}.4", None, "write = { };"),
            point("coil", "coil:7", None, "write = { };"), point("two", f"holding:{last + 4}", "uint32", "write = { function = 23; };")]
    daemon = ending(Sluiced(tmp_path, conf([line(port, "in_flight = 4;")], [
        device("d", 255, points + more, "200ms"), device("gone", 9, [point("x", "holding:0", "uint16")], "200ms", more='response = "300ms";')]))).start()
    watcher = ending(Watcher(daemon))
    got = watcher.wait("d/data/g", lambda p: "q" not in p)["v"]
    for name, kind, _, _ in rows:
        assert got[name] == VALUES[kind][0], name
    hand = ending(Hand(daemon))
    for name, value in (("w", 21.5), ("bit", True), ("coil", True), ("two", 0x10002)):
        answer = hand.send("d", name, value)
        assert answer["verdict"] == "ok", answer
    watcher.wait("d/data/g", lambda p: p["v"]["w"] == 21.5 and p["v"]["bit"] and p["v"]["coil"] and p["v"]["two"] == 0x10002)
    assert mbpoll_words_tcp(port, 1, last, 6) == [0x41AC, 0, 16, 0, 1, 2]
    watcher.wait("gone/state", lambda p: p["state"] == "dead" and p["reason"] == "exception 11")  # the gateway says so
    assert watcher.on("d/state")[-1]["state"] == "online"
    assert daemon.stop(3) == 0


class Server:
    """Answers reads of holding registers: each holds its address plus 1000 × unit. answer(n, request, reply) says what goes
    out for request number n, as (delay in s, bytes) or None."""

    def __init__(self, answer=lambda n, request, reply: (0, reply)):
        self.answer, self.count, self.most, self.waiting, self.connections = answer, 0, 0, 0, 0
        self.lock = threading.Lock()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        data = b""
        try:
            while got := s.recv(4096):
                data += got
                while len(data) >= 12:
                    request, data = data[:12], data[12:]
                    self.take(s, request)
        except OSError:
            pass

    def take(self, s, request):
        _, _, _, unit, function, at, count = struct.unpack(">HHHBBHH", request)
        values = struct.pack(f">{count}H", *((unit * 1000 + at + i) % 65536 for i in range(count)))
        reply = request[:4] + struct.pack(">HBBB", 3 + len(values), unit, function, len(values)) + values
        with self.lock:
            self.count += 1
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            out = self.answer(self.count, request, reply)
        if out is None:
            self.waiting -= 1
            return
        threading.Timer(out[0], self.send, (s, out[1])).start()

    def send(self, s, reply):
        with self.lock:
            self.waiting -= 1
        try:
            s.sendall(reply)
        except OSError:
            pass

    def close(self):
        self.socket.close()


def points(count=4):
    return [point(f"p{i}", f"holding:{i}", "uint16") for i in range(count)]


def right(watcher, name, unit):
    readings = watcher.on(f"{name}/data/g")
    assert all(p["v"].get(f"p{i}", unit * 1000 + i) == unit * 1000 + i for p in readings for i in range(4)), readings[-1]
    return readings


def test_answers_late_and_out_of_turn_are_told_apart_by_their_number(tmp_path, ending):
    server = ending(Server(lambda n, request, reply: ((0.35 if n % 5 == 0 else 0.02 if n % 2 else 0.001), reply)))
    devices = [device(f"u{i}", i, points(), "30ms", more='response = "200ms";') for i in range(1, 7)]
    daemon = ending(Sluiced(tmp_path, conf([line(server.port, "in_flight = 6; dead = { after = 100; };")], devices))).start()
    watcher = ending(Watcher(daemon))
    wait_for(lambda: all(len(watcher.on(f"u{i}/data/g")) > 15 for i in range(1, 7)), what="readings")
    readings = [p for i in range(1, 7) for p in right(watcher, f"u{i}", i)]
    assert any("timeout" in p.get("q", {}).values() for p in readings)
    assert 2 <= server.most <= 12  # late ones are given up here and still under way there
    counts = status(daemon)["lines"][0]
    assert counts["late"] > 0 and counts["timeouts"] > 0
    assert server.connections == 1  # a late answer costs no connection


@pytest.mark.parametrize("name,damage", [
    ("unit", lambda r: r[:6] + bytes([r[6] + 1]) + r[7:]), ("function", lambda r: r[:7] + b"\x04" + r[8:]),
    ("count", lambda r: r[:8] + bytes([r[8] - 2]) + r[9:]), ("short", lambda r: r[:4] + struct.pack(">H", len(r) - 8) + r[6:-2]),
])
def test_a_wrong_answer_is_no_value(name, damage, tmp_path, ending):
    server = ending(Server(lambda n, request, reply: (0, damage(reply) if n % 3 == 0 else reply)))
    daemon = ending(Sluiced(tmp_path, conf([line(server.port)], [device("d", 1, points(), "50ms")]))).start()
    watcher = ending(Watcher(daemon))
    wait_for(lambda: len(watcher.on("d/data/g")) > 12, what="readings")
    readings = right(watcher, "d", 1)
    assert any(set(p.get("q", {}).values()) == {"crc"} for p in readings) and any(p["v"] for p in readings)
    assert status(daemon)["lines"][0]["state"] == "open"


def test_one_request_at_a_time_unless_more_are_allowed(tmp_path, ending):
    server = ending(Server(lambda n, request, reply: (0.005, reply)))
    daemon = ending(Sluiced(tmp_path, conf([line(server.port)], [device(f"u{i}", i, points(), "20ms") for i in range(1, 5)]))).start()
    watcher = ending(Watcher(daemon))
    wait_for(lambda: all(len(watcher.on(f"u{i}/data/g")) > 5 for i in range(1, 5)), what="readings")
    assert server.most == 1
    assert daemon.stop(3) == 0


def test_a_connection_that_breaks_or_is_no_modbus_is_made_anew(tmp_path, ending):
    server = ending(Server(lambda n, request, reply: (0, b"HTTP/1.1 400 Bad Request\r\n\r\n" if n == 10 else reply)))
    daemon = ending(Sluiced(tmp_path, conf([line(server.port)], [device("d", 1, points(), "50ms")]))).start()
    watcher = ending(Watcher(daemon))
    wait_for(lambda: server.connections == 2, what="another connection")
    count = len(watcher.on("d/data/g"))
    wait_for(lambda: len([p for p in watcher.on("d/data/g")[count:] if p["v"]]) > 3, what="readings again")
    right(watcher, "d", 1)
    assert "does not speak Modbus TCP" in daemon.log()
    assert [p["state"] for p in watcher.on("d/state")][-2:] == ["dead", "online"]


def test_a_place_without_anybody_is_tried_again_and_said(tmp_path, ending):
    port = free_port()
    daemon = ending(Sluiced(tmp_path, conf([line(port)], [device("d", 1, [point("x", "holding:1", "uint16", "write = { };")], "50ms")]))).start()
    watcher, hand = ending(Watcher(daemon)), ending(Hand(daemon))
    watcher.wait("d/state", lambda p: p["state"] == "dead" and "refused" in p["reason"])
    assert hand.send("d", "x", 1)["verdict"] == "line down"
    assert status(daemon)["lines"][0]["state"] == "down"
    daemon.configure(conf([line(port, "in_flight = 2;")], [device("d", 1, points(), "50ms")]))
    daemon.reload()
    time.sleep(0.3)
    assert daemon.stop(3) == 0


def test_a_connection_keeps_no_line_waiting(tmp_path, ending):
    """64 devices with 100 points each second: what the loop does for them leaves it free."""
    servers = [ending(Server()) for _ in range(8)]
    lines = [line(s.port, "in_flight = 4;").replace('"a"', f'"l{i}"') for i, s in enumerate(servers)]
    devices = [device(f"u{i}", 1 + i // 8, points(100), "1s", on=f"l{i % 8}", group="qos = 0; ") for i in range(64)]
    daemon = ending(Sluiced(tmp_path, conf(lines, devices))).start()
    watcher = ending(Watcher(daemon))
    wait_for(lambda: all(len(watcher.on(f"u{i}/data/g")) > 2 for i in range(64)), 30, "readings of all")
    for i in range(64):
        right(watcher, f"u{i}", 1 + i // 8)
    assert all(entry["timeouts"] == entry["overruns"] == 0 for entry in status(daemon)["lines"])


def test_mistakes_of_a_connection_are_named(tmp_path):
    for text, what in (('port = "tcp:"', "is no place to connect to"), ('port = "tcp:box:70000"', "is no place to connect to"),
                       ('port = "/dev/ttyS0"', "is no place to connect to"), ('port = "tcp:[::1"', "is no place to connect to"),
                       ('port = "tcp:box"; baud = 9600', "baud"), ('port = "tcp:box"; in_flight = 99', "32")):
        code, out = check(tmp_path, conf([f'{{ name = "a"; protocol = "modbus-tcp"; {text}; }}'], [device("d", 0, points())]))
        assert code != 0 and what in out and "c.conf:3: " in out, (text, out)
    for place in ("tcp:box", "tcp:box:1502", "tcp:[2001:db8::7]:502", "tcp:192.0.2.7"):
        code, out = check(tmp_path, conf([f'{{ name = "a"; protocol = "modbus-tcp"; port = "{place}"; }}'], [device("d", 0, points())]))
        assert code == 0, out

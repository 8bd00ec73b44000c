# SPDX-License-Identifier: Apache-2.0
"""Others' Modbus on both sides: libmodbus, pymodbus, modbus-serial (npm) and mbpoll as masters of our server and of the gateway
to a paced line; libmodbus's and modbus-serial's servers as devices over TCP and on a serial line (pymodbus's are in
test_modbus.py and test_modbus_tcp.py)."""
import re
import struct
import subprocess
from pathlib import Path

import npm
import pytest
from daemon import SLUICED, Process, Sluiced, free_port, wait_for
from field import Watcher, conf, device, line, pair, point, status
from test_commands import Hand
from test_modbus import VALUES, layout
from test_modbus_server import POINTS, gateway, rig, server, shown
from test_modbus_tcp import line as tcp_line

pytestmark = pytest.mark.skipif(not SLUICED.exists(), reason="not built")
HERE = Path(__file__).parent
MODBUS_SERIAL = HERE / "modbusserial"


def libmodbus(folder):
    path = folder / "peer_libmodbus"
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libmodbus"], capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["gcc", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-o", path, HERE / "peer_libmodbus.c", *flags], check=True)
    return [path]


def modbus_serial(folder):
    return ["node", MODBUS_SERIAL / "peer.js", npm.installed(MODBUS_SERIAL)]


PROGRAMS = {"libmodbus": libmodbus, "modbus-serial": modbus_serial}


class Programmed:
    """A master that is a program: a line in, a line out."""

    def __init__(self, program, port):
        self.process = subprocess.Popen([*map(str, program), "master", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *numbers):
        """The values of the answer, or "exception N"."""
        self.process.stdin.write(" ".join(map(str, numbers)) + "\n")
        self.process.stdin.flush()
        word, *rest = self.process.stdout.readline().split()
        assert word in ("ok", "exception"), (word, rest)
        return f"exception {rest[0]}" if word == "exception" else [int(x) for x in rest]

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0
        self.process.stdout.close()


class Pymodbus:
    def __init__(self, port):
        from pymodbus.client import ModbusTcpClient
        self.client = ModbusTcpClient("127.0.0.1", port=port, timeout=20)
        assert self.client.connect()

    def ask(self, function, unit, at, *v):
        from pymodbus.register_read_message import ReadWriteMultipleRegistersRequest
        from pymodbus.register_write_message import MaskWriteRegisterRequest
        c = self.client
        # The client's own calls for 22 and 23 lose the unit.
        call = {1: lambda: c.read_coils(at, v[0], slave=unit), 2: lambda: c.read_discrete_inputs(at, v[0], slave=unit),
                3: lambda: c.read_holding_registers(at, v[0], slave=unit), 4: lambda: c.read_input_registers(at, v[0], slave=unit),
                5: lambda: c.write_coil(at, bool(v[0]), slave=unit), 6: lambda: c.write_register(at, v[0], slave=unit),
                15: lambda: c.write_coils(at, [bool(x) for x in v], slave=unit), 16: lambda: c.write_registers(at, list(v), slave=unit),
                22: lambda: c.execute(MaskWriteRegisterRequest(at, *v, unit=unit)),
                23: lambda: c.execute(ReadWriteMultipleRegistersRequest(read_address=at, read_count=v[0], write_address=v[1],
                                                                        write_registers=list(v[2:]), unit=unit))}[function]()
        if hasattr(call, "exception_code"):
            return f"exception {call.exception_code}"
        assert not call.isError(), call
        if function <= 2:
            return [int(b) for b in call.bits[:v[0]]]
        return list(call.registers) if function in (3, 4, 23) else []

    def close(self):
        self.client.close()


class Mbpoll:
    """One program a request."""

    KINDS = {1: "0", 2: "1", 3: "4", 4: "3", 5: "0", 15: "0", 6: "4", 16: "4"}

    def __init__(self, port):
        self.port = port

    def ask(self, function, unit, at, *v):
        write = function > 4
        argv = ["mbpoll", "-m", "tcp", "-p", self.port, "-a", unit, "-t", self.KINDS[function] + ("" if write or function < 3 else ":hex"), "-0",
                "-r", at, "-1", "-q", "-o", "10"]
        argv += ["127.0.0.1", *v] if write else ["-c", v[0], "127.0.0.1"]
        done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=30)
        text = done.stdout + done.stderr
        for code, words in ((1, "Illegal function"), (2, "Illegal data address"), (3, "Illegal data value"), (10, "Gateway path unavailable"),
                            (11, "Target device failed to respond")):
            if words in text:
                return f"exception {code}"
        assert done.returncode == 0, text
        return [] if write else [int(x, 0) for x in re.findall(r"^\[\d+\]:\s+(\w+)", text, re.M)]

    def close(self):
        pass


MASTERS = ["libmodbus", "modbus-serial", "pymodbus", "mbpoll"]


def master(name, folder, port, ending):
    if name in PROGRAMS:
        return ending(Programmed(PROGRAMS[name](folder), port))
    return ending({"pymodbus": Pymodbus, "mbpoll": Mbpoll}[name](port))


UNIT = "{ unit = 5; points = ( " + ", ".join([
    shown("holding:0", "t", "float32"), shown("input:0", "t", "int16", "scale = 0.1; "), shown("discrete:1", "on"),
    shown("holding:10", "w", "int16", "scale = 0.1; write = true; "), shown("holding:11", "two", "uint32", "write = true; "),
    shown("coil:0", "coil", None, "write = true; ")]) + " ); }, { unit = 6; points = ( " + shown("holding:0", "x", "uint16", dev="never") + " ); }"


@pytest.mark.parametrize("name", MASTERS)
def test_a_master_reads_and_writes_our_points_and_reaches_the_line(name, tmp_path, ending):
    daemon, watcher, port = rig(tmp_path, ending, units=UNIT, extra=[device("never", 9, [point("x", "holding:0", "uint16")], "200ms", more='response = "300ms";')],
                                gateways=gateway('writes = ( "holding:20-39", "coil:0-7" ); functions = ( "read", "identify" ); ', "11-19", "to = 1;"))
    watcher.wait("d/data/g", lambda p: "q" not in p)
    m = master(name, tmp_path, port, ending)
    many = name != "mbpoll"  # writes one value with 6 or 5, several with 16 or 15
    # The map.
    assert struct.unpack(">f", struct.pack(">2H", *m.ask(3, 5, 0, 2)))[0] == pytest.approx(21.5)
    assert m.ask(4, 5, 0, 1) == [215] and m.ask(2, 5, 1, 1) == [0] and m.ask(1, 5, 0, 1) == [0]
    assert m.ask(6, 5, 10, 321) == [] and m.ask(16, 5, 11, 1, 7) == [] and m.ask(5, 5, 0, 1) == []
    watcher.wait("d/data/g", lambda p: p["v"].get("w") == 32.1 and p["v"].get("two") == 0x10007 and p["v"].get("coil") is True)
    assert m.ask(3, 5, 10, 3) == [321, 1, 7]
    assert m.ask(6, 5, 10, 1200) == "exception 3"  # above max
    assert m.ask(3, 5, 1, 1) == "exception 2" and m.ask(3, 6, 0, 1) == "exception 11" and m.ask(3, 77, 0, 1) == "exception 10"
    # The gateway.
    assert m.ask(3, 11, 0, 10) == [215 + i for i in range(10)] and m.ask(3, 12, 0, 3) == [3] * 3
    assert m.ask(6, 11, 30, 99) == [] and m.ask(16, 11, 31, 1, 2, 3) == [] and m.ask(3, 11, 30, 4) == [99, 1, 2, 3]
    assert m.ask(5, 11, 5, 1) == [] and m.ask(15, 11, 6, 1, 1) == [] and m.ask(1, 11, 4, 4) == [0, 1, 1, 1]
    assert m.ask(6, 11, 5, 1) == "exception 2" and m.ask(3, 11, 500, 1) == "exception 2" and m.ask(3, 19, 0, 1) == "exception 11"
    if many:
        assert m.ask(22, 11, 30, 0xF2, 5) == [] and m.ask(3, 11, 30, 1) == [99 & 0xF2 | 5 & ~0xF2 & 0xFFFF]
    if name in ("pymodbus", "libmodbus"):
        assert m.ask(23, 11, 30, 2, 31, 8, 9) == [99 & 0xF2 | 5 & ~0xF2 & 0xFFFF, 8]
        assert m.ask(23, 5, 0, 2, 10, 250) == list(struct.unpack(">2H", struct.pack(">f", 21.5)))
    now = status(daemon)
    assert now["devices"][0]["timeouts"] == now["devices"][0]["crc"] == 0
    assert daemon.stop(5) == 0


def slave(name, folder, kind, place, words, ending):
    peer = ending(Process([*PROGRAMS[name](folder), "server", kind, place, *words], folder / "peer.log").start())
    wait_for(lambda: "ready" in peer.log() or not peer.running(), what="the device")
    assert peer.running(), peer.log()


def follow(folder, ending, lines, rows, last):
    """What a peer holds is what we read, in every type and order; what we write is there."""
    points = [point(name, f"holding:{at}", kind, f'order = "{order}";') for name, kind, order, at in rows]
    more = [point("w", f"holding:{last}", "float32", 'write = { verify = "readback"; };'), point("one", f"holding:{last + 2}", "uint16", "write = { };"),
            point("coil", "coil:7", None, "write = { };"), point("in", "input:1", "uint16"), point("bit", "discrete:3"), point("off", "coil:4")]
    daemon = ending(Sluiced(folder, conf(lines, [device("d", 1, points + more, "500ms", more='response = "2s";')]))).start()
    watcher = ending(Watcher(daemon))
    got = watcher.wait("d/data/g", lambda p: "q" not in p)["v"]
    for name, kind, _, _ in rows:
        assert got[name] == VALUES[kind][0], name
    assert got["bit"] is True and got["off"] is False
    hand = ending(Hand(daemon))
    for name, value in (("w", 21.5), ("one", 4711), ("coil", True)):
        answer = hand.send("d", name, value)
        assert answer["verdict"] == "ok", answer
    watcher.wait("d/data/g", lambda p: p["v"].get("w") == 21.5 and p["v"].get("one") == 4711 and p["v"].get("coil") is True)
    counts = status(daemon)["lines"][0]
    assert counts["crc"] == counts["timeouts"] == 0, counts
    assert daemon.stop(5) == 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_device_over_tcp(name, tmp_path, ending):
    rows, regs = layout()
    port = free_port()
    slave(name, tmp_path, "tcp", port, regs + [0] * 8, ending)
    follow(tmp_path, ending, [tcp_line(port)], rows, len(regs))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_device_on_a_serial_line(name, tmp_path, ending):
    rows, regs = layout()
    ours, theirs, _ = pair(tmp_path, ending)
    slave(name, tmp_path, "rtu", theirs, regs + [0] * 8, ending)
    follow(tmp_path, ending, [line(ours, more='baud = 19200; format = "8N1"; dead = { after = 100; };')], rows, len(regs))

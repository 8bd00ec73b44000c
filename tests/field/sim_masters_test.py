# SPDX-License-Identifier: Apache-2.0
"""The simulator read by masters that are not ours: every type and order by mbpoll (libmodbus) and by pymodbus, at three
speeds, compared with what its log says it sent. Wire times are printed, not judged."""
import math
import os
import pathlib
import re
import signal
import struct
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIM = os.environ.get("SLUICE_SIM", str(ROOT / "build" / "sluice-sim"))

TYPES = {"int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "float32": "f", "float64": "d"}
ORDERS = ["ABCD", "CDAB", "BADC", "DCBA"]
VALUES = {"int16": -12345, "uint16": 54321, "int32": -1234567890, "uint32": 0xDEADBEEF, "int64": -1234567890123456789,
          "uint64": 0x7FEDCBA987654321, "float32": 3.1415927410125732, "float64": -2.718281828459045e100}


def layout():
    """(type, order, address) of one value of each type in each order."""
    at, rows = 0, []
    for name, code in TYPES.items():
        for order in ORDERS:
            rows.append((name, order, at))
            at += struct.calcsize(">" + code) // 2
    return rows, at


def config(baud, fmt="8E1"):
    rows, _ = layout()
    ranges = []
    for name, order, at in rows:
        value = VALUES[name]
        script = f"constant = {value!r}" if name.startswith("float") else f'value = "counter"; step = 0; start = {value}L'
        ranges.append(f'{{ at = {at}; type = "{name}"; order = "{order}"; {script}; }}')
    return f"""baud = {baud}; format = "{fmt}"; strict = false;
stations = ( {{ name = "all"; unit = 1;
  holding = ( {", ".join(ranges)},
    {{ at = 500; name = "n"; type = "uint32"; value = "counter"; }},
    {{ at = 502; name = "wave"; type = "float32"; value = "sine"; mean = 10.0; amplitude = 5.0; period = "2s"; }},
    {{ at = 600; count = 125; spread = 1; writable = true; }} );
  input = ( {{ at = 0; count = 10; constant = 100; spread = 3; }} );
  coil = ( {{ at = 0; count = 8; value = "counter"; step = 0; spread = 1; writable = true; }} );
  discrete = ( {{ at = 0; count = 8; value = "counter"; step = 0; start = 1; spread = 1; }} ); }} );
"""


class Sim:
    def __init__(self, folder, text):
        self.link, self.log = str(folder / "tty"), folder / "frames.csv"
        (folder / "line.conf").write_text(text)
        self.process = subprocess.Popen([SIM, str(folder / "line.conf"), "--link", self.link, "--log", str(self.log)],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().startswith(self.link)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, self.summary = self.process.communicate(timeout=10)
        assert self.process.returncode == 0, self.summary
        return dict((k, int(v)) for k, v in re.findall(r"(\w+)=(\d+)", self.summary.splitlines()[0]))

    def frames(self):
        for line in self.log.read_text().splitlines()[2:]:
            start, end, who, unit, data, notes = line.split(",")
            yield int(start), int(end), who, bytes.fromhex(data), notes


@pytest.fixture(params=[9600, 19200, 115200])
def sim(request, tmp_path):
    s = Sim(tmp_path, config(request.param))
    s.baud = request.param
    yield s
    s.stop()


def decode(registers, name, order):
    if order in ("CDAB", "DCBA"):
        registers = registers[::-1]
    data = b"".join(struct.pack("<H" if order in ("BADC", "DCBA") else ">H", r) for r in registers)
    return struct.unpack(">" + TYPES[name], data)[0]


def client(sim):
    from pymodbus.client import ModbusSerialClient
    c = ModbusSerialClient(port=sim.link, baudrate=sim.baud, parity="N", timeout=3, retries=0)
    assert c.connect()
    return c


def test_pymodbus_reads_every_type(sim):
    rows, end = layout()
    c = client(sim)
    reply = c.read_holding_registers(0, end, slave=1)
    assert not reply.isError(), reply
    for name, order, at in rows:
        size = struct.calcsize(">" + TYPES[name]) // 2
        assert decode(reply.registers[at:at + size], name, order) == VALUES[name], (name, order)
    c.close()
    counts = sim.stop()
    assert counts["short_silences"] == 0 and counts["replies"] == 1


def test_pymodbus_reads_and_writes_every_table(sim):
    c = client(sim)
    assert c.read_input_registers(0, 10, slave=1).registers == [100 + 3 * i for i in range(10)]
    assert c.read_coils(0, 8, slave=1).bits[:8] == [False, True] * 4
    assert c.read_discrete_inputs(0, 8, slave=1).bits[:8] == [True, False] * 4
    assert not c.write_coil(0, True, slave=1).isError()
    assert not c.write_coils(1, [True, False, True], slave=1).isError()
    assert c.read_coils(0, 8, slave=1).bits[:8] == [True, True, False, True, False, True, False, True]
    assert not c.write_register(600, 77, slave=1).isError()
    assert not c.write_registers(601, [1, 2, 3], slave=1).isError()
    # The client's own calls for these two lose the unit.
    from pymodbus.register_read_message import ReadWriteMultipleRegistersRequest
    from pymodbus.register_write_message import MaskWriteRegisterRequest
    assert not c.execute(MaskWriteRegisterRequest(600, 0xF2, 0x25, unit=1)).isError()
    assert c.read_holding_registers(600, 4, slave=1).registers == [(77 & 0xF2) | (0x25 & ~0xF2 & 0xFFFF), 1, 2, 3]
    reply = c.execute(ReadWriteMultipleRegistersRequest(read_address=600, read_count=2, write_address=601,
                                                        write_registers=[9], unit=1))
    assert reply.registers[1] == 9
    assert c.read_holding_registers(9000, 1, slave=1).exception_code == 2
    c.close()


def test_counter_and_wave_are_what_the_log_says(sim):
    c = client(sim)
    got = []
    for _ in range(20):
        r = c.read_holding_registers(500, 4, slave=1).registers
        got.append((decode(r[:2], "uint32", "ABCD"), decode(r[2:], "float32", "ABCD")))
    c.close()
    sim.stop()
    sent = []
    for start, _, who, _, notes in sim.frames():
        if who == "all":
            n, wave = re.search(r"n#\d+=(\d+) wave#\d+=(\S+)", notes).groups()
            sent.append((int(n), struct.unpack("f", struct.pack("f", float(wave)))[0]))
            # No turnaround: the reply starts at the very time for which the value was made.
            assert math.isclose(float(wave), 10 + 5 * math.sin(math.pi * start / 1e6), abs_tol=1e-3)
    assert [n for n, _ in got] == list(range(20))
    assert got == sent


def mbpoll(sim, *arguments):
    run = subprocess.run(["mbpoll", "-m", "rtu", "-a", "1", "-b", str(sim.baud), "-P", "none", "-o", "3", "-0", "-q",
                          *arguments[:-1], sim.link, *([arguments[-1]] if arguments[-1] else [])],
                         capture_output=True, text=True, timeout=30)
    assert run.returncode == 0, run.stdout + run.stderr
    return re.findall(r"^\[(\d+)\]:\s+(\S+)(?: \((-?\d+)\))?", run.stdout, re.M)


def test_mbpoll_reads_what_it_can(sim):
    rows, _ = layout()
    for name, order, at in rows:
        kind = {"int16": "4", "uint16": "4", "int32": "4:int", "uint32": "4:int", "float32": "4:float"}.get(name)
        if not kind or order not in ("ABCD", "CDAB") or (name.endswith("16") and order != "ABCD"):
            continue
        big = ["-B"] if order == "ABCD" and not name.endswith("16") else []
        [(_, first, signed)] = mbpoll(sim, "-t", kind, *big, "-r", str(at), "-c", "1", "-1", "")
        value = VALUES[name]
        if name == "float32":
            assert math.isclose(float(first), value, rel_tol=1e-5)
        else:
            size = 2 ** (16 if name.endswith("16") else 32)
            assert int(first) % size == value % size, (name, order, first, signed)
    assert [int(v) for _, v, _ in mbpoll(sim, "-t", "3", "-r", "0", "-c", "10", "-1", "")] == [100 + 3 * i for i in range(10)]
    assert [int(v) for _, v, _ in mbpoll(sim, "-t", "0", "-r", "0", "-c", "8", "-1", "")] == [0, 1] * 4
    assert [int(v) for _, v, _ in mbpoll(sim, "-t", "1", "-r", "0", "-c", "8", "-1", "")] == [1, 0] * 4
    mbpoll(sim, "-t", "4", "-r", "600", "4242")
    assert [int(v) for _, v, _ in mbpoll(sim, "-t", "4", "-r", "600", "-c", "1", "-1", "")] == [4242]


def test_wire_time(sim):
    """From the request to the last byte of 125 registers, as this process sees it, beside the wire's own time."""
    import termios
    fd = os.open(sim.link, os.O_RDWR | os.O_NOCTTY)
    attributes = termios.tcgetattr(fd)
    attributes[4] = attributes[5] = getattr(termios, f"B{sim.baud}")
    termios.tcsetattr(fd, termios.TCSANOW, attributes)
    char = 11 / sim.baud
    silence = 0.00175 if sim.baud > 19200 else 3.5 * char
    wire, times = (8 + 255) * char + silence, []
    for _ in range(5):
        start = time.monotonic()
        os.write(fd, bytes.fromhex("01030258007d0580"))
        data = b""
        while len(data) < 255:
            data += os.read(fd, 255 - len(data))
        times.append(time.monotonic() - start)
        time.sleep(0.005)
        assert struct.unpack(">125H", data[3:-2]) == tuple(range(125))
        assert times[-1] >= wire  # never faster than the wire
    os.close(fd)
    median = sorted(times)[2]
    print(f"{sim.baud} baud: {median * 1e3:.1f} ms, wire {wire * 1e3:.1f} ms ({(median / wire - 1) * 100:+.2f} %)")
    assert sim.stop()["short_silences"] == 0


def test_mistakes_are_told_by_file_and_line(tmp_path):
    (tmp_path / "line.conf").write_text('baud = 19200;\nstations = ( { name = "a"; unit = 300; } );\n')
    run = subprocess.run([SIM, str(tmp_path / "line.conf")], capture_output=True, text=True, timeout=10)
    assert run.returncode == 1
    assert run.stderr.startswith(f"{tmp_path}/line.conf:2: ")
    assert "300" in run.stderr


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "drivers/sim/examples").glob("*.conf")))
def test_examples_play(name, tmp_path):
    run = subprocess.run([SIM, str(ROOT / "drivers/sim/examples" / name), "--link", str(tmp_path / "tty"), "--seconds", "1",
                          "--log", str(tmp_path / "log")], capture_output=True, text=True, timeout=10)
    assert run.returncode == 0, run.stderr
    assert not (tmp_path / "tty").is_symlink()


def test_counters_on_signal(tmp_path):
    s = Sim(tmp_path, config(19200))
    s.process.send_signal(signal.SIGUSR1)
    line = s.process.stderr.readline()
    assert line.startswith("line: requests=0 ")
    s.stop()

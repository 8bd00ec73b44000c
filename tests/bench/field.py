#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures Modbus lines of sluiced (make bench-field): how near the wire's limit for each speed and size, on sluice-sim's paced
line, from its log of frames; processor time a poll; the time of a command among polls that fill the line; 64 TCP devices. Adds
the tables of dead units and of faults that tests/unit/test_modbus_field makes on a virtual clock. Writes
docs/benchmarks-field.md unless told to be quick."""
import argparse
import concurrent.futures
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import paho.mqtt.client as mqtt  # noqa: E402
from daemon import BUILD, SIM, TOP, Process, Sluiced, cpu_s, free_port, listens, wait_for  # noqa: E402
from field import conf, device, line, point, status  # noqa: E402
from report import table  # noqa: E402

DOCUMENT = TOP / "docs/benchmarks-field.md"
BITS = 11
SPEEDS, SIZES = (9600, 19200, 115200), (1, 10, 60, 125)
TURNAROUND_US = 3000
TCP_DEVICES, TCP_POINTS = 64, 100

TCP_SLAVE = """
import asyncio, struct, sys
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readexactly(8)
            tid, _, length, unit, code = struct.unpack(">HHHBB", head)
            first, count = struct.unpack(">HH", (await reader.readexactly(length - 2))[:4])
            data = b"".join(struct.pack(">H", (first + i) & 0xffff) for i in range(count))
            writer.write(struct.pack(">HHHBBB", tid, 0, 3 + len(data), unit, code, len(data)) + data)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()
asyncio.run(main())
"""


def say(*words):
    print(*words, file=sys.stderr, flush=True)


class Line:
    """sluice-sim with one slave, and a daemon that polls it: without a pause, unless it is told how often."""

    def __init__(self, folder, baud, count, every="10ms"):
        self.folder, self.baud = Path(folder), baud
        (self.folder / "line.sim").write_text(
            f'baud = {baud}; format = "8E1"; log = "{folder}/frames.log"; stations = ( {{ name = "u"; unit = 1; turnaround_us = {TURNAROUND_US};'
            f" holding = ( {{ at = 0; count = {count}; constant = 1; writable = true; }} ); }} );")
        self.sim = Process([SIM, self.folder / "line.sim", "--link", self.folder / "tty"], self.folder / "sim.log").start()
        wait_for((self.folder / "tty").exists, what="the line")
        points = [point("a", "holding:0", "uint16", "write = { };")] + ([point("z", f"holding:{count - 1}", "uint16")] if count > 1 else [])
        # Numbers of the ends alone: all that lies between is the cheaper way to both, up to a hole's worth.
        points += [point(f"p{i}", f"holding:{i}", "uint16") for i in range(9, count - 1, 9)]
        more = [f'g{i} = {{ every = "10ms"; publish = "change"; qos = 0; points = ( {", ".join(points[1 if i else 0:] or points)} ); }};' for i in range(4)]
        one = device("d", 1, points, every, group='publish = "change"; qos = 0;')
        if count == 1:  # more than 100 polls a second
            one = one.replace("groups = {", "groups = { " + " ".join(g.replace("write = { };", "") for g in more))
        self.daemon = Sluiced(self.folder / "d", conf([line(self.folder / "tty", more=f"baud = {baud};")], [one])).start()

    def close(self):
        self.daemon.stop()
        self.sim.stop()


def frames(path):
    for row in path.read_text().splitlines():
        cells = row.split(",")
        if cells[0].isdigit():
            yield int(cells[0]), int(cells[1]), cells[2], len(cells[4]) // 2, cells[5]


def efficiency(path, baud, skip_us):
    """Sum of legal time and the slave's own turnaround, over line time; silences of the master that were too short; polls."""
    char_us = BITS * 1e6 / baud
    silence_us = 1750 if baud > 19200 else 3.5 * char_us
    legal = short = polls = 0
    first = last = asked = None
    for start, end, who, length, notes in frames(path):
        if who == "master":
            if first is None and start > skip_us:
                first = start
            asked, asked_len = end, length
            for note in notes.split():
                short += note.startswith("silence=") and int(note[8:]) < silence_us - 1
        elif first is not None and asked is not None and start > first:
            legal += (asked_len + length) * char_us + silence_us + (start - asked)
            last, asked, polls = end, None, polls + 1
    return legal / (last + silence_us - first), short, polls


def measure(baud, count, seconds):
    with tempfile.TemporaryDirectory() as folder:
        run = Line(folder, baud, count)
        time.sleep(1)
        before, began = cpu_s(run.daemon.pid), time.monotonic()
        time.sleep(seconds)
        cpu, took = cpu_s(run.daemon.pid) - before, time.monotonic() - began
        run.close()
        share, short, polls = efficiency(run.folder / "frames.log", baud, 1_000_000)
        return share, short, cpu / (polls * took / seconds) * 1e6, polls / seconds


def speed_row(baud, count, seconds, rounds):
    got = [measure(baud, count, seconds) for _ in range(rounds)]
    best = max(r[0] for r in got)
    bar = 0.90 if baud == 115200 and count <= 10 else 0.95
    row = [f"{baud}, {count}", f"{best * 100:.1f} %", f"{min(r[0] for r in got) * 100:.1f} %", f"≥ {bar * 100:.0f} % {'✓' if best >= bar else '✗'}",
           sum(r[1] for r in got), f"{max(r[3] for r in got):.1f}", f"{statistics.median(r[2] for r in got):.0f}"]
    say(*row)
    return row


def speeds(seconds, rounds, at_once):
    """The lines share the processors, as those of one box do."""
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        jobs = [pool.submit(speed_row, baud, count, seconds, rounds) for count in SIZES for baud in SPEEDS]
        rows = {job.result()[0]: job.result() for job in jobs}
    return table(["baud, registers", "best of the limit", "worst round", "bar", "short silences", "polls/s", "µs of processor a poll"],
                 [rows[f"{baud}, {count}"] for baud in SPEEDS for count in SIZES])


# --- commands -----------------------------------------------------------------------------------------------------

def command_times(baud, count, every, commands):
    """Milliseconds from a command to its verdict, sorted."""
    with tempfile.TemporaryDirectory() as folder:
        run = Line(folder, baud, count, every)
        client, verdict, times = mqtt.Client(), threading.Event(), []
        client.on_message = lambda *_: verdict.set()
        client.connect("127.0.0.1", run.daemon.port)
        client.subscribe("sluice/test/d/set/a/result", 1)
        client.loop_start()
        time.sleep(1)
        for i in range(commands):
            verdict.clear()
            began = time.monotonic()
            client.publish("sluice/test/d/set/a", json.dumps({"value": i}))
            assert verdict.wait(10)
            times.append((time.monotonic() - began) * 1000)
            time.sleep(random.uniform(0.05, 0.15))
        client.loop_stop()
        run.close()
        return sorted(times)


def exchange_ms(baud, chars):
    """With the silences before and after the request."""
    char = BITS * 1000 / baud
    return chars * char + 2 * silence_ms(baud) + TURNAROUND_US / 1000


def silence_ms(baud):
    return max(3.5 * BITS * 1000 / baud, 1.75)


def command_row(baud, idle, count):
    times = command_times(baud, 10, "10ms", count)
    waits = [t - idle for t in times]
    return waits[int(len(waits) * 0.95)], statistics.median(times), statistics.median(waits), max(waits)


def commands(count, rounds):
    """What a command takes longer among polls than on a line that is idle: what is under way ends first. The best of the rounds
    counts, as client and broker wait for a processor too."""
    rows = []
    for baud in SPEEDS:
        idle = statistics.median(command_times(baud, 10, "1h", count))
        most, among, middle, worst = min(command_row(baud, idle, count) for _ in range(rounds))
        bar = exchange_ms(baud, 8 + 25) + silence_ms(baud)
        rows.append([f"{baud}", f"{idle:.1f}", f"{among:.1f}", f"{middle:.1f}", f"{most:.1f}", f"{worst:.1f}", f"≤ {bar:.1f} {'✓' if most <= bar else '✗'}"])
        say(*rows[-1])
    return table(["baud", "idle line, median ms", "among polls, median ms", "wait, median", "95 of 100", "most", "bar: an exchange and a silence"], rows)


# --- TCP ----------------------------------------------------------------------------------------------------------

def tcp(seconds):
    """All of 64 devices' 100 points each second, over a connection each."""
    with tempfile.TemporaryDirectory() as folder:
        folder, port = Path(folder), free_port()
        slave = Process([sys.executable, "-c", TCP_SLAVE, port], folder / "slave.log").start()
        wait_for(lambda: listens(port), what="the devices")
        lines = [f'{{ name = "l{i}"; protocol = "modbus-tcp"; port = "tcp:127.0.0.1:{port}"; }}' for i in range(TCP_DEVICES)]
        points = [point(f"p{k}", f"holding:{k}", "uint16") for k in range(TCP_POINTS)]
        daemon = Sluiced(folder / "d", conf(lines, [device(f"d{i}", 1, points, "1s", on=f"l{i}", group="qos = 0;") for i in range(TCP_DEVICES)]))
        got, client = [], mqtt.Client()
        daemon.start()
        client.on_message = lambda c, u, m: got.append(m.payload.count(b",") if m.topic.endswith("/data/g") else 0)
        client.connect("127.0.0.1", daemon.port)
        client.subscribe("sluice/test/+/data/g", 0)
        client.loop_start()
        time.sleep(3)
        before, count, began = cpu_s(daemon.pid), len(got), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        cpu, readings = cpu_s(daemon.pid) - before, len(got) - count
        lines = status(daemon)["lines"]
        missed = sum(one[k] for one in lines for k in ("overruns", "skipped", "timeouts"))
        memory = int(next(r for r in Path(f"/proc/{daemon.pid}/status").read_text().splitlines() if r.startswith("VmRSS")).split()[1])
        client.loop_stop()
        daemon.stop()
        slave.stop()
    rate = readings * TCP_POINTS / took
    row = [f"{TCP_DEVICES} × {TCP_POINTS}", f"{rate:,.0f}", f"≥ 99 % of {TCP_DEVICES * TCP_POINTS:,} {'✓' if rate >= 0.99 * TCP_DEVICES * TCP_POINTS else '✗'}",
           missed, f"{cpu / took * 100:.1f} %", f"{cpu / readings * 1e6:.0f}", f"{memory / 1024:.1f}"]
    say(*row)
    return table(["devices × points, each second", "points/s published", "bar", "polls missed", "of a processor", "µs a poll", "memory, MB"], [row])


# --- on a virtual clock -------------------------------------------------------------------------------------------

def tables_of_the_test():
    """The tables that the unit test prints, and its counts of a faulty line."""
    done = subprocess.run([BUILD / "tests/unit/test_modbus_field"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    found, inside = [], False
    for row in done.stdout.splitlines():
        if row.startswith("| "):
            found += [[]] if not inside else []
            found[-1].append([c.strip() for c in row.strip("|").split("|")])
        inside = row.startswith("|")
    faults, dead = (table(rows[0], rows[1:]) for rows in found)
    return faults, dead


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--seconds", type=float, default=60)
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--at-once", type=int, default=4, help="lines that are measured beside each other")
    args.add_argument("--quick", action="store_true", help="two seconds each, one round, and no document")
    a = args.parse_args()
    if a.quick:
        a.seconds, a.rounds = 2, 1
    faults, dead = tables_of_the_test()
    wire = speeds(a.seconds, a.rounds, a.at_once)
    command = commands(10, 1) if a.quick else commands(100, 3)
    devices = tcp(a.seconds)
    text = "\n\n".join([
        "## At the wire's speed\n\nA line that polls fill, 8E1, a slave that takes "
        f"{TURNAROUND_US / 1000:g} ms to answer. The limit is the time of the characters, of 3.5 characters of silence around each frame, and "
        f"the slave's own. {a.rounds} rounds of {a.seconds:g} s, {a.at_once} lines at a time.", wire,
        "## Commands among polls\n\nPolls of ten registers fill the line; from the client's PUBLISH to the verdict that it gets. The wait "
        "is what that takes longer than on an idle line: what is under way ends first. Best of three rounds of 100.", command,
        "## Modbus TCP", devices,
        "## Dead units\n\nOn a line of 9600 baud that 31 live units would fill alone: minutes 2 to 12, on a virtual clock.", dead,
        "## Faults\n\nOne exchange among a hundred is spoilt; polls come every 200 ms, a unit may take 100 ms and the hold-off is 30 ms. How long "
        "until a reading is good again counts from the bad reading. On a virtual clock; `make soak` mixes all of them with writes in a million "
        "exchanges and counts wrong values. There are none but by collisions: where two units talk at once, what the simulator lets be heard "
        "is random, and one in 65,536 such answers has the right CRC; the soak has some ten thousand collisions.", faults])
    print(text)
    if not a.quick:
        DOCUMENT.write_text(
            f"# Measured: the field\n\nWritten by `make bench-field`. {os.cpu_count()} processors, {platform.machine()}, Linux "
            f"{platform.release().split('-')[0]}.\n\n{text}\n")
    return 1 if "✗" in text and not a.quick else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures a Modbus line of sluiced against what the wire allows, on sluice-sim's paced line: efficiency for each speed and
size, from the simulator's log of frames; processor time a poll; the time of a command among polls that fill the line.
Writes docs/benchmarks-field.md unless told to be quick."""
import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import paho.mqtt.client as mqtt  # noqa: E402
from daemon import SIM, TOP, Process, Sluiced, wait_for  # noqa: E402
from field import conf, device, line, point  # noqa: E402
from report import table  # noqa: E402

DOCUMENT = TOP / "docs/benchmarks-field.md"
BITS = 11
SPEEDS, SIZES = (9600, 19200, 115200), (1, 10, 60, 125)
TURNAROUND_US = 3000


class Line:
    """sluice-sim with one slave, and a daemon that polls it without a pause."""

    def __init__(self, folder, baud, count):
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
        one = device("d", 1, points, "10ms", group='publish = "change"; qos = 0;')
        if count == 1:  # more than 100 polls a second
            one = one.replace("groups = {", "groups = { " + " ".join(g.replace("write = { };", "") for g in more))
        self.daemon = Sluiced(self.folder / "d", conf([line(self.folder / "tty", more=f"baud = {baud};")], [one])).start()

    def cpu_s(self):
        words = Path(f"/proc/{self.daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

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
        before, began = run.cpu_s(), time.monotonic()
        time.sleep(seconds)
        cpu, took = run.cpu_s() - before, time.monotonic() - began
        run.close()
        share, short, polls = efficiency(run.folder / "frames.log", baud, 1_000_000)
        return share, short, cpu / (polls * took / seconds) * 1e6, polls / seconds


def command_times(baud, count, commands):
    """Milliseconds from a command to its verdict, on a line that polls fill."""
    with tempfile.TemporaryDirectory() as folder:
        run = Line(folder, baud, count)
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
            time.sleep(0.05 + 0.013 * (i % 7))
        client.loop_stop()
        run.close()
        return times


def exchange_ms(baud, chars):
    char = BITS * 1000 / baud
    return chars * char + 2 * max(3.5 * char, 1.75) + TURNAROUND_US / 1000


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--seconds", type=float, default=60)
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--quick", action="store_true", help="two seconds each, one round, and no document")
    a = args.parse_args()
    if a.quick:
        a.seconds, a.rounds = 2, 1
    rows = []
    for baud in SPEEDS:
        for count in SIZES:
            rounds = [measure(baud, count, a.seconds) for _ in range(a.rounds)]
            best = max(r[0] for r in rounds)
            bar = 0.90 if baud == 115200 and count <= 10 else 0.95
            rows.append([f"{baud}, {count}", f"{best * 100:.1f} %", f"≥ {bar * 100:.0f} % {'✓' if best >= bar else '✗'}",
                         sum(r[1] for r in rounds), f"{max(r[3] for r in rounds):.1f}", f"{statistics.median(r[2] for r in rounds):.0f}"])
            print(*rows[-1], file=sys.stderr, flush=True)
    text = table(["baud, registers", "of the legal limit", "bar", "short silences", "polls/s", "µs of processor a poll"], rows) + "\n\n"
    rows = []
    for baud in SPEEDS:
        times = command_times(baud, 10, 10 if a.quick else 60)
        # What is under way ends first; then the command itself.
        wait, own = exchange_ms(baud, 13 + 20), exchange_ms(baud, 16)
        rows.append([f"{baud}", f"{statistics.median(times):.1f}", f"{max(times):.1f}", f"{wait:.1f}", f"{own:.1f}"])
    text += table(["baud", "command, median ms", "most", "one poll, ms", "the write, ms"], rows) + "\n"
    print(text)
    if not a.quick:
        DOCUMENT.write_text(
            "# A Modbus line at the speed of the wire\n\nWritten by `tests/bench/field.py`: a line without parity errors that polls fill, 8E1, a slave "
            f"that takes {TURNAROUND_US / 1000:g} ms to answer. Legal time is that of the characters, of 3.5 characters of silence around each "
            f"frame, and the slave's own; best of {a.rounds} rounds of {a.seconds:g} s. {os.cpu_count()} processors, {platform.machine()}, Linux "
            f"{platform.release()}.\n\n" + text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

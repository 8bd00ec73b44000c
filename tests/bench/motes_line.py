#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures lines of motes with sluice-sim's (make bench-motes-line): how near the limit of a serial wire packets come, up and down,
and what thousands that publish over UDP cost. Writes docs/benchmarks-motes-line.md unless told to be quick."""
import argparse
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import mqttsn  # noqa: E402
import paho.mqtt.client as mqtt  # noqa: E402
from daemon import SIM, SLUICECTL, TOP, Sluiced, cpu_s, wait_for  # noqa: E402
from report import table  # noqa: E402

DOCUMENT = TOP / "docs/benchmarks-motes-line.md"
BITS, SIZE = 10, 32
# A frame is its packet and so many octets; escapes come on top and are not counted.
AROUND = {"plain": 0, "slip-crc": 6, "xbee": 16}
# What goes up beside it: the radio's word on the acknowledgement that it has sent.
STATUS = {"xbee": 11}
PUBLISH, PUBACK = 7 + SIZE, 7


def say(*words):
    print(*words, file=sys.stderr, flush=True)


class Motes:
    def __init__(self, folder, text):
        self.path, self.log = Path(folder) / "motes.conf", Path(folder) / "motes.csv"
        self.path.write_text(text)
        self.folder = Path(folder)
        self.process = None

    def start(self, *options):
        self.process = subprocess.Popen([SIM, "motes", self.path, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout.readline()
        return self

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        _, text = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, text
        return {line.split(":")[0]: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", line)} for line in text.splitlines()}


def line_of(daemon):
    done = subprocess.run([SLUICECTL, "-c", daemon.conf_path, "-j", "status"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["lines"][0]


class Wire:
    """A line, so many motes behind it that publish without a pause (or only listen), and the daemon."""

    def __init__(self, folder, framing, baud, count, every):
        folder = Path(folder)
        self.motes = Motes(folder, f'line = {{ framing = "{framing}"; baud = {baud}; }}; motes = ( {{ name = "m"; count = {count}; every = "{every}"; '
                           f'size = {SIZE}; retry = "3s"; retries = 50; start = "1ms"; topic = "ab"; subscribe = "down"; }} );')
        self.motes.start("--link", folder / "tty", "--log", self.motes.log)
        self.daemon = Sluiced(folder / "d", f'lines = ( {{ name = "w"; protocol = "mqtt-sn"; port = "{folder}/tty"; baud = {baud}; '
                              f'framing = "{framing}"; prefix = "sn/"; retry = "60s"; }} );').start()
        wait_for(lambda: line_of(self.daemon)["motes"] == count, 60)
        wait_for(lambda: self.daemon.log() and line_of(self.daemon)["serial"]["octets_out"] > count * 8, 60)

    def close(self):
        self.daemon.stop()
        return self.motes.stop()


def counted(wire, seconds, key):
    """How much of something a second; what the daemon's processor time for one is."""
    time.sleep(1)
    before, began, cpu = line_of(wire.daemon), time.monotonic(), cpu_s(wire.daemon.pid)
    time.sleep(seconds)
    after, took = line_of(wire.daemon), time.monotonic() - began
    count = key(after) - key(before)
    return count / took, (cpu_s(wire.daemon.pid) - cpu) / max(count, 1) * 1e6


def up(framing, baud, count, seconds):
    """Packets a second, their limit, µs of processor a packet: motes publish at QoS 1, each as soon as it is answered."""
    with tempfile.TemporaryDirectory() as folder:
        wire = Wire(folder, framing, baud, count, "1ms")
        rate, cpu = counted(wire, seconds, lambda line: line["publishes"])
        counts = wire.close()
    assert counts["motes"]["lost"] == counts["motes"]["makes_no_sense"] == 0, counts
    octets = PUBLISH + AROUND[framing] + STATUS.get(framing, 0)
    if count == 1:  # by turns
        octets += PUBACK + AROUND[framing]
    return rate, baud / BITS / octets, cpu


def down(framing, baud, count, seconds):
    """The same the other way: one client publishes to all motes, more than the wire carries."""
    with tempfile.TemporaryDirectory() as folder:
        wire = Wire(folder, framing, baud, count, "1h")
        client = mqtt.Client(client_id="bench")
        client.connect("127.0.0.1", wire.daemon.port)
        client.loop_start()
        over = threading.Event()

        def fill():
            while not over.wait(count * (PUBLISH + AROUND[framing]) * BITS / baud / 2):
                client.publish("sn/down", b"." * SIZE, 1)

        filler = threading.Thread(target=fill)
        filler.start()
        rate, cpu = counted(wire, seconds, lambda line: line["deliveries"])
        over.set()
        filler.join()
        client.loop_stop()
        counts = wire.close()
    assert counts["motes"]["makes_no_sense"] == 0, counts
    return rate, baud / BITS / (PUBLISH + AROUND[framing]), cpu


WIRES = [("plain, one mote by turns, up", up, "plain", 1), ("slip-crc, 8 motes, up", up, "slip-crc", 8), ("slip-crc, 8 motes, down", down, "slip-crc", 8),
         ("xbee, 8 motes, up", up, "xbee", 8)]


def wires(seconds, rounds):
    rows = []
    for title, way, framing, count in WIRES:
        for baud in (9600, 115200):
            got = [way(framing, baud, count, seconds) for _ in range(rounds)]
            shares = [rate / limit for rate, limit, _ in got]
            best = max(shares)
            rows.append([f"{baud}, {title}", f"{got[0][1]:.1f}", f"{max(r for r, _, _ in got):.1f}", f"{best * 100:.1f} %", f"{min(shares) * 100:.1f} %",
                         f"≥ 90 % {'✓' if best >= 0.9 else '✗'}", f"{statistics.median(c for *_, c in got):.0f}"])
            say(*rows[-1])
    return table(["baud, motes, direction", "limit, packets/s", "best round", "of the limit", "worst round", "bar", "µs of processor a packet"], rows)


def crowd(count, rate, seconds):
    """Motes on UDP that publish at QoS 1: memory, processor time a message and of the idle daemon, round trips."""
    with tempfile.TemporaryDirectory() as folder:
        port = mqttsn.free_port()
        daemon = Sluiced(Path(folder) / "d", 'health = { every = "0s"; };\n'
                         f'lines = ( {{ name = "u"; protocol = "mqtt-sn"; port = "udp:127.0.0.1:{port}"; prefix = "sn/"; presence = false; }} );').start()
        empty = daemon.memory_kb("VmRSS")
        every = max(1, round(1000 * count / rate))
        motes = Motes(folder, f'gateway = "127.0.0.1:{port}"; motes = ( {{ name = "m"; count = {count}; every = "{every}ms"; size = {SIZE}; start = "5s"; '
                      'keepalive = "10m"; clean = true; } );').start()
        wait_for(lambda: line_of(daemon)["motes"] == count, 120)
        time.sleep(6 if seconds > 2 else 2)
        before, cpu = line_of(daemon)["publishes"], cpu_s(daemon.pid)
        time.sleep(seconds)
        done, cpu = line_of(daemon)["publishes"] - before, cpu_s(daemon.pid) - cpu
        memory = daemon.memory_kb("VmRSS")
        counts = motes.stop()
        cpu_idle = cpu_s(daemon.pid)
        time.sleep(seconds)
        cpu_idle = cpu_s(daemon.pid) - cpu_idle
        daemon.stop()
    assert counts["motes"]["lost"] == counts["motes"]["makes_no_sense"] == 0, counts
    trip = counts["round_trip_us"]
    row = [f"{count:,}", f"{done / seconds:,.0f}", f"{memory / 1024:.1f}", f"{(memory - empty) * 1024 / count:,.0f}", f"{cpu / max(done, 1) * 1e6:.1f}",
           trip["p50"], trip["p99"], f"{cpu_idle / seconds * 100:.2f} %"]
    say(*row)
    return row


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--seconds", type=float, default=10)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--quick", action="store_true", help="two seconds each, one round, and no document")
    a = args.parse_args()
    if a.quick:
        a.seconds, a.rounds = 2, 1
    serial = wires(a.seconds, a.rounds)
    crowds = table(["motes on UDP", "messages/s", "memory, MB", "bytes a mote", "µs of processor a message", "round trip p50, µs", "p99, µs", "idle"],
                   [crowd(*row, a.seconds) for row in ((100, 1000), (10000 if not a.quick else 500, 2000))])
    text = "\n\n".join([
        f"## At the wire's speed\n\nMessages of {SIZE} octets at QoS 1 over sluice-sim's paced line, 8N1. The limit is what the wire carries of their "
        "frames, one behind the other; by turns, of a frame and its acknowledgement. What escapes add counts as loss, and so does the time that the "
        f"daemon and the simulator take. {a.rounds} rounds of {a.seconds:g} s.", serial,
        "## Thousands\n\nMotes on UDP, each connected once, a message of 32 octets at QoS 1 that no durable session takes. The round trip is what "
        "the motes saw, on processors that the simulator shares.", crowds])
    print(text)
    if not a.quick:
        DOCUMENT.write_text(
            f"# Measured: lines of motes\n\nWritten by `make bench-motes-line`. {os.cpu_count()} processors, {platform.machine()}, Linux "
            f"{platform.release().split('-')[0]}.\n\n{text}\n")
    return 1 if "✗" in text and not a.quick else 0


if __name__ == "__main__":
    sys.exit(main())

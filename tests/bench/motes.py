#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures MQTT-SN over UDP (make bench-motes): sequential QoS 1 against Debian's mosquitto over TCP and against a bare loop, with
a durable receiver, and memory and idle time of many motes. Writes docs/benchmarks-motes.md."""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))

import mqttsn  # noqa: E402
import raw  # noqa: E402
from daemon import BUILD, SLUICECTL, TOP, Mosquitto, Process, Sluiced, wait_for  # noqa: E402
from report import table  # noqa: E402

DOCUMENT = TOP / "docs/benchmarks-motes.md"
CLIENT = BUILD / "tests/bench/sequential"
SIZE = 32


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def cpu_us(pid):
    return sum(int((t / "schedstat").read_text().split()[0]) for t in Path(f"/proc/{pid}/task").iterdir()) / 1000


def memory(pid):
    return int(next(r for r in Path(f"/proc/{pid}/status").read_text().splitlines() if r.startswith("VmRSS")).split()[1])


class Site(Sluiced):
    def __init__(self, folder):
        self.sn = mqttsn.free_port()
        super().__init__(folder, f'log = "warning";\nhealth = {{ every = "0s"; }};\nlimits = {{ sessions = 100000; }};\nlines = ( {{ name = '
                         f'"radio"; protocol = "mqtt-sn"; port = "udp:127.0.0.1:{self.sn}"; prefix = ""; motes = 100000; presence = false; }} );\n')

    def store(self):
        done = subprocess.run([SLUICECTL, "-c", self.conf_path, "-j", "status"], capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout)["store"]


def run(pid, kind, port, count):
    before = cpu_us(pid)
    done = subprocess.run([CLIENT, kind, str(port), str(count), str(SIZE)], capture_output=True, text=True, check=True)
    return {"cpu": (cpu_us(pid) - before) / count, **json.loads(done.stdout)}


def sequential(folder, count, rounds):
    got = {"sluiced, MQTT-SN over UDP": [], "mosquitto, MQTT over TCP": [], "a bare loop, MQTT-SN over UDP": []}
    names = list(got)
    for number in range(rounds):
        site, peer = Site(folder / f"s{number}").start(), Mosquitto(folder / f"m{number}").start()
        port = mqttsn.free_port()
        floor = Process([CLIENT, "floor", str(port)], folder / "floor.log").start()
        time.sleep(0.2)
        got[names[0]].append(run(site.pid, "mqtt-sn", site.sn, count))
        got[names[1]].append(run(peer.pid, "mqtt", peer.port, count))
        got[names[2]].append(run(floor.pid, "mqtt-sn", port, count))
        floor.kill()
        peer.kill()
        site.stop()
    middle = {n: {k: statistics.median(r[k] for r in rows) for k in ("cpu", "p50_us", "p99_us")} for n, rows in got.items()}
    ours, theirs = middle[names[0]], middle[names[1]]
    rows = []
    for n in names:
        bars = [f"{middle[n][k]:.1f}" for k in ("cpu", "p50_us", "p99_us")]
        if n == names[0]:
            bars[0] += f" ({ours['cpu'] / theirs['cpu']:.2f} of mosquitto's {'✓' if ours['cpu'] <= theirs['cpu'] / 2 else '✗'})"
            bars[1] += f" ({ours['p50_us'] / theirs['p50_us']:.2f} {'✓' if ours['p50_us'] <= theirs['p50_us'] / 2 else '✗'})"
        rows.append([n, *bars])
        say(*rows[-1])
    return table(["", "µs of processor a publish", "50th percentile, µs", "99th, µs"], rows)


def durable(folder, count):
    """With a durable receiver that is away."""
    site = Site(folder / "d").start()
    with raw.client(site.port, "away", clean=False) as c:
        c.send(raw.subscribe(1, ("a/b", 1)))
        c.expect(raw.SUBACK)
    time.sleep(1)
    before = site.store()["commits"]
    r = run(site.pid, "mqtt-sn", site.sn, count)
    syncs = (site.store()["commits"] - before) / count
    site.stop()
    row = [f"{syncs:.2f} {'✓' if syncs <= 1.1 else '✗'}", f"{r['cpu']:.0f}", f"{r['p50_us']:.0f}"]
    say(*row)
    return table(["syncs a publish (bar 1.1)", "µs of processor", "50th percentile, µs"], [row])


def many(folder, idle, counts):
    """Motes that have connected and registered a topic; then nobody says anything."""
    rows = []
    for count in counts:
        site = Site(folder / f"many{count}").start()
        empty = memory(site.pid)
        first = mqttsn.Mote(site.sn, "first").connect(keepalive=65535)
        for i in range(count):
            node = mqttsn.Mote.__new__(mqttsn.Mote)
            node.__dict__.update(first.__dict__, name=f"mote-{i}", node=i.to_bytes(4, "big"), next=0)
            node.connect(keepalive=65535)
            node.register("some/topic/of/it")
        time.sleep(1)
        before = cpu_us(site.pid)
        time.sleep(idle)
        spent = (cpu_us(site.pid) - before) / idle
        full = memory(site.pid)
        rows.append([f"{count:,}", f"{full / 1024:.1f}", f"{(full - empty) * 1024 / count:,.0f}", f"{spent:.0f}"])
        say(*rows[-1])
        first.close()
        site.stop()
    return table(["motes behind a forwarder", "memory, MB", "bytes a mote", "µs of processor a second, idle"], rows)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--quick", action="store_true", help="small counts, and no document")
    a = args.parse_args()
    folder = Path(tempfile.mkdtemp(dir=TOP / "build"))
    try:
        parts = ["## One after the other\n\nA client publishes 32 bytes at QoS 1 and waits for each acknowledgement; nobody receives, the session is "
                 "clean. Medians of the rounds. The bare loop is epoll_wait, recvfrom and sendto, and keeps nothing.",
                 sequential(folder, 2000 if a.quick else 30000, 1 if a.quick else 7),
                 "## With a durable receiver that is away", durable(folder, 50 if a.quick else 2000),
                 "## Many motes", many(folder, 1 if a.quick else 20, [10, 100] if a.quick else [100, 10000])]
    finally:
        while Process.started:
            Process.started.pop().kill()
        shutil.rmtree(folder, ignore_errors=True)
    text = "\n\n".join(parts)
    print(text)
    if not a.quick:
        DOCUMENT.write_text(f"# Measured: motes\n\nWritten by `make bench-motes`. {os.cpu_count()} processors, {platform.machine()}, Linux "
                            f"{platform.release().split('-')[0]}.\n\n{text}\n")
    return 1 if "✗" in text else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures sluiced against Debian's mosquitto in one run, the two by turns, each scenario with a fresh broker and empty
state (make bench). Writes its tables into docs/benchmarks.md when nothing was left out."""
import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import brokers
import loads
import report
import stores

TOP = brokers.TOP
DOCUMENT = TOP / "docs/benchmarks.md"
KINDS = [brokers.Sluice, brokers.Mosquitto]
FULL = {"seconds": 1.5, "connections": 10000, "tls_connections": 500, "retained": 10000, "queued": 100000,
        "subscriptions": 1000000, "publishes": 200000, "backlog": 1000000, "idle": 60, "large": 200_000_000}
QUICK = {"seconds": 0.1, "connections": 50, "tls_connections": 5, "retained": 100, "queued": 2000, "subscriptions": 2000,
         "publishes": 5000, "backlog": 3000, "idle": 1, "large": 3_000_000}
FIELDS = [stores.empty, stores.connections, stores.retained, stores.queued, stores.subscriptions, stores.large]


def say(text):
    print(text, file=sys.stderr, flush=True)


def busy():
    """Seconds that all processors together were not idle since the boot."""
    words = [int(w) for w in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(words) - words[3] - words[4]) / os.sysconf("SC_CLK_TCK")


def ours():
    return sum(r.ru_utime + r.ru_stime for r in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def block_writes(work):
    """The program that counts sectors prints a table of its own."""
    program = Path(__file__).with_name("blockwrites.py")
    if not program.exists():
        return ""
    done = subprocess.run(["/usr/bin/python3", program], capture_output=True, text=True)
    if done.returncode:
        say(f"block writes: {done.stdout}{done.stderr}".strip())
    return done.stdout.strip()


def run(rounds, only, size, work, results, faults):
    wanted = lambda name: not only or name in only  # noqa: E731
    certs = brokers.certificates(work)
    chosen = [r for r in loads.ROWS if not only or "loads" in only or r.key in only]
    loads.ROWS[:] = chosen or loads.ROWS
    for number in range(rounds if chosen else 0):
        say(f"loads, round {number + 1} of {rounds}")
        loads.one_round(number, KINDS, work, certs, size["seconds"], results["loads"], faults)
    if chosen and not only or "calls" in only:
        say("system calls")
        try:
            loads.count_calls(KINDS, work, certs, size["seconds"], results["calls"])
        except (PermissionError, FileNotFoundError) as e:
            say(f"not counted: {e}")
    for number in range(rounds if wanted("stores") else 0):
        say(f"stores, round {number + 1} of {rounds}")
        for field in FIELDS:
            if number < 3 or field is stores.retained:  # memory hardly differs from round to round
                for kind in KINDS if number % 2 else KINDS[::-1]:
                    field(kind, work, certs, results["stores"], size)
    for number in range(min(rounds, 3) if wanted("backlog") else 0):
        say(f"backlog, round {number + 1}")
        for kind in KINDS:
            stores.backlog(kind, work, certs, results["stores"], size)
    if wanted("idle"):
        say("idle")
        stores.idle(KINDS, work, size["idle"], results["stores"])
    if wanted("blocks"):
        say("block writes")
        results["block_writes"] = block_writes(work)


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="everything once and tiny, to see that it works")
    parser.add_argument("--rounds", type=int, help="nine unless quick; with fewer the document stays as it is")
    parser.add_argument("--only", default="", metavar="A,B", help="some of: loads, calls, stores, backlog, idle, blocks, or the "
                        "key of a load")
    found = parser.parse_args()
    found.rounds = found.rounds or (1 if found.quick else 9)
    found.only = [w for w in found.only.split(",") if w]
    return found


def main():
    chosen = options()
    rounds, only, size = chosen.rounds, chosen.only, QUICK if chosen.quick else FULL
    brokers.Broker.calm = 1 if chosen.quick else brokers.Broker.calm
    work = TOP / f"build/bench/{os.getpid()}"
    work.mkdir(parents=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
    brokers.build_load()
    brokers.Sluice.copy = work / "program"
    shutil.copy(TOP / "build/sluiced", brokers.Sluice.copy)
    results = {"rounds": rounds, "size": size, "loads": {}, "calls": {}, "stores": {}}
    faults, begin = [], (time.monotonic(), busy(), ours())
    try:
        run(rounds, only, size, work, results, faults)
    finally:
        spent, machine, own = (now - then for now, then in zip((time.monotonic(), busy(), ours()), begin))
        cores = os.cpu_count()
        results["machine"] = {"date": time.strftime("%Y-%m-%d"), "cpu": processor(), "cores": cores,
                              "kernel": platform.release().split("-")[0], "versions": [k.version() for k in KINDS],
                              "others": max(0, machine - own) / spent / cores * 100}
        shutil.rmtree(work)
        (TOP / "build/bench/results.json").write_text(json.dumps(results, indent=1))
    for text in report.parts(results).values():
        print(text + "\n")
    if rounds >= 9 and not only:
        report.write(DOCUMENT, results)
    for fault in faults:
        print(f"FAULT {fault}")
    misses = [] if chosen.quick else report.missed(results)
    for miss in misses:
        print(f"MISSED {miss}")
    return 1 if faults or misses else 0


if __name__ == "__main__":
    sys.exit(main())

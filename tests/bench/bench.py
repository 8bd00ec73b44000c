#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures sluiced against Debian's mosquitto in one run, the two by turns, each scenario with a fresh broker and empty
state (make bench). BENCH_ROUNDS (9): fewer leave docs/benchmarks.md as it is. BENCH_ONLY: loads, calls, stores, backlog,
idle, blocks or the key of a load, several with commas. BENCH_SMALL=1: everything once and tiny, to see that it works."""
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
        "subscriptions": 1000000, "publishes": 200000, "backlog": 1000000, "idle": 60}
SMALL = {"seconds": 0.1, "connections": 50, "tls_connections": 5, "retained": 100, "queued": 2000, "subscriptions": 2000,
         "publishes": 5000, "backlog": 3000, "idle": 1}
FIELDS = [stores.empty, stores.connections, stores.retained, stores.queued, stores.subscriptions]


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


def main():
    small = bool(os.environ.get("BENCH_SMALL"))
    rounds = int(os.environ.get("BENCH_ROUNDS", 1 if small else 9))
    only = [w for w in os.environ.get("BENCH_ONLY", "").split(",") if w]
    size = SMALL if small else FULL
    brokers.Broker.calm = 1 if small else brokers.Broker.calm
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
    for miss in [] if small else report.missed(results):
        print(f"MISSED {miss}")
    return 1 if faults or (not small and report.missed(results)) else 0


if __name__ == "__main__":
    sys.exit(main())

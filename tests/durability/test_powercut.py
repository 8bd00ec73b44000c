# SPDX-License-Identifier: Apache-2.0
"""The store survives power cuts: what it called done is on the disk that a cut leaves, all of it, once, in order.

powercut/powercut.c is preloaded into powercut/powercut_store.c, kills it at a random call and leaves the disk that a
cut could leave. The store is then opened on that disk and everything it holds is compared with a model of the
operations that were said to be done: it must be the state of the last ticket that was told, or of the one after it,
which may have been under way. The same with a store that does not sync must lose something, or the test itself is
broken. SLUICE_CUTS says how many cuts (300), SLUICE_SEED repeats a run.
"""
import collections
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent / "powercut"
CUTS = int(os.environ.get("SLUICE_CUTS", "300"))
CHAIN = 15  # cuts on one disk, each on what the one before it left


def run(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, **options)


@pytest.fixture(scope="session")
def tools(tmp_path_factory):
    """The preloaded library and the program, from the sources as they are."""
    out = tmp_path_factory.mktemp("powercut")
    cc = os.environ.get("CC", "cc")
    flags = ["-std=gnu17", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Werror"]
    run("make", "-C", ROOT, "build/libsluice.a", stdout=subprocess.DEVNULL)
    run(cc, *flags, "-fPIC", "-shared", "-o", out / "powercut.so", HERE / "powercut.c",
        HERE / "powercut_disk.c", "-lpthread")
    libs = run("pkg-config", "--libs", "libuv", "sqlite3", stdout=subprocess.PIPE, text=True).stdout.split()
    run(cc, *flags, "-iquote", ROOT / "gateway", "-o", out / "powercut_store", HERE / "powercut_store.c",
        ROOT / "build/libsluice.a", *libs, "-lpthread")
    return out


class Model:
    """What a store must hold, as the lines that the program dumps."""

    def __init__(self):
        self.small, self.sessions, self.rows = {}, {}, {}

    def copy(self):
        other = Model()
        other.small = dict(self.small)
        other.sessions = dict(self.sessions)
        other.rows = {no: dict(rows) for no, rows in self.rows.items()}
        return other

    def apply(self, line):
        verb, *rest = line.split(" ")
        getattr(self, "do_" + verb.replace("-", "_"))(*rest)

    def do_put(self, no, seq, length, body, size):
        self.rows.setdefault(no, {})[int(seq)] = ("there", length, body, size)

    def do_remove(self, no, first, end):
        rows = self.rows.get(no, {})
        for seq in range(int(first), int(end)):
            rows.pop(seq, None)

    def do_release(self, no, seq):
        rows = self.rows.get(no, {})
        if int(seq) in rows:
            rows[int(seq)] = ("released", "0", "0", "0")

    def do_session(self, no, record):
        self.sessions[no] = record

    def do_purge(self, no):
        self.sessions.pop(no, None)
        self.rows.pop(no, None)
        self.small = {key: value for key, value in self.small.items()
                      if not (key[0] in ("identifier", "subscription") and key[1] == no)}

    def set_small(self, key, value):
        if value is None:
            self.small.pop(key, None)
        else:
            self.small[key] = value

    def do_value(self, name, text):
        self.set_small(("value", name), text or None)

    def do_identifier(self, no, number):
        self.set_small(("identifier", no, number), "")

    def do_no_identifier(self, no, number):
        self.set_small(("identifier", no, number), None)

    def do_subscription(self, no, name, text):
        self.set_small(("subscription", no, name), text)

    def do_no_subscription(self, no, name, _):
        self.set_small(("subscription", no, name), None)

    def do_retained(self, topic, key, size):
        self.set_small(("retained", topic), f"{key} {size}")

    def do_no_retained(self, topic):
        self.set_small(("retained", topic), None)

    def lines(self):
        """Unordered lines, then for each queue its rows, whose order counts."""
        small = {" ".join(key + ((value,) if value else ())) for key, value in self.small.items()}
        for no, record in self.sessions.items():
            size = sum(int(row[1]) + int(row[3]) for row in self.rows.get(no, {}).values())
            small.add(f"session {no} {record} {size}")
        rows = []
        for no in sorted(self.sessions):
            rows += [f"row {no} {seq} {' '.join(row)}" for seq, row in sorted(self.rows.get(no, {}).items())]
        return small, rows


def read_ledger(ledger, model):
    """The state at the last ticket that was told, and the one that may have been reached."""
    pending, told = {}, 0
    for line in ledger.split("\n")[:-1]:  # what stands behind the last line end was cut off
        ticket, text = line.split(" ", 1)
        if text != "done":
            pending.setdefault(int(ticket), []).append(text)
            continue
        for t in range(told + 1, int(ticket) + 1):
            for operation in pending.pop(t, []):
                model.apply(operation)
        told = int(ticket)
    ahead = model.copy()
    for operation in pending.get(told + 1, []):
        ahead.apply(operation)
    return model, ahead, told


def parse_dump(text):
    lines = text.split("\n")[:-1]
    return {line for line in lines if not line.startswith("row ")}, [line for line in lines if line.startswith("row ")]


def differences(model, dump):
    small, rows = model.lines()
    found = [f"lacks: {line}" for line in sorted(small - dump[0])]
    found += [f"has: {line}" for line in sorted(dump[0] - small)]
    if rows != dump[1]:
        missing, extra = set(rows) - set(dump[1]), set(dump[1]) - set(rows)
        found += [f"lacks: {line}" for line in sorted(missing)] + [f"has: {line}" for line in sorted(extra)]
        found += [] if missing or extra else ["rows out of order or doubled"]
    return found


def retained_bodies(db):
    """The bodies that the last word on each topic names, from the ledger's rows."""
    topics, end = {}, 1
    for key, row in db.execute("SELECT id, data FROM ledger ORDER BY id"):
        assert key >= end
        end, at = key + len(row), 0
        while at < len(row):
            head, = struct.unpack_from(">I", row, at)
            at += 4
            body = struct.unpack_from(">Q", row, at)[0] if head >> 31 else 0
            at += 8 if body else 0
            record = row[at:at + (head & 0x7fffffff)]
            at += len(record)
            if record[0]:
                start = 2 + (8 if record[1] & 0x20 else 0)
                length, = struct.unpack_from(">H", record, start)
                topics[record[start + 2:start + 2 + length]] = body
            else:
                topics.pop(record[1:], None)
        assert at == len(row)
    return topics.values()


def check_file(path):
    """What the store's own interface cannot show: SQLite's opinion, and that bodies are counted right. True when the
    ledger has been moved on."""
    db = sqlite3.connect(path)
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        uses = collections.Counter(body for body, in db.execute("SELECT body FROM queue WHERE body IS NOT NULL"))
        uses.update(body for body in retained_bodies(db) if body)
        assert dict(db.execute("SELECT id, uses FROM body")) == uses
        pieces = db.execute("SELECT id >> 16, sum(length(data)) FROM piece GROUP BY id >> 16")
        assert dict(pieces) == dict(db.execute("SELECT id, size FROM body"))
        return db.execute("SELECT min(id) > 1 FROM ledger").fetchone()[0]
    finally:
        db.close()


def one_cut(tools, disk, image, rng, sync, model):
    """Runs the program on disk until the cut; disk is what is left. Returns the differences, and the state it is in."""
    shutil.rmtree(image, ignore_errors=True)
    image.mkdir()
    at = int(30 * 2 ** rng.uniform(0, 10))
    env = {**os.environ, "LD_PRELOAD": str(tools / "powercut.so"), "POWERCUT_DIR": str(disk),
           "POWERCUT_IMAGE": str(image), "POWERCUT_AT": str(at), "POWERCUT_SEED": str(rng.getrandbits(63))}
    writer = subprocess.run([tools / "powercut_store", "write", disk, str(rng.getrandbits(31)), "1" if sync else "0"],
                            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert writer.returncode == -9, writer.stderr
    shutil.rmtree(disk)
    shutil.copytree(image / "tree", disk)
    behind, ahead, told = read_ledger(writer.stdout, model)
    dump = subprocess.run([tools / "powercut_store", "dump", disk], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False, timeout=60)
    if dump.returncode:
        return [f"dump ends with {dump.returncode}: {dump.stderr}"], None, told
    found = parse_dump(dump.stdout)
    if not differences(ahead, found):
        return [], ahead, told
    wrong = differences(behind, found)
    return wrong + ([f"log: {dump.stderr}"] if wrong and dump.stderr else []), behind, told


def cuts(tools, room, seed, count, sync):
    """Number of cuts after which something was lost or wrong, and the first such; tickets that were told in all; cuts
    after which the oldest retained messages had been put anew."""
    rng = random.Random(seed)
    bad, first, tickets, moved = 0, [], 0, 0
    disk, image = room / "disk", room / "image"
    model = None
    for number in range(count):
        if model is None or number % CHAIN == 0:
            shutil.rmtree(disk, ignore_errors=True)
            disk.mkdir()
            model = Model()
        wrong, model, told = one_cut(tools, disk, image, rng, sync, model)
        tickets += told
        if wrong:
            bad += 1
            first = first or [f"cut {number}:"] + wrong[:20]
            model = None
        elif sync and (disk / "sluice.db").exists():
            moved += check_file(disk / "sluice.db") or 0
    return bad, first, tickets, moved


@pytest.fixture
def room():
    """A folder where syncing costs nothing, if there is one: what is durable is the simulator's business."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="sluice-powercut-", dir=memory) as path:
        yield Path(path)


def seed_of_this_run():
    return int(os.environ.get("SLUICE_SEED") or random.SystemRandom().getrandbits(32))


def test_nothing_committed_is_lost(tools, room):
    seed = seed_of_this_run()
    print(f"SLUICE_SEED={seed} SLUICE_CUTS={CUTS}")
    bad, first, tickets, moved = cuts(tools, room, seed, CUTS, sync=True)
    print(f"{tickets} commits were told in {CUTS} cuts, {moved} of them with the ledger moved on; {bad} cuts lost something")
    assert moved > CUTS // 10, "too few moves to mean anything"
    assert tickets > 10 * CUTS, "too few commits to mean anything"
    assert not bad, f"seed {seed}:\n" + "\n".join(first)


def test_the_control_without_sync_loses(tools, room):
    seed = seed_of_this_run()
    print(f"SLUICE_SEED={seed}")
    count = max(30, min(CUTS // 5, 200))
    bad, *_ = cuts(tools, room, seed, count, sync=False)
    print(f"without sync {bad} of {count} cuts lost something")
    assert bad, f"seed {seed}: a store that does not sync lost nothing; the simulator does not cut"

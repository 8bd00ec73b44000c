# SPDX-License-Identifier: Apache-2.0
"""Judges a run of the demo: what arrived against what the site had on disk, and both against the frames on the wire."""
import bisect
import json
import re
import sqlite3
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

MS = 1000  # all times are microseconds since the line's start
ROUNDING = 2 * MS


# --- what the site reads, and how a register's value on the wire looks in a payload ---

def whole(wire, value):
    return type(value) is int and int(wire) == value


def single(wire, value):
    return struct.pack("<f", float(wire)) == struct.pack("<f", float(value))


def double(wire, value):
    return float(wire) == float(value)


def tenth(wire, value):
    return Decimal(wire) / 10 == Decimal(value)


def lowest_bit(wire, value):
    return value is bool(int(wire) & 1)


class Group(NamedTuple):
    device: str
    name: str
    counter: str  # the register that grows at each read
    points: dict  # point: (register, same value?)

    @property
    def key(self):
        return self.device, self.name


GROUPS = [
    Group("meter", "fast", "reads", {"voltage": ("voltage", single), "current": ("current", single),
                                     "power": ("power", single), "reads": ("reads", whole)}),
    Group("meter", "energy", "energy_reads", {"energy": ("energy", whole), "energy_reads": ("energy_reads", whole)}),
    Group("boiler", "main", "reads", {"flow_temp": ("flow_temp", tenth), "outside_temp": ("outside_temp", tenth),
                                      "burner": ("status", lowest_bit), "reads": ("reads", whole)}),
    Group("flow", "main", "reads", {"rate": ("rate", single), "total": ("total", double), "reads": ("reads", whole)}),
]
DEVICES = list(dict.fromkeys(g.device for g in GROUPS))


# --- the three sources ---

@dataclass
class Frame:
    start: int
    end: int
    values: dict  # register: what the slave sent
    index: int = 0  # among the replies of this device


class FrameLog:
    """The simulator's log: what was on the wire, and when."""

    def __init__(self, path):
        self.replies, self.requests, self.short = defaultdict(list), [], 0
        with open(path) as log:
            self.wall = int(re.search(r"\((\d+) us of 1970\)", log.readline())[1])
            for line in log:
                if line[0].isdigit() and line.endswith("\n"):
                    self._take(*line.rstrip("\n").split(",", 5))

    def _take(self, start, end, who, unit, octets, notes):
        if who == "master":
            self.requests.append(int(start))
            self.short += "short" in notes.split()
        elif octets and "fault=" not in notes and "collision=" not in notes:
            values = dict(re.findall(r"(\w+)#\d+=(\S+)", notes))
            if values:
                self.replies[who].append(Frame(int(start), int(end), values, len(self.replies[who])))

    def with_register(self, device, register):
        return [f for f in self.replies[device] if register in f.values]

    def next_request(self, frame):
        """When the exchange that the frame ended was over for certain."""
        at = bisect.bisect(self.requests, frame.end)
        return self.requests[at] if at < len(self.requests) else frame.end + 10**9


def stored_readings(state_dir):
    """(device, group, n) of each reading that waits for the cloud: straight from a copy of the site's database."""
    db = sqlite3.connect(Path(state_dir) / "sluice.db")
    bridge = [no for no, record, dead in db.execute("SELECT no, record, dead FROM session")
              if b"\x01bridge:cloud" in record and not dead]
    out = []
    for no in bridge:
        rows = db.execute("SELECT record FROM queue WHERE id >= ? AND id < ? ORDER BY id", (no << 40, (no + 1) << 40))
        out += [r for (record,) in rows if record and (r := parse_row(record))]
    db.close()
    return out


def parse_row(row):
    """Of a delivery (qos, retain, subscription identifiers), its message and the reading's record in it."""
    at = 3 + 4 * row[2]
    form, flags = row[at], row[at + 1]
    if form != 2:
        raise ValueError(f"a stored message has form {form}")
    if not flags & 0x40:
        return None  # a state, not a reading
    at += 2 + (8 if flags & 0x20 else 0) + (4 if flags & 4 else 0)  # born, expiry
    encoder_len = row[at + 4]
    if row[at + 5:at + 5 + encoder_len] != b"reading":
        return None
    at += 5 + encoder_len
    at += 2 + struct.unpack_from(">H", row, at)[0]  # topic
    if flags & 0x80:
        at += 4 + struct.unpack_from(">I", row, at)[0]  # properties
    n, device_len = struct.unpack_from(">xQ8xB", row, at)
    device = row[at + 18:at + 18 + device_len]
    at += 18 + device_len
    return device.decode(), row[at + 1:at + 1 + row[at]].decode(), n


class Reading(NamedTuple):
    at: int  # when it arrived
    n: int
    t: int  # its own time
    good: dict
    bad: dict

    @property
    def start(self):
        return self.n >> 32

    @property
    def count(self):
        return self.n & 0xffffffff


def parse_reading(at, payload, wall):
    p = json.loads(payload, parse_float=Decimal)
    t = datetime.strptime(p["t"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    us = round((t - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds() * 1000) * 1000
    return Reading(at, p["n"], us - wall, p["v"], p.get("q", {}))


@dataclass
class Evidence:
    """Of one run. Times in microseconds since the line's start."""
    arrivals: list = field(default_factory=list)  # [time, topic, payload]
    stops: list = field(default_factory=list)  # of the site: dict(kill, at, start, told, stored, window, room)
    backlog: int = 0  # when the link came back
    least: dict = field(default_factory=dict)  # what the run has to show at least

    def save(self, path):
        Path(path).write_text(json.dumps(self.__dict__, indent=1))

    @classmethod
    def load(cls, path):
        return cls(**json.loads(Path(path).read_text()))


# --- the judgement ---

@dataclass
class Row:
    wire: int = 0
    valueless: int = 0  # readings that say what is wrong instead
    committed: int = 0
    arrived: int = 0
    lost: int = 0
    repeated: int = 0
    disordered: int = 0
    wrong: int = 0
    at_kill: int = 0
    untaken: int = 0  # answers that came too late or damaged: the reading says so and has no value

    def add(self, other):
        for name, value in other.__dict__.items():
            setattr(self, name, getattr(self, name) + value)


class Judge:
    def __init__(self, evidence, frames):
        self.evidence, self.frames = evidence, frames
        self.rows = {d: Row() for d in DEVICES}
        self.problems = []
        self.oldest_at_kill = None  # age in µs of the oldest frame that was not yet committed
        self.readings = {}  # group: first arrivals in the order in which they came
        for g in GROUPS:
            self._judge_group(g)
        self._judge_stops()
        self._judge_show()
        for column in ("lost", "disordered", "wrong"):
            if self.total(column):
                self.problems.insert(0, f"{self.total(column)} {column.replace('disordered', 'out of order')}")

    def total(self, column):
        return sum(getattr(r, column) for r in self.rows.values())

    def _say(self, g, text):
        self.problems.append(f"{g.device}/{g.name}: {text}")

    def _judge_group(self, g):
        topic, row = f"/{g.device}/data/{g.name}", Row()
        arrived = [parse_reading(at, payload, self.frames.wall)
                   for at, t, payload in self.evidence.arrivals if t.endswith(topic)]
        first, highest = {}, 0
        for r in arrived:
            if r.n in first and r[2:] != first[r.n][2:]:
                row.wrong += 1
                self._say(g, f"n {r.n} arrived with two contents")
            row.disordered += r.n not in first and r.n < highest
            highest = max(highest, r.n)
            first.setdefault(r.n, r)
        self.readings[g.key] = list(first.values())
        committed = self._committed(g, arrived)
        row.arrived, row.repeated = len(first), len(arrived) - len(first)
        row.committed = len(committed)
        row.lost = len(committed - first.keys())
        for n in sorted(first.keys() - committed):
            self._say(g, f"n {n} arrived but belongs to no start of the site")
        ordered = [first[n] for n in sorted(first)]
        row.valueless = sum(not r.good for r in ordered)
        self._judge_values(g, row, ordered)
        self._account(g, row, ordered)
        self.rows[g.device].add(row)

    def _committed(self, g, arrived):
        """All numbers of each start up to the last one that was on its disk when it ended, or had arrived by then."""
        out = set()
        for stop in self.evidence.stops:
            on_disk = {n for d, name, n in stop["stored"] if (d, name) == g.key}
            known = on_disk | {r.n for r in arrived if r.at < stop["at"]}
            last = max((n for n in known if n >> 32 == stop["start"]), default=stop["start"] << 32)
            out |= set(range((stop["start"] << 32) + 1, last + 1))
            told = stop["told"].get(f"{g.device}/{g.name}", 0)
            if told > last:
                self._say(g, f"the site called n {told} committed, but its disk ends with {last}")
        return out

    def _judge_values(self, g, row, ordered):
        by_counter = {int(f.values[g.counter]): f for f in self.frames.with_register(g.device, g.counter)}
        previous = previous_counter = None
        for r in ordered:
            if r.good:
                counter = r.good.get(g.counter)
                why = self._check_values(g, r, by_counter.get(counter))
                if not why and previous_counter is not None and counter <= previous_counter:
                    why = f"a value from before that of the reading before it ({counter} after {previous_counter})"
                previous_counter = counter
            else:
                why = None if set(r.bad) == set(g.points) else f"neither values nor what is wrong with them: {r.bad}"
            if not why and previous and r.start == previous.start and r.t < previous.t:
                why = "a time before that of the reading before it"
            previous = r
            if why:
                row.wrong += 1
                self._say(g, f"n {r.start}:{r.count}: {why}")

    def _check_values(self, g, r, frame):
        if set(r.good) != set(g.points):
            return f"points {', '.join(r.good)} instead of {', '.join(g.points)}"
        if frame is None:
            return f"{g.counter} {r.good[g.counter]} was never on the wire"
        used = [frame]
        for point, (register, same) in g.points.items():
            source = self._source(g, frame, register)
            if source is None:
                return f"no frame for {point}"
            used.append(source)
            if not same(source.values[register], r.good[point]):
                return f"{point} is {r.good[point]}; the slave sent {source.values[register]}"
        began = min(used, key=lambda f: f.end)
        if not began.end - ROUNDING <= r.t <= self.frames.next_request(began) + ROUNDING:
            return f"its time is {(r.t - began.end) / 1e6:+.3f} s from the end of the frame that brought it"
        return None

    def _source(self, g, frame, register):
        """The frame itself; after a timeout a block may be read in two parts, then a neighbour."""
        replies = self.frames.replies[g.device]
        for i in (frame.index, frame.index - 1, frame.index + 1):
            if 0 <= i < len(replies) and register in replies[i].values:
                return replies[i]
        return None

    def _account(self, g, row, ordered):
        """Every answer on the wire is told by a reading, or it is known why not."""
        told = {r.good[g.counter] for r in ordered if r.good and g.counter in r.good}
        times = [r.t for r in ordered if r.good]
        bad = [r.t for r in ordered if not r.good]
        for f in self.frames.with_register(g.device, g.counter):
            row.wire += 1
            if int(f.values[g.counter]) in told:
                continue
            at = bisect.bisect(times, f.start)
            since, until = ([0] + times)[at], (times + [10**15])[at]
            if self._cut_off_by_a_stop(f):
                row.at_kill += 1
            elif any(since < t < until for t in bad):
                row.untaken += 1
            else:
                self._say(g, f"{g.counter} {f.values[g.counter]} was read at {f.end / 1e6:.3f} s, and no reading tells it")

    def _cut_off_by_a_stop(self, f):
        """It came so shortly before the end of a start that it could not be committed any more. kill -9: within linger
        and one commit; an orderly stop: only the one on the wire in that moment."""
        for stop in self.evidence.stops:
            age = stop["at"] - f.end
            if stop["kill"] and age <= stop["window"] and f.start < stop["at"] + 100 * MS:
                self.oldest_at_kill = max(age, self.oldest_at_kill or 0)
                return True
            if not stop["kill"] and age <= stop["window"] and self.frames.next_request(f) >= stop["at"]:
                return True
        return False

    def _judge_stops(self):
        for stop in self.evidence.stops:
            arrived = {(*g.key, r.n) for g in GROUPS for r in self.readings[g.key]}
            missing = [s for s in map(tuple, stop["stored"]) if s not in arrived]
            if missing and not self.total("lost"):
                self.problems.append(f"{len(missing)} readings were on the site's disk and never arrived")

    def _judge_show(self):
        """A demo that shows nothing has failed, too."""
        least = self.evidence.least
        if self.total("arrived") < least["arrived"]:
            self.problems.append(f"only {self.total('arrived')} readings arrived; {least['arrived']} make a demo")
        if self.evidence.backlog < least["backlog"]:
            self.problems.append(f"the backlog was {self.evidence.backlog}; {least['backlog']} make an outage")
        for device in DEVICES:
            if not any(r.good for g in GROUPS if g.device == device for r in self.readings[g.key]):
                self.problems.append(f"{device}: no values arrived")
        self._judge_silence()

    def _judge_silence(self):
        g = next(g for g in GROUPS if g.device == "boiler")
        told = [r.n for r in self.readings[g.key] if "timeout" in r.bad.values()]
        if not told:
            self._say(g, "was silent, but no reading says timeout")
        elif not any(r.good and r.n > told[-1] for r in self.readings[g.key]):
            self._say(g, "fell silent and no value came afterwards")
        states = [json.loads(p)["state"] for _, t, p in self.evidence.arrivals if t.endswith("/boiler/state") and p]
        if "dead" not in states:
            self._say(g, f"was never called dead ({', '.join(states)})")
        elif "online" not in states[states.index("dead"):]:
            self._say(g, f"was dead and never online again ({', '.join(states)})")


# --- proof that the judgement can fail ---

def sabotage(evidence, how):
    """Tampers with the evidence; each of these must be found."""
    a = evidence.arrivals
    mine = [i for i, (_, topic, payload) in enumerate(a) if topic.endswith("/meter/data/fast") and '"v":{"' in payload]
    i, k = mine[len(mine) // 3], mine[len(mine) // 3 + 1]
    p = json.loads(a[i][2])
    if how == "lose":
        evidence.arrivals = [x for x in a if x[1:] != a[i][1:]]
    elif how == "wrong":
        p["v"]["voltage"] += 0.01
    elif how == "stale":
        p["v"] = json.loads(a[mine[len(mine) // 3 - 1]][2])["v"]
    elif how == "time":
        p["t"] = json.loads(a[k][2])["t"]
    elif how == "reorder":
        a[i][2], a[k][2] = a[k][2], a[i][2]
    elif how == "forget":  # as if commits came much too late
        kill = next(s for s in evidence.stops if s["kill"])
        last = {(d, g): n for d, g, n in kill["stored"] if (d, g) == ("meter", "fast")}["meter", "fast"]
        gone = range(last - 9, last + 1)
        kill["stored"] = [s for s in kill["stored"] if s[2] not in gone or s[:2] != ["meter", "fast"]]
        evidence.arrivals = [x for x in a if not x[1].endswith("/meter/data/fast") or json.loads(x[2])["n"] not in gone]
    elif how == "hush":  # as if nobody had said that the boiler was dead
        evidence.arrivals = [x for x in a if not x[1].endswith("/boiler/state")]
    else:
        raise SystemExit(f"DEMO_SABOTAGE={how} is none of: lose, wrong, stale, time, reorder, forget, hush")
    if how in ("wrong", "stale", "time"):
        changed = json.dumps(p, separators=(",", ":"))
        for x in a:  # its repeats, too: they must not give it away
            if x[1:] == a[i][1:] and x is not a[i]:
                x[2] = changed
        a[i][2] = changed

# SPDX-License-Identifier: Apache-2.0
"""Each profile that comes with Sluice against a unit that sluice-sim plays after it: every point is read, good and what the
simulator says that it served; what can be written is written and read back."""
import json
import re
import subprocess
from pathlib import Path

import pytest
from daemon import SIM, SLUICED, Process, Sluiced, wait_for
from field import Watcher, check, conf, line, mbpoll

pytestmark = pytest.mark.skipif(not SIM.exists() or not SLUICED.exists(), reason="not built")

LIBRARY = Path(__file__).resolve().parents[2] / "drivers" / "modbus" / "profiles"
PROFILES = {p.stem: p.read_text() for p in sorted(LIBRARY.glob("*.conf"))}
SIZES = {"int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "float32": 2, "int64": 4, "uint64": 4}
# Parameters that differ from the default, where they bring points or another scale.
WITH = {"waveshare-relay-8ch": {"inputs": 1}, "eastron-sdm630": {}, "abb-acs580": {"reference": 50}, "advantech-adam-4017plus": {"low": -5, "span": 10.5}}


def points(text, parameters):
    """By group, then by name, what a profile says of its points: read here apart from the code that is tested."""
    values = {n: float(v) for n, v in re.findall(r"^  (\w+) = \{.*default = ([-\d.]+);", text, re.M)} | parameters
    base = int((re.search(r"^base = (\d);", text, re.M) or [0, 0])[1])
    groups, group = {}, None
    for row in text.splitlines():
        group = (re.match(r"  (\w+) = \{ every", row) or [0, group])[1]
        name = re.match(r'    \{ name = "(\w+)"; at = "([^"]+)";', row)
        if not name:
            continue
        get = lambda key, default=None: (re.search(rf' {key} = "?([^";]+)"?;', row) or [0, default])[1]  # noqa: E731
        table, at, bit = re.match(r"(\w+:|[34]0?(?=\d{4}))(\d+)\.?(\d*)$", name[2]).groups()
        when = re.match(r"(\w+) (>?=) (\d+)", get("when", "") or "")
        if when and not (values[when[1]] >= float(when[3]) if when[2] == ">=" else values[when[1]] == float(when[3])):
            continue
        scale, offset = float(get("scale", 1)), float(get("offset", 0))
        scale *= values[get("scale_by")] if get("scale_by") else 1
        offset += values[get("offset_by")] if get("offset_by") else 0
        write = re.search(r"write = \{([^}]*)\}", row)
        groups.setdefault(group, {})[name[1]] = {
            "at": f"{table.rstrip(':') if ':' in table else 'holding'}:{int(at) - base}", "type": get("type"), "bit": bit, "scale": scale,
            "offset": offset, "names": dict(re.findall(r'"(-?\d+) = ([^"]+)"', row)), "write": write and write[1]}
    return groups


def served(log):
    """What the simulator says that it served, by table and address, in order."""
    said = {}
    for at, value in re.findall(r"[ ,]((?:coil|discrete|input|holding):\d+)#\d+=(\S+)", log):
        said.setdefault(at, []).append(value)
    return said


def meant(p, raw):
    if p["type"] == "bool":
        return raw == "1"
    if p["type"] == "bit":
        return bool(int(raw) >> int(p["bit"]) & 1)
    return p["names"].get(raw, float(raw) * p["scale"] + p["offset"])


def same(a, b):
    return a == b if isinstance(a, (bool, str)) else abs(a - b) <= 1e-6 * max(1, abs(b))


def is_part(got, said):
    """True when got is in said, in order, with others between."""
    rest = iter(said)
    return all(any(same(value, s) for s in rest) for value in got)


def play(folder, ending, name, with_):
    groups = points(PROFILES[name], with_)
    tty, frames = folder / "tty", folder / "frames"
    args = [x for k, v in with_.items() for x in ("--with", f"{k}={v}")]
    sim = ending(Process([SIM, "--profiles", LIBRARY, "--profile", name, "--unit", "7", *args, "--link", tty, "--log", frames],
                         folder / "sim.log").start())
    wait_for(lambda: tty.exists() or not sim.running(), what="sluice-sim")
    assert sim.running(), sim.log()
    printed = subprocess.run([SIM, "--profiles", LIBRARY, "--profile", name, "--print"], capture_output=True, text=True, timeout=20).stdout
    baud = (re.search(r"^baud = (\d+)", printed) or [0, "19200"])[1]
    serial = (re.search(r'^format = "(\w+)"', printed, re.M) or [0, "8E1"])[1]
    faster = " ".join(f'{g} = {{ every = "500ms"; }};' for g in groups)
    device = (f'{{ name = "d"; line = "a"; unit = 7; profile = "{name}@1"; with = {{ {" ".join(f"{k} = {v};" for k, v in with_.items())} }}; '
              f"groups = {{ {faster} }}; }}")
    text = f'profile_path = "{LIBRARY}";\n' + conf([line(tty, more=f'baud = {baud}; format = "{serial}"; timing = {{ response = "2s"; }};')], [device])
    daemon = ending(Sluiced(folder, text)).start()
    return groups, frames, ending(Watcher(daemon)), text


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_reads_what_a_unit_of_its_kind_serves(tmp_path, ending, name):
    groups, frames, watcher, text = play(tmp_path, ending, name, WITH.get(name, {}))
    assert sum(map(len, groups.values())) == PROFILES[name].count("{ name ="), "a point that this test does not understand"
    good = lambda group: [p for p in watcher.on(f"d/data/{group}") if "q" not in p]  # noqa: E731
    for group in groups:
        wait_for(lambda: len(good(group)) >= 4, 60, f"readings of {group}: {watcher.got[-3:]}")
    readings = {g: good(g) for g in groups}
    # On a busy machine the unit may be late; but it refuses nothing, and nothing is out of range.
    assert {q for t, p, _ in watcher.got if "/data/" in t for q in json.loads(p).get("q", {}).values()} <= {"timeout", "skipped", "busy", "stale"}
    said = served(frames.read_text())
    for group, kinds in groups.items():
        got = readings[group]
        for point, p in kinds.items():
            values = [r["v"][point] for r in got]
            assert is_part(values, [meant(p, raw) for raw in said[p["at"]]]), (point, values, said[p["at"]][:20])
    assert len({json.dumps(r["v"]) for got in readings.values() for r in got}) > len(groups) or name.startswith("waveshare"), "nothing changes"
    code, out = check(tmp_path, re.sub(r"groups = \{ .* \}; \}", "}", text))  # at its own pace
    assert code == 0 and "warning: " not in out, out


def value_to_write(p, now):
    if p["type"] in ("bool", "bit"):
        return not now
    low, high = ((re.search(rf"{k} = (-?[\d.]+);", p["write"]) or [0, None])[1] for k in ("min", "max"))
    step = p["scale"] * 3
    return round(float(low) + step if low else now + step, 9) if high is None or now >= float(high) - step else round(now + step, 9)


WRITABLE = [n for n, text in PROFILES.items() if "write = {" in text]


@pytest.mark.parametrize("name", WRITABLE)
def test_what_can_be_written_is_written_and_read_back(tmp_path, ending, name):
    groups, _, watcher, _ = play(tmp_path, ending, name, WITH.get(name, {}))
    for group, kinds in groups.items():
        for point, p in kinds.items():
            if p["write"] is None:
                continue
            now = watcher.wait(f"d/data/{group}", lambda r: point in r["v"], 60)["v"][point]
            value = value_to_write(p, now)
            watcher.client.publish(f"sluice/test/d/set/{point}", json.dumps(value), 1)
            assert watcher.wait(f"d/set/{point}/result", seconds=60)["verdict"] == "ok"
            watcher.wait(f"d/data/{group}", lambda r: point in r["v"] and same(r["v"][point], value), 60)


def test_what_is_no_point_does_not_exist_and_other_units_are_silent(tmp_path, ending):
    tty = tmp_path / "tty"
    sim = ending(Process([SIM, "--profiles", LIBRARY, "--profile", "xy-md02", "--unit", "3", "--unit", "4", "--profile", "waveshare-relay-8ch",
                          "--unit", "9", "--link", tty], tmp_path / "sim.log").start())
    wait_for(lambda: tty.exists() or not sim.running(), what="sluice-sim")
    ask = lambda *args: mbpoll(tty, "-b", "9600", *args)  # noqa: E731
    assert ask("-a", 4, "-t", 3, "-r", 1, "-c", 2)[0] == 0
    for args in (("-a", 3, "-t", 3, "-r", 0), ("-a", 3, "-t", 3, "-r", 2, "-c", 2), ("-a", 9, "-t", 1, "-r", 0), ("-a", 3, "-t", 4, "-r", 257)):
        code, out = ask(*args)
        assert code == 1 and "Illegal data address" in out, out
    code, out = ask("-a", 5, "-t", 3, "-r", 1)
    assert code == 1 and "timed out" in out, out


def test_the_simulator_tells_what_it_cannot_play(tmp_path):
    def say(*args):
        done = subprocess.run([SIM, "--profiles", tmp_path, *args], capture_output=True, text=True, timeout=20)
        assert done.returncode in (1, 2)
        return done.stderr

    head = 'version = 1; title = "a"; maker = "b"; document = "c";\n'
    (tmp_path / "date.conf").write_text(head + 'groups = { g = { every = "1s"; points = ( { name = "x"; at = "input:1"; type = "date6"; } ); }; };')
    (tmp_path / "at.conf").write_text(head + 'groups = { g = { every = "1s"; points = ( { name = "x"; at = "inputs:1"; type = "int16"; } ); }; };')
    (tmp_path / "key.conf").write_text(head + 'groups = { g = { evry = "1s"; points = ( ); }; };')
    assert "date.conf:2: the simulator cannot play a date6" in say("--profile", "date")
    assert 'at.conf:2: at = "inputs:1" is no address' in say("--profile", "at")
    assert "key.conf:2: unknown key `evry`" in say("--profile", "key")
    assert "there is no profile keys; did you mean key?" in say("--profile", "keys")
    for args in (("--unit", "1"), ("--profile", "date", "--unit", "248"), ("--profile", "date", "--unit", "1", "--profile", "at"), ("x", "--profile", "at"),
                 ("--profile", "at", "--with", "a"), ("--print", "x")):
        assert "usage: sluice-sim" in say(*args), args


def test_a_parameter_that_no_unit_has_is_told():
    run = lambda *more: subprocess.run([SIM, "--profiles", LIBRARY, "--profile", "eastron-sdm630", *more, "--print"],  # noqa: E731
                                       capture_output=True, text=True, timeout=20)
    wrong = run("--with", "phses=1")
    assert wrong.returncode and not wrong.stdout and "no profile here has a parameter phses" in wrong.stderr, wrong
    right = run("--profile", "eastron-sdm120", "--unit", "2", "--with", "phases=1")
    assert right.returncode == 0 and "stations = (" in right.stdout, right

# SPDX-License-Identifier: Apache-2.0
"""Profiles: what a device gets from one, what it may change, and how mistakes in both are told."""
import json
import subprocess

import pytest
from daemon import SLUICECTL, SLUICED, Sluiced, wait_for
from field import FAST, Watcher, check, conf, line, simulated, status

pytestmark = pytest.mark.skipif(not SLUICED.exists(), reason="not built")

PROFILE = """version = 2; title = "a meter"; maker = "Nobody"; document = "none"; order = "CDAB";
serial = { baud = 9600; format = "8N1"; };
parameters = { ratio = { min = 1; max = 100; default = 1; help = "of the transformer"; };
               phases = { type = "int"; min = 1; max = 3; default = 3; help = "that are there"; }; };
limits = { registers = 10; };
groups = { fast = { every = "100ms"; points = (
             { name = "u1"; at = "holding:0"; type = "uint16"; scale = 0.1; },
             { name = "u2"; at = "holding:1"; type = "uint16"; scale = 0.1; when = "phases >= 2"; },
             { name = "p"; at = "holding:2"; type = "uint16"; scale = 0.01; scale_by = "ratio"; unit = "kW"; },
             { name = "t"; at = "holding:3"; type = "int16"; offset = -10; offset_by = ("ratio", "phases"); } ); };
           slow = { every = "10s"; points = ( { name = "e"; at = "holding:4"; type = "uint32"; } ); }; };
"""
STATION = ('baud = 115200; format = "8N1"; strict = true; stations = ( { name = "one"; unit = 1; '
           "holding = ( { at = 0; count = 10; constant = 100; spread = 1; } ); } );")


def profiled(more="", name="m", wanted="meter"):
    return f'{{ name = "{name}"; line = "a"; unit = 1; profile = "{wanted}"; {more} }}'


def site(folder, device, port="/dev/ttyS0", text=PROFILE, name="meter", more=FAST):
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles" / f"{name}.conf").write_text(text)
    return 'profile_path = "profiles";\n' + conf([line(port, more=more)], [device])


def test_a_device_says_only_what_kind_it_is_of(tmp_path, ending):
    tty = simulated(tmp_path, ending, STATION)
    daemon = ending(Sluiced(tmp_path, site(tmp_path, profiled(), tty))).start()
    watcher = ending(Watcher(daemon))
    # Two registers with the low word first: 104 and 105.
    assert watcher.wait("m/data/slow", lambda p: p["v"])["v"] == {"e": 105 << 16 | 104}
    assert watcher.wait("m/data/fast", lambda p: "q" not in p)["v"] == {"u1": 10.0, "u2": 10.1, "p": 1.02, "t": 97}
    assert status(daemon)["devices"][0]["profile"] == "meter@2"


def test_parameters_and_what_a_device_changes(tmp_path, ending):
    tty = simulated(tmp_path, ending, STATION)
    own = ('with = { ratio = 40; phases = 1; }; without = ("slow"); groups = { fast = { points = ( '
           '{ name = "u1"; scale = 1; }, { name = "own"; at = "holding:9"; type = "uint16"; } ); }; '
           'more = { every = "100ms"; points = ( { name = "z"; at = "holding:8"; type = "uint16"; } ); }; };')
    daemon = ending(Sluiced(tmp_path, site(tmp_path, profiled(own), tty))).start()
    watcher = ending(Watcher(daemon))
    assert watcher.wait("m/data/fast", lambda p: "q" not in p)["v"] == {"u1": 100, "p": 40.8, "t": 134, "own": 109}
    assert watcher.wait("m/data/more", lambda p: "q" not in p)["v"] == {"z": 108}
    code, out = check(tmp_path, site(tmp_path, profiled(own)))
    assert code == 0, out
    for text in ("m: profile meter@2, a meter, ", "with ratio = 40\n", "with phases = 1\n", "without slow",
                 "group fast: 4 points every 100ms, 2 of them changed or added here", "leaves the factory with 9600 8N1; line a has 115200"):
        assert text in out, out


def test_a_changed_profile_is_told_and_read_anew_at_a_reload(tmp_path, ending):
    tty = simulated(tmp_path, ending, STATION)
    daemon = ending(Sluiced(tmp_path, site(tmp_path, profiled(), tty))).start()
    watcher = ending(Watcher(daemon))
    watcher.wait("m/data/fast", lambda p: p["v"].get("u1") == 10.0)
    site(tmp_path, profiled(), tty, PROFILE.replace("version = 2", "version = 3").replace("scale = 0.1", "scale = 0.2"))
    daemon.reload()
    watcher.wait("m/data/fast", lambda p: p["v"].get("u1") == 20.0)
    for _ in range(2):
        told = status(daemon)["devices"][0]
        assert (told["profile"], told["profile_before"]) == ("meter@3", "meter@2")
        daemon.restart()
    assert daemon.log().count("its profile is now meter@3, and was meter@2") == 1
    # A device that asks for the old one is not read by the new one.
    daemon.configure(site(tmp_path, profiled(wanted="meter@2"), tty, PROFILE.replace("version = 2", "version = 3")))
    daemon.reload()
    wait_for(lambda: "profile meter is version 3" in daemon.log() and "refused" in daemon.log(), what="the refusal")
    (tmp_path / "profiles" / "meter@2.conf").write_text(PROFILE)
    daemon.reload()
    wait_for(lambda: status(daemon)["devices"][0]["profile"] == "meter@2", what="the old one beside the new one")


def ctl(*args):
    done = subprocess.run([SLUICECTL, *args], capture_output=True, text=True, timeout=20)
    return done.returncode, done.stdout, done.stderr


def test_people_see_which_profiles_there_are_and_what_is_in_one(tmp_path):
    config = tmp_path / "c.conf"
    config.write_text('site = "x";\n' + site(tmp_path, profiled()))
    (tmp_path / "profiles" / "meter@1.conf").write_text(PROFILE.replace("version = 2", "version = 1"))
    (tmp_path / "profiles" / "other.conf").write_text(PROFILE.replace("scale = 0.1", "scala = 0.1"))
    code, out, _ = ctl("-c", config, "profile", "list")
    assert code == 0 and "meter          2  a meter\n" in out and "other          2  has mistakes\n" in out, out
    assert [p["name"] for p in json.loads(ctl("-c", config, "-j", "profile", "list")[1])] == ["meter", "meter", "other"]
    code, out, _ = ctl("-c", config, "profile", "show", "meter")
    for text in ("meter@2: a meter\n", "leaves the factory with: 9600 8N1", "parameter ratio: of the transformer (1 to 100; 1 unless given)",
                 "group fast, every 100ms", "holding:2", "phases >= 2"):
        assert code == 0 and text in out, out
    shown = json.loads(ctl("-c", config, "-j", "profile", "show", "meter@1")[1])
    assert shown["version"] == 1 and shown["groups"]["slow"]["points"] == [{"name": "e", "at": "holding:4", "type": "uint32"}]
    code, _, err = ctl("-c", config, "profile", "show", tmp_path / "profiles" / "other.conf")
    assert code == 1 and "other.conf:7: unknown key `scala`" in err
    (tmp_path / "profiles" / "other.conf").write_text(PROFILE.replace("holding:2", "holding:70000"))
    code, _, err = ctl("-c", config, "profile", "show", "other")
    assert code == 1 and 'other.conf:9: at = "holding:70000" is no address' in err
    assert ctl("-c", config, "profile", "show", "metre")[0] == 1 and ctl("-c", config, "profile", "show")[0] == 2
    assert ctl("-c", tmp_path / "no.conf", "profile", "list")[0] == 2 and "profile show NAME" in ctl("--help")[1]


MISTAKES = {
    "no such profile": (profiled(wanted="metre"), PROFILE, "c.conf:5: there is no profile metre; did you mean meter?"),
    "no name": (profiled(wanted="../meter"), PROFILE, '"../meter" is no name of a profile'),
    "no version": (profiled(wanted="meter@two"), PROFILE, '"meter@two" is no name of a profile'),
    "another version": (profiled(wanted="meter@7"), PROFILE, "meter.conf) and not 7: see what has changed, then ask for meter@2"),
    "no such parameter": (profiled("with = { ration = 2; };"), PROFILE, "profile meter has no parameter ration; it has ratio, phases"),
    "parameter out of range": (profiled("with = { ratio = 101; };"), PROFILE, "ratio = 101 is out of range; profile meter takes 1 to 100"),
    "parameter not whole": (profiled("with = { phases = 1.5; };"), PROFILE, "phases = 1.5: profile meter takes whole numbers"),
    "parameter no number": (profiled('with = { phases = "3"; };'), PROFILE, "`phases` in `with` is a string; a number is expected"),
    "no such group": (profiled('without = "fasst";'), PROFILE, "the profile has no group fasst; it has fast, slow"),
    "no such point": (profiled('without = "slow/x";'), PROFILE, "the profile has no point slow/x; it has e"),
    "without a profile": (profiled('with = { a = 1; };').replace('profile = "meter";', ""), PROFILE, "`with` goes with `profile`"),
    "broken text": (profiled(), PROFILE.replace("limits = {", "limits {"), "profiles/meter.conf:5: syntax error (profile meter of device m)"),
    "unknown key": (profiled(), PROFILE.replace("scale = 0.01", "scala = 0.01"),
                    "profiles/meter.conf:9: unknown key `scala` in `points`; did you mean `scale`? (profile meter of device m)"),
    "missing": (profiled(), PROFILE.replace('document = "none";', ""), "profiles/meter.conf: `document` is missing"),
    "bad condition": (profiled(), PROFILE.replace("phases >= 2", "phases > 2"), 'when = "phases > 2" is no condition'),
    "bad factor": (profiled(), PROFILE.replace('scale_by = "ratio"', 'scale_by = "ct"'),
                   "profiles/meter.conf:9: profile meter has no parameter ct"),
    "address": (profiled(), PROFILE.replace("holding:2", "holding:x"), 'profiles/meter.conf:9: at = "holding:x" is no address'),
    "for whom": (profiled(), PROFILE.replace("holding:2", "holding:x"), "of a register (profile meter of device m)"),
}


@pytest.mark.parametrize("device, text, says", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_its_place_and_for_whom(tmp_path, device, text, says):
    code, out = check(tmp_path, site(tmp_path, device, text=text))
    assert code == 1 and says in out, out
    assert "`at` is missing" not in out and len([row for row in out.splitlines() if ".conf:" in row]) <= 2, out

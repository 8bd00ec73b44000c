# SPDX-License-Identifier: Apache-2.0
"""What the running daemon makes of registers, when it publishes, and what it asks a device for."""
import struct

import pytest
from daemon import SLUICED, Sluiced, wait_for
from field import FAST, Watcher, X, check, conf, device, line, pair, point, pymodbus, simulated, status

pytestmark = pytest.mark.skipif(not SLUICED.exists(), reason="not built")


def words(data):
    return list(struct.unpack(f">{len(data) // 2}H", data))


def test_texts_dates_names_and_orders_from_line_device_and_point(tmp_path, ending):
    regs, points, want = [], [], {}

    def add(name, data, kind, more, value, at=None):
        points.append(point(name, at or f"holding:{len(regs)}", kind, more))
        regs.extend(words(data))
        want[name] = value

    add("hl", b"Pump 7\0\0", "string", "length = 8;", "Pump 7")
    add("lh", b"uPpm7 \0\0", "string", 'length = 8; layout = "LH";', "Pump 7")
    add("h", b"P.u.m.p.", "string", 'length = 4; layout = "H";', "Pump")
    add("l", b".P.u.m.p", "string", 'length = 4; layout = "L";', "Pump")
    add("when", struct.pack(">6H", 2026, 11, 24, 20, 5, 59), "date6", 'order = "ABCD";', "2026-11-24T20:05:59")
    add("bytes", bytes([26, 11, 24, 20, 5, 59]), "date3", 'order = "ABCD";', "2026-11-24T20:05:59")
    add("iec", bytes([0, 26, 11, 24, 20, 5, 0xE6, 0x78]), "date4", 'order = "ABCD";', "2026-11-24T20:05:59.000")
    add("mode", b"\0\3", "uint16", 'order = "ABCD"; names = ("0 = off", "3 = running");', "running")
    add("unnamed", b"\0\4", "uint16", 'order = "ABCD"; names = ("0 = off", "3 = running");', 4)
    add("pump", b"\0\4", None, 'order = "ABCD"; names = ("0 = off", "1 = on");', "on", at=f"holding:{len(regs)}.2")
    add("clamped", b"\xff\xff", "int16", 'order = "ABCD"; clamp = { min = 0; };', 0)
    add("point", b"\x41\xac\0\0", "float32", 'order = "ABCD";', 21.5)
    add("device", b"\0\0\x41\xac", "float32", "", 21.5)
    master, slave, _ = pair(tmp_path, ending)
    pymodbus(tmp_path, slave, regs + [0] * 64, ending)
    other = point("line", f"holding:{len(regs) - 2}", "uint32")
    daemon = ending(Sluiced(tmp_path, conf([line(master, more='baud = 19200; format = "8N1"; order = "BADC";')], [
        device("dev", 1, points, "500ms", more='response = "1s"; order = "CDAB";'),
        device("other", 7, [other], "500ms", more='response = "1s";')]))).start()
    watcher = ending(Watcher(daemon))
    assert watcher.wait("dev/data/g", lambda p: "q" not in p)["v"] == want
    assert watcher.wait("other/data/g", lambda p: "q" not in p)["v"] == {"line": 0xAC41}
    assert daemon.stop(3) == 0


def test_numbers_from_1_are_told_as_they_go_over_the_wire(tmp_path, ending):
    points = [point("a", "40003", "uint16"), point("b", "holding:5", "uint16"), point("c", "400007", "uint32"), point("bit", "40002.1"),
              point("co", "00004"), point("in", "30001", "int16")]
    code, out = check(tmp_path, conf([line("/dev/ttyS0")], [device("d", 1, points, more="base = 1;")]))
    assert code == 0, out
    for text in ("d/g/a: 40003 is read with code 3 at wire address 2, 1 register", "d/g/b: holding:5 is read with code 3 at wire address 4",
                 "d/g/c: 400007 is read with code 3 at wire address 6, 2 registers", "d/g/bit: 40002.1 is read with code 3 at wire address 1",
                 "d/g/co: 00004 is read with code 1 at wire address 3, 1 bit", "d/g/in: 30001 is read with code 4 at wire address 0"):
        assert text in out, out
    code, out = check(tmp_path, conf([line("/dev/ttyS0")], [device("d", 1, [X])]))
    assert code == 0 and "wire address" not in out
    watcher = play(tmp_path, ending, "holding = ( { at = 0; count = 10; constant = 100; spread = 1; } );",
                   [device("d", 1, points[:3], more="base = 1;")])[1]
    assert watcher.wait("d/data/g", lambda p: "q" not in p)["v"] == {"a": 102, "b": 104, "c": 106 << 16 | 107}


def play(folder, ending, station, devices, more=FAST):
    tty = simulated(folder, ending, 'baud = 115200; format = "8N1"; strict = true; stations = ( '
                                    f'{{ name = "one"; unit = 1; turnaround_us = 500; {station} }} );')
    daemon = ending(Sluiced(folder, conf([line(tty, more=more)], devices))).start()
    return daemon, ending(Watcher(daemon))


COUNTER = 'holding = ( { at = 0; value = "counter"; per = "second"; }, { at = 1; constant = 5; } );'
TWO = [point("n", "holding:0", "uint16"), point("five", "holding:1", "uint16")]


def test_what_does_not_change_is_not_published_again_before_its_heartbeat(tmp_path, ending):
    _, watcher = play(tmp_path, ending, COUNTER, [device("d", 1, TWO, "50ms", group='publish = "change"; heartbeat = "1s";')])
    wait_for(lambda: len([p for p in watcher.on("d/data/g") if "five" in p["v"]]) >= 3, what="two heartbeats")
    got = watcher.on("d/data/g")
    numbers = [p["v"]["n"] for p in got if "n" in p["v"]]
    assert len(set(numbers)) >= len(numbers) - 3 and sorted(numbers) == numbers
    assert len(got) <= 3 + 4 * 2
    assert [p["n"] for p in got] == list(range(got[0]["n"], got[0]["n"] + len(got)))  # each message has a number of its own


def test_deadband_and_least_interval_over_a_ramp(tmp_path, ending):
    ramp = 'holding = ( { at = 0; value = "ramp"; to = 10000; period = "10s"; }, { at = 1; value = "counter"; } );'
    points = [point("dead", "holding:0", "uint16", "scale = 0.1; deadband = 50;"), point("reads", "holding:1", "uint16")]
    _, watcher = play(tmp_path, ending, ramp, [device("d", 1, points, "50ms", group='publish = "change"; min_interval = "400ms"; payload = "point";')])
    wait_for(lambda: len(watcher.on("d/data/g/dead")) > 5 and len(watcher.on("d/data/g/reads")) > 5, what="readings")
    dead = [p["v"] for p in watcher.on("d/data/g/dead")][1:6]
    assert all(round(b - a, 1) >= 50 for a, b in zip(dead, dead[1:]) if b > a)
    reads = [p["v"] for p in watcher.on("d/data/g/reads")][:6]
    assert all(b - a >= 6 for a, b in zip(reads, reads[1:]))


def test_plain_values_and_retained_ones(tmp_path, ending):
    station = 'holding = ( { at = 0; constant = 215; } ); faults = ( { kind = "silence"; from = "3s"; } );'
    daemon, watcher = play(tmp_path, ending, station, [
        device("d", 1, [point("t", "holding:0", "int16", 'scale = 0.1; unit = "Cel";')], "100ms", group='publish = "change"; payload = "plain"; retain = true;')])
    wait_for(lambda: "21.5" in [p for t, p, _ in watcher.got if t.endswith("d/data/g/t")], what="the bare value")
    late = ending(Watcher(daemon))
    wait_for(lambda: ("sluice/test/d/data/g/t", "21.5", True) in late.got, what="the retained value")
    # A unit that is gone has no value: what was kept is taken back.
    watcher.wait("/d/state", lambda p: p["state"] == "dead")
    wait_for(lambda: [p for t, p, _ in watcher.got if t.endswith("d/data/g/t")][-1] == "", what="the value to be taken back")
    last = ending(Watcher(daemon))
    wait_for(lambda: last.on("/d/state"), what="the state")
    assert not last.on("d/data/g/t")


def test_a_retained_group_is_whole_and_a_point_says_its_unit(tmp_path, ending):
    daemon, watcher = play(tmp_path, ending, COUNTER, [
        device("d", 1, TWO, "50ms", group='publish = "change"; retain = true;')])
    wait_for(lambda: len(watcher.on("d/data/g")) > 2, what="changes")
    assert all(p["v"].keys() == {"n", "five"} for p in watcher.on("d/data/g"))
    daemon.configure(conf([line(tmp_path / "tty", more=FAST)], [
        device("d", 1, [point("five", "holding:1", "uint16", 'unit = "kW";')], "50ms", group='payload = "point";')]))
    daemon.reload()
    assert watcher.wait("d/data/g/five")["u"] == "kW"


def test_an_alarm_is_an_event_and_makes_its_group_faster(tmp_path, ending):
    ramp = 'holding = ( { at = 0; value = "ramp"; from = 0; to = 1000; period = "4s"; } );'
    points = [point("t", "holding:0", "int16", 'scale = 0.1; unit = "Cel"; alarm = { high = 50; high_high = 80; low = 5; hysteresis = 2; };')]
    _, watcher = play(tmp_path, ending, ramp, [device("d", 1, points, "300ms", group='alarm_every = "50ms";')])
    watcher.wait("event/alarm", lambda p: p["level"] == "high-high" and not p["active"], 30)
    events = watcher.on("event/alarm")
    on = next(e for e in events if e["level"] == "high" and e["active"])
    assert (on["device"], on["group"], on["point"], on["limit"], on["unit"]) == ("d", "g", "t", 50, "Cel") and on["value"] >= 50
    assert next(e for e in events if e["level"] == "high-high" and e["active"])["value"] >= 80
    for level in ("high", "high-high", "low"):
        states = [e["active"] for e in events if e["level"] == level]
        assert all(a != b for a, b in zip(states, states[1:])), level  # on and off in turn
    values = [p["v"]["t"] for p in watcher.on("d/data/g") if p["v"]]
    assert len([v for v in values if v >= 55]) > 2 * len([v for v in values if 7 < v < 50])


def test_stale_is_said_once(tmp_path, ending):
    station = 'holding = ( { at = 0; constant = 5; } ); faults = ( { kind = "silence"; from = "1s"; until = "3s"; } );'
    more = FAST.replace("dead = {", "dead = { after = 8;").replace("250ms", "100ms")
    _, watcher = play(tmp_path, ending, station, [device("d", 1, [X], "100ms", group="stale_after = 4; "), device("gone", 9, [X], "100ms")], more)
    watcher.wait("d/state", lambda p: p["state"] == "dead")
    wait_for(lambda: watcher.on("d/data/g")[-1]["v"], 20, "the unit to come back")
    said = [p.get("q", {}).get("x") for p in watcher.on("d/data/g")]
    first = said.index("timeout")
    rest = said[first:said.index("stale") + 2]
    assert rest[-2:] == ["stale", None] and set(rest[:-2]) <= {"timeout", "crc", None}
    assert [p["q"]["x"] for p in watcher.on("gone/data/g")].count("stale") == 1


HOLES = "holding = ( { at = 0; count = 2; constant = 7; }, { at = 6; count = 2; constant = 9; } );"


def test_what_a_device_refuses_is_learnt_and_remembered(tmp_path, ending):
    points = [point("a", "holding:1", "uint16"), point("b", "holding:6", "uint16"), point("c", "holding:7", "uint16")]
    daemon, watcher = play(tmp_path, ending, HOLES, [device("d", 1, points)])
    first = watcher.wait("d/data/g")
    assert first["v"] == {"a": 7, "b": 9, "c": 9} and "q" not in first  # even the first
    refusals = lambda: daemon.log().count("device d: refuses a request across holding:6")  # noqa: E731
    polls = lambda: status(daemon)["devices"][0]["polls"]  # noqa: E731
    wait_for(lambda: polls() > 5, what="polls")
    assert refusals() == 1
    daemon.restart()
    wait_for(lambda: polls() > 5, what="polls")
    assert refusals() == 1  # the log goes on
    # Other points: what was learnt of the old ones is not true of them.
    daemon.configure(conf([line(tmp_path / "tty", more=FAST)], [device("d", 1, points[:2])]))
    daemon.reload()
    wait_for(lambda: refusals() == 2, what="the new plan to be refused")
    assert daemon.stop(3) == 0


def test_a_device_of_few_registers_is_asked_in_smaller_pieces(tmp_path, ending):
    station = "max_registers = 10; holding = ( { at = 0; count = 64; constant = 1; spread = 1; } );"
    points = [point(f"p{i}", f"holding:{i}", "uint16") for i in range(64)]
    daemon, watcher = play(tmp_path, ending, station, [device("d", 1, points)])
    got = watcher.wait("d/data/g")
    assert got["v"] == {f"p{i}": i + 1 for i in range(64)} and "q" not in got
    polls = status(daemon)["devices"][0]
    assert polls["exceptions"] <= 8  # 64 registers to pieces of 8
    daemon.configure(conf([line(tmp_path / "tty", more=FAST)], [device("d", 1, points, more="limits = { registers = 10; };")]))
    daemon.reload()
    wait_for(lambda: status(daemon)["devices"][0]["exceptions"] == 0 and status(daemon)["devices"][0]["polls"] > 3, what="polls within the limit")


def test_forbidden_registers_are_never_asked_for(tmp_path, ending):
    station = 'holding = ( { at = 0; count = 2; constant = 7; }, { at = 2; exception = 4; }, { at = 3; constant = 8; } );'
    points = [point("a", "holding:1", "uint16"), point("b", "holding:3", "uint16")]
    daemon, watcher = play(tmp_path, ending, station, [device("d", 1, points)])
    watcher.wait("d/data/g", lambda p: p.get("q") == {"a": "exception 4", "b": "exception 4"})
    daemon.configure(conf([line(tmp_path / "tty", more=FAST)], [device("d", 1, points, more='limits = { forbidden = ("holding:2", "holding:100-119"); };')]))
    daemon.reload()
    assert watcher.wait("d/data/g", lambda p: "q" not in p)["v"] == {"a": 7, "b": 8}


@pytest.mark.parametrize("text, says", [
    ('rs485 = { mode = "kernal"; };', 'did you mean "kernel"'),
    ('rs485 = { mode = "gpio"; };', 'needs the line, as in gpio = "gpiochip0:17"'),
    ('rs485 = { mode = "gpio"; gpio = "gpiochip0"; };', '"gpiochip0" is no line'),
    ('rs485 = { mode = "gpio"; gpio = "gpiochip0:1"; rts_on_send = true; };', 'rts_on_send goes with mode = "kernel" or mode = "rts"'),
    ('rs485 = { mode = "rts"; terminate = true; };', 'terminate goes with mode = "kernel", not with "rts"'),
    ('rs485 = { delay_after = "1ms"; };', 'delay_after goes with mode = "kernel" or mode = "rts" or mode = "gpio", not with "none"'),
    ('rs485 = { mode = "rts"; delay_after = "1s"; };', "delay_after"),
])
def test_an_rs485_mode_that_cannot_be_meant_is_refused(tmp_path, text, says):
    code, out = check(tmp_path, conf([line("/dev/ttyS7", more=text)], [device("d", 1, [point("x", "holding:0", "int16")])]))
    assert code == 1 and says in out and "c.conf:3" in out, out


def test_a_port_without_a_tty_has_no_transceiver(tmp_path):
    for port in ("rtu+tcp:127.0.0.1:4001", "sim:line.sim"):
        (tmp_path / "line.sim").write_text("stations = ( );")
        code, out = check(tmp_path, conf([line(port, more='rs485 = { mode = "rts"; };')], []))
        assert code == 1 and "no transceiver of ours to switch" in out, out


def test_an_adapter_belongs_to_one_line(tmp_path):
    code, out = check(tmp_path, conf([line("usb:0403:6001:A", "a"), line("usb:0403:6001:A", "b")], []))
    assert code == 1 and "line a already has port usb:0403:6001:A" in out, out


def test_what_a_simulated_line_says_is_never_taken_for_real(tmp_path, ending):
    (tmp_path / "line.sim").write_text('baud = 115200; format = "8N1"; stations = ( { name = "one"; unit = 1; '
                                       "holding = ( { at = 0; constant = 700; }, "
                                       '{ at = 1; value = "ramp"; to = 100; period = "1s"; } ); } );')
    a = point("a", "holding:0", "uint16", "scale = 0.1;")
    ramp = point("ramp", "holding:1", "uint16", "alarm = { high = 60; };")
    devices = [device("d", 1, [a, ramp, point("no", "input:1", "uint16")])]
    groups = [device(n, 1, [a], on=n, group=f'payload = "{n}";') for n in ("point", "plain")]
    lines = [line("sim:line.sim", n, FAST) for n in ("a", "point", "plain")]
    daemon = ending(Sluiced(tmp_path, conf(lines, devices + groups))).start()
    watcher = ending(Watcher(daemon))
    got = watcher.wait("d/data/g", lambda p: p["v"])
    assert got["v"]["a"] == 70 and got["q"] == {"a": "simulated", "ramp": "simulated", "no": "exception 2"}
    got = watcher.wait("point/data/g/a", lambda p: "v" in p)
    assert (got["v"], got["q"]) == (70, "simulated")
    assert watcher.wait("event/alarm", lambda p: p["device"] == "d")["q"] == "simulated"
    watcher.wait("/plain/state", lambda p: p["state"] == "online")
    wait_for(lambda: next(d for d in status(daemon)["devices"] if d["name"] == "plain")["polls"] > 3, what="polls")
    assert not watcher.on("plain/data/g/a")
    assert "nothing of group g is published: line plain is simulated" in daemon.log()


def test_a_device_may_say_that_it_has_no_value(tmp_path, ending):
    station = ('holding = ( { at = 0; type = "int16"; constant = -1; }, { at = 1; constant = 65535; }, { at = 2; type = "int32"; constant = 2147483647; }, '
               "{ at = 4; constant = 5; } );")
    points = [point("a", "holding:0", "int16", 'no_value = "-1";'), point("b", "holding:1", "uint16", 'no_value = ("1", "0xFFFF");'),
              point("c", "holding:2", "int32", 'no_value = "0x7FFFFFFF";'), point("d", "holding:4", "int16", 'no_value = "0x8000";')]
    watcher = play(tmp_path, ending, station, [device("d", 1, points)])[1]
    got = watcher.wait("d/data/g")
    assert got["v"] == {"d": 5} and got["q"] == dict.fromkeys("abc", "out of range")
    for more, says in (('no_value = "none";', 'no_value: "none" is no whole number'), ('no_value = "1.5";', "is no whole number")):
        code, out = check(tmp_path, conf([line("/dev/ttyS0")], [device("d", 1, [point("x", "holding:0", "int16", more)])]))
        assert code == 1 and says in out, out
    code, out = check(tmp_path, conf([line("/dev/ttyS0")], [device("d", 1, [point("x", "holding:0", "float32", 'no_value = "1";')])]))
    assert code == 1 and "`no_value` is for whole numbers" in out, out

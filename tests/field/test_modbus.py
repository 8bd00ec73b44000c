# SPDX-License-Identifier: Apache-2.0
"""Modbus lines of the running daemon: against slaves that are not ours, against what mbpoll reads, and through what a
line in the field goes through."""
import shutil
import struct
import subprocess
import time

import pytest
from daemon import SLUICED, Process, Sluiced, free_port, wait_for
from field import (FAST, Watcher, X, check, conf, device, line, mbpoll, pair, point, pymodbus, site, status)

pytestmark = pytest.mark.skipif(not SLUICED.exists(), reason="not built")

ORDERS = ["ABCD", "CDAB", "BADC", "DCBA"]
ORDERS_OF_8 = ["ABCDEFGH", "GHEFCDAB", "BADCFEHG", "HGFEDCBA", "CDABGHEF", "EFGHABCD", "DCBAHGFE", "FEHGBADC"]
# type: what is read, and the bytes that mean it, the most significant first
VALUES = {
    "int16": (-12345, struct.pack(">h", -12345)), "uint16": (54321, struct.pack(">H", 54321)),
    "int32": (-1234567890, struct.pack(">i", -1234567890)), "uint32": (0xDEADBEEF, struct.pack(">I", 0xDEADBEEF)),
    "int48": (-123456789012345 // 2, (-123456789012345 // 2).to_bytes(6, "big", signed=True)),
    "uint48": (0xFEDCBA987654, bytes.fromhex("fedcba987654")),
    "int64": (-1234567890123456789, struct.pack(">q", -1234567890123456789)),
    "uint64": (0xFEDCBA9876543210, struct.pack(">Q", 0xFEDCBA9876543210)),
    "float16": (-0.15625, struct.pack(">e", -0.15625)), "float32": (21.5, struct.pack(">f", 21.5)),
    "float64": (-2.718281828459045e100, struct.pack(">d", -2.718281828459045e100)),
    "bcd16": (9081, bytes.fromhex("9081")), "bcd32": (12345678, bytes.fromhex("12345678")),
    "epoch32": ("2026-11-24T20:05:59Z", (1795550759).to_bytes(4, "big")),
}


def on_wire(order, big):
    """Bytes of falling significance as a device of that order sends them."""
    if len(order) == 8:
        return bytes(big["ABCDEFGH".index(c)] for c in order)
    words = [big[i:i + 2] for i in range(0, len(big), 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    return b"".join(w[::-1] if order in ("BADC", "DCBA") else w for w in words)


def layout():
    """[(name, type, order, address)] of one value of each type in each order, and the registers that hold them."""
    rows, regs = [], []
    for kind, (_, big) in VALUES.items():
        for order in ORDERS + (ORDERS_OF_8 if len(big) == 8 else []):
            rows.append((f"{kind}.{order}", kind, order, len(regs)))
            regs += struct.unpack(f">{len(big) // 2}H", on_wire(order, big))
    return rows, regs


def mbpoll_value(port, kind, order, at):
    """What mbpoll reads, for the types and orders that it has."""
    how = {"int16": "4", "uint16": "4", "int32": "4:int", "uint32": "4:int", "float32": "4:float"}.get(kind)
    if not how or order not in ("ABCD", "CDAB") or (order == "CDAB" and kind.endswith("16")):
        return None
    code, text = mbpoll(port, "-a", 1, "-t", how, "-r", at, "-c", 1, *(["-B"] if order == "ABCD" else []))
    assert code == 0, text
    # "[0]: 54321 (-11215)": the unsigned reading first where the two differ
    value = text.split(f"[{at}]:")[1].split("\n")[0].replace("(", " ").replace(")", " ").split()
    if kind == "float32":
        return float(value[0])
    signed = int(value[-1]) if len(value) > 1 else int(value[0])
    bits = 16 if kind.endswith("16") else 32
    return signed % 2**bits if kind.startswith("u") else (signed + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def mbpoll_words(port, count):
    """All holding registers, as mbpoll reads them."""
    words = []
    while len(words) < count:
        code, text = mbpoll(port, "-a", 1, "-t", "4:hex", "-r", len(words), "-c", min(100, count - len(words)))
        assert code == 0, text
        words += [int(row.split("0x")[1], 16) for row in text.splitlines() if "0x" in row]
    return words


def mbpoll_words_tcp(port, unit, at, count):
    done = subprocess.run(["mbpoll", "-m", "tcp", "-p", str(port), "-a", str(unit), "-t", "4:hex", "-0", "-r", str(at), "-c", str(count), "-1", "-q",
                           "127.0.0.1"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr
    return [int(row.split("0x")[1], 16) for row in done.stdout.splitlines() if "0x" in row]


def meaning(order, words):
    """The bytes of falling significance, from what came over the wire in that order."""
    data = struct.pack(f">{len(words)}H", *words)
    places = on_wire(order, bytes(range(len(data))))
    return bytes(data[places.index(i)] for i in range(len(data)))


def test_every_type_and_order_as_a_foreign_slave_has_them_and_mbpoll_reads_them(tmp_path, ending):
    rows, regs = layout()
    master, slave, _ = pair(tmp_path, ending)
    pymodbus(tmp_path, slave, regs + [0] * 64, ending)
    wait_for(lambda: mbpoll(master, "-a", 1, "-t", "4", "-r", 0, "-c", 1)[0] == 0, 20, "the slave")
    words = mbpoll_words(master, len(regs))
    judged = {name: mbpoll_value(master, kind, order, at) for name, kind, order, at in rows}
    points = [point(name, f"holding:{at}", kind, f'order = "{order}";') for name, kind, order, at in rows]
    bits = [point(f"co{i}", f"coil:{i}") for i in range(20)] + [point(f"di{i}", f"discrete:{i}") for i in range(20)]
    last = len(regs) + 63  # of the reversed input registers
    inputs = [point("in0", f"input:{last}", "uint16"), point("bit", f"input:{last}.9")]
    daemon = ending(Sluiced(tmp_path, conf([line(master)], [
        device("dev", 1, points + bits + inputs, "500ms", more="response = \"1s\";"),
        device("other", 7, [point("x", "holding:1", "uint16"), point("no", "holding:9999", "int16")], "500ms", more="response = \"1s\";")]))).start()
    watcher = ending(Watcher(daemon))
    got = watcher.wait("dev/data/g", lambda p: "q" not in p)["v"]
    for name, kind, order, at in rows:
        value, big = VALUES[kind]
        assert got[name] == value, name
        assert meaning(order, words[at:at + len(big) // 2]) == big, name
        if judged[name] is not None:
            assert got[name] == pytest.approx(judged[name], rel=1e-6), name
    assert sum(v is not None for v in judged.values()) == 8
    assert [got[f"co{i}"] for i in range(20)] == [i % 3 == 0 for i in range(20)]
    assert [got[f"di{i}"] for i in range(20)] == [i % 3 != 0 for i in range(20)]
    assert got["in0"] == regs[0] and got["bit"] == bool(regs[0] >> 9 & 1)
    other = watcher.wait("other/data/g", lambda p: p["v"])
    assert other["v"] == {"x": regs[1]} and other["q"] == {"no": "exception 2"}
    counts = status(daemon)["lines"][0]
    assert counts["crc"] == counts["late"] == counts["foreign"] == counts["timeouts"] == 0
    assert daemon.stop(3) == 0


def test_readings_follow_each_other_and_say_when(tmp_path, ending):
    daemon, watcher = site(tmp_path, ending, [device("d", 1, [X, point("gone", "holding:77", "int16")])])
    wait_for(lambda: len(watcher.on("d/data/g")) >= 10, what="readings")
    got = watcher.on("d/data/g")[:10]
    assert all(p["v"] == {"x": 21.5} and p["q"] == {"gone": "exception 2"} for p in got)
    assert all('"x":21.5}' in p for t, p, _ in watcher.got if t.endswith("d/data/g"))
    numbers = [p["n"] for p in got]
    assert numbers == list(range(numbers[0], numbers[0] + 10)) and numbers[0] >> 32 == 1
    assert sorted(p["t"] for p in got) == [p["t"] for p in got]
    daemon.restart()
    again = ending(Watcher(daemon))
    assert again.wait("d/data/g")["n"] >> 32 == 2
    assert daemon.stop(3) == 0


def test_a_topic_for_each_point(tmp_path, ending):
    daemon, watcher = site(tmp_path, ending, [device("d", 1, [X, point("no", "holding:77", "int16")], group='payload = "point"; qos = 2; ')])
    assert watcher.wait("d/data/g/x", lambda p: "v" in p)["v"] == 21.5
    watcher.wait("d/data/g/no", lambda p: p["q"] == "exception 2")
    assert not watcher.on("d/data/g")


def test_presence_is_told_when_it_changes_and_kept(tmp_path, ending):
    daemon, watcher = site(tmp_path, ending, [device("d", 1, [X]), device("two", 2, [X]), device("nobody", 9, [X])],
                           'faults = ( { kind = "silence"; from = "2s"; until = "4s"; } );', more=FAST.replace("250ms", "150ms"))
    watcher.wait("/nobody/state", lambda p: p["state"] == "dead" and p["reason"] == "timeout")
    watcher.wait("/two/state", lambda p: p["state"] == "dead")
    wait_for(lambda: [p["state"] for p in watcher.on("/two/state")][-1] == "online", what="the unit to come back")
    assert [p["state"] for p in watcher.on("/two/state")] in (["online", "dead", "online"], ["online", "stale", "dead", "online"])
    assert [p["state"] for p in watcher.on("/d/state")] == ["online"]
    assert any("timeout" == p.get("q", {}).get("x") for p in watcher.on("two/data/g"))
    late = ending(Watcher(daemon))
    wait_for(lambda: {t.split("/")[2] for t, p, retained in late.got if retained} >= {"d", "two", "nobody"}, what="retained presence")
    by_name = {d["name"]: d for d in status(daemon)["devices"]}
    assert by_name["nobody"]["state"] == "dead" and by_name["two"]["state"] == "online"
    assert by_name["d"]["groups"]["g"]["committed"] >= by_name["d"]["groups"]["g"]["n"] - 2


def test_reload_touches_only_what_changed(tmp_path, ending):
    lines = [line("sim:line.sim", n, FAST) for n in ("a", "b")]
    keep, change = device("keep", 1, [X], on="a"), device("change", 1, [X], on="b")
    daemon, watcher = site(tmp_path, ending, [keep, change, device("drop", 2, [X], on="b")], lines=lines)
    watcher.wait("change/data/g"), watcher.wait("keep/data/g"), watcher.wait("/drop/state")
    before = len(watcher.on("change/data/g"))
    daemon.configure(conf(lines, [keep, device("change", 1, [X, point("y", "holding:1", "int16")], on="b")]))
    daemon.reload()
    watcher.wait("change/data/g", lambda p: "y" in p["v"])
    wait_for(lambda: watcher.on("/drop/state")[-1] is None, what="the presence of a device that is gone to go")
    wait_for(lambda: len(watcher.on("change/data/g")) > before + 20, what="more readings")
    for name in ("keep", "change"):
        numbers = [p["n"] for p in watcher.on(f"{name}/data/g")]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), name
    assert daemon.log().count("line a: open") == 1 and daemon.log().count("line b: open") == 2
    # A configuration with a mistake changes nothing.
    daemon.configure(conf(lines, [keep.replace("unit = 1", "unit = 300")]))
    daemon.reload()
    wait_for(lambda: "refused" in daemon.log(), what="the refusal")
    count = len(watcher.on("change/data/g"))
    wait_for(lambda: len(watcher.on("change/data/g")) > count + 5, what="readings to go on")


def test_an_adapter_that_is_pulled_out_is_awaited(tmp_path, ending):
    _, regs = layout()
    master, slave, socat = pair(tmp_path, ending)
    server = pymodbus(tmp_path, slave, regs, ending)
    daemon = ending(Sluiced(tmp_path, conf([line(master)], [device("d", 1, [point("x", "holding:1", "uint16")], "200ms")]))).start()
    watcher = ending(Watcher(daemon))
    watcher.wait("d/data/g", lambda p: p["v"] == {"x": regs[1]})
    server.kill(), socat.kill()
    watcher.wait("/d/state", lambda p: p["state"] == "dead" and str(master) in p["reason"])
    assert status(daemon)["lines"][0]["state"] == "down"
    for end in (master, slave):
        end.unlink(missing_ok=True)
    _, slave, _ = pair(tmp_path, ending)
    pymodbus(tmp_path, slave, regs, ending)
    count = len(watcher.on("d/data/g"))
    wait_for(lambda: any(p["v"] for p in watcher.on("d/data/g")[count:]), 30, "readings again")
    wait_for(lambda: watcher.on("/d/state")[-1]["state"] == "online", what="presence")
    assert daemon.stop(3) == 0


def test_a_line_behind_a_device_server_is_read_and_awaited(tmp_path, ending):
    _, regs = layout()
    master, slave, _ = pair(tmp_path, ending)
    pymodbus(tmp_path, slave, regs, ending)
    port = free_port()
    serve = lambda: ending(Process([shutil.which("socat"), f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr", f"{master},raw,echo=0"],  # noqa: E731
                                   tmp_path / "server.log").start())
    server = serve()
    daemon = ending(Sluiced(tmp_path, conf([line(f"rtu+tcp:127.0.0.1:{port}")], [
        device("d", 1, [point("x", "holding:1", "uint16", "write = { };")], "200ms")]))).start()
    watcher = ending(Watcher(daemon))
    watcher.wait("d/data/g", lambda p: p["v"] == {"x": regs[1]})
    watcher.client.publish("sluice/test/d/set/x", "77")
    watcher.wait("d/data/g", lambda p: p["v"] == {"x": 77})
    server.stop()
    watcher.wait("/d/state", lambda p: p["state"] == "dead" and f"rtu+tcp:127.0.0.1:{port}" in p["reason"])
    count = len(watcher.on("d/data/g"))
    serve()
    wait_for(lambda: any(p["v"] for p in watcher.on("d/data/g")[count:]), 30, "readings again")
    assert daemon.stop(3) == 0


def test_a_port_is_not_shared_with_a_second_daemon(tmp_path, ending):
    master, _, _ = pair(tmp_path, ending)
    text = conf([line(master)], [device("d", 1, [X])])
    first = ending(Sluiced(tmp_path / "1", text)).start()
    wait_for(lambda: "line a: open" in first.log(), what="the first to open the port")
    second = ending(Sluiced(tmp_path / "2", text)).start()
    wait_for(lambda: "in use by another program" in second.log(), what="the second to say so")
    assert second.log().count("trying again") == 1
    first.stop(3)
    wait_for(lambda: "line a: open" in second.log(), what="the second to get it")
    assert second.stop(3) == 0


def test_stopping_does_not_wait_for_a_slow_unit(tmp_path, ending):
    daemon, _ = site(tmp_path, ending, [device("nobody", 9, [X], more='response = "30s"; ')])
    time.sleep(0.5)
    began = time.monotonic()
    assert daemon.stop(5) == 0
    assert time.monotonic() - began < 2.5


L = line("/dev/ttyS0")
MISTAKES = {
    "duplicate unit": ([L], [device("d", 1, [X]), device("e", 1, [X])], "unit 1 is already device d"),
    "unknown line": ([L], [device("d", 1, [X], on="b")], "there is no line b; did you mean a?"),
    "no line": ([], [device("d", 1, [X])], "there is no line a; add it"),
    "duplicate line": ([L, line("/dev/ttyS1")], [], "line a is there twice"),
    "duplicate device": ([L], [device("d", 1, [X]), device("d", 2, [X])], "device d is there twice"),
    "duplicate point": ([L], [device("d", 1, [X, X])], "point x is in group g twice"),
    "port twice": ([L, line("/dev/ttyS0", "b")], [], "line a already has port /dev/ttyS0"),
    "reserved": ([L], [device("state", 1, [X])], "no device can be called state"),
    "unit": ([L], [device("d", 248, [X])], "247"),
    "address": ([L], [device("d", 1, [point("x", "holding:65536", "int16")])], "from 0 to 65535"),
    "no table": ([L], [device("d", 1, [point("x", "40001", "int16")])], "counts from 1: give the device base = 1"),
    "last register": ([L], [device("d", 1, [point("x", "holding:65535", "float32")])], "needs 2 registers and the last one is 65535"),
    "type of a coil": ([L], [device("d", 1, [point("x", "coil:1", "int16")])], "a coil or discrete input is a bool"),
    "bit of a coil": ([L], [device("d", 1, [point("x", "coil:1.2")])], "a coil or discrete input has no bits"),
    "no type": ([L], [device("d", 1, [point("x", "holding:1")])], "`type` is missing"),
    "which bit": ([L], [device("d", 1, [point("x", "holding:1", "bit")])], "say which one"),
    "bit 16": ([L], [device("d", 1, [point("x", "holding:1.16")])], "bit B (0 to 15)"),
    "unknown type": ([L], [device("d", 1, [point("x", "holding:1", "real")])], "float32"),
    "order": ([L], [device("d", 1, [point("x", "holding:1", "int32", 'order = "HGFEDCBA"; ')])], "is for values of 8 bytes"),
    "scaled bit": ([L], [device("d", 1, [point("x", "holding:1.1", None, "scale = 2.0; ")])], "has no scale"),
    "base 0": ([L], [device("d", 1, [point("x", "holding:0", "int16")], more="base = 1;")], "with N from 1 to 65536"),
    "table of 4": ([L], [device("d", 1, [point("x", "20001", "int16")], more="base = 1;")], "is no address; write coil:N"),
    "string": ([L], [device("d", 1, [point("x", "holding:1", "string")])], "a string needs `length`"),
    "length": ([L], [device("d", 1, [point("x", "holding:1", "int16", "length = 4; ")])], "`length` is for the type string"),
    "scaled name": ([L], [device("d", 1, [point("x", "holding:1", "int16", 'scale = 0.1; names = "1 = on"; ')])], "`names` is for whole numbers"),
    "name": ([L], [device("d", 1, [point("x", "holding:1", "int16", 'names = "on"; ')])], "is no name of a number"),
    "clamp": ([L], [device("d", 1, [point("x", "holding:1", "int16", "clamp = { min = 5; max = 1; }; ")])], "min 5 is above max 1"),
    "two deadbands": ([L], [device("d", 1, [point("x", "holding:1", "int16", "deadband = 1; deadband_pct = 1; ")])], "exclude each other"),
    "no limit": ([L], [device("d", 1, [point("x", "holding:1", "int16", "alarm = { hysteresis = 1; }; ")])], "no limit"),
    "limits": ([L], [device("d", 1, [point("x", "holding:1", "int16", "alarm = { low = 9; high = 8; }; ")])], "on the wrong side"),
    "alarm of a bit": ([L], [device("d", 1, [point("x", "holding:1.2", None, "alarm = { high = 8; }; ")])], "`alarm` is for numbers"),
    "slower alarm": ([L], [device("d", 1, [X], "1s", group='alarm_every = "2s";')], "is slower than every = 1s"),
    "heartbeat": ([L], [device("d", 1, [X], "1s", group='heartbeat = "2s"; min_interval = "3s";')], "is shorter than min_interval"),
    "forbidden": ([L], [device("d", 1, [X], more='limits = { forbidden = "holding:5-4"; };')], "is no range; write"),
    "forbidden point": ([L], [device("d", 1, [point("x", "holding:9", "int32")], more='limits = { forbidden = "holding:10-12"; };')], "names"),
    "scale 0": ([L], [device("d", 1, [point("x", "holding:1", "int16", "scale = 0.0; ")])], "scale 0"),
    "no points": ([L], [device("d", 1, [])], "group g has no points"),
    "port": ([line("ttyS0")], [], "is no port; write a path"),
    "port sim": ([line("sim:nowhere.sim")], [], "/nowhere.sim: No such file"),
    "port tcp": ([line("rtu+tcp:box:4001")], [], "needs an address in numbers and a port"),
    "usb": ([line("usb:ftdi")], [], "usb:0403:6001:A50285BI"),
    "protocol": ([L.replace("modbus-rtu", "profibus")], [], "profibus"),
    "unknown key": ([L.replace("baud", "buad")], [], "did you mean `baud`?"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_place(name, tmp_path):
    lines, devices, text = MISTAKES[name]
    code, out = check(tmp_path, conf(lines, devices))
    assert code != 0
    assert text in out, out
    where = 3 if "line" in name and name != "unknown line" and name != "no line" or name in ("port twice", "port", "port sim", "port tcp", "usb", "protocol", "unknown key") else 4
    assert f"c.conf:{where}: " in out, out


def test_check_predicts_cycle_and_load(tmp_path):
    code, out = check(tmp_path, conf([L], [device("d", 1, [point(f"p{i}", f"holding:{i}", "int16") for i in range(10)], "1s")]))
    assert code == 0, out
    row = next(r for r in out.splitlines() if r.startswith("a "))
    # 19200 8N1: 13 + 20 characters, two silences of 3.5, and 5 ms for the unit.
    assert row.split()[2:5] == ["1", "10", "1"]
    assert float(row.split()[5]) == pytest.approx(40 * 10 / 19200 + 0.005, abs=0.0006)
    assert float(row.split()[7]) == pytest.approx(2.6, abs=0.1)
    code, out = check(tmp_path, conf([L], [device("d", 1, [X], "10ms")]))
    assert code == 0 and "warning: line a is asked for" in out and "% of its time" in out


def test_points_that_share_half_a_register_pair_are_pointed_out(tmp_path):
    code, out = check(tmp_path, conf([L], [device("d", 1, [point("x", "holding:1", "int32"), point("y", "holding:2", "int16")])]))
    assert code == 0 and "y and x share a register" in out

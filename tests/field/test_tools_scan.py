# SPDX-License-Identifier: Apache-2.0
"""sluicectl scan: who is on a line, what they say of themselves, and that the line is afterwards as it was."""
import signal

import pytest
from daemon import SLUICED, Sluiced, wait_for
from field import X, conf, device, line, status
from test_modbus_tcp import line as tcp_line
from test_modbus_tcp import pymodbus
from test_tools import ctl, jsons, start
from wire import Slave, Wire

pytestmark = pytest.mark.skipif(not SLUICED.exists(), reason="not built")

NAMES = [b"Muster AG", b"pump controller", b"2.7", b"http://pump", b"PC"]


def identify(first):
    """One object at a time, with more to follow."""
    last = first == len(NAMES) - 1
    return bytes([43, 14, 1, 1, 0 if last else 255, 0 if last else first + 1, 1, first, len(NAMES[first])]) + NAMES[first]


def talkative(unit, pdu):
    """Unit 3 knows all, unit 4 nothing, unit 5 reads alone; the others are not there."""
    if unit == 4:
        return bytes([pdu[0] | 128, 1])
    if unit not in (3, 5):
        return None
    if pdu[0] == 3:
        return bytes([3, 2 * pdu[4]]) + bytes(2 * pdu[4])
    if unit == 5:
        return None
    return identify(pdu[3]) if pdu[:2] == b"\x2b\x0e" else b"\x11\x05\x03\xffabc" if pdu[0] == 17 else bytes([pdu[0] | 128, 1])


def found(out):
    return {f["found"]["unit"]: f["found"] for f in jsons(out) if isinstance(f.get("found"), dict)}


def slow(folder, ending, baud=None, devices=(3,)):
    slave = ending(Slave(talkative, baud, baud is not None))
    more = 'baud = 19200; format = "8N1"; timing = { response = "200ms"; holdoff = "20ms"; };'
    daemon = ending(Sluiced(folder, conf([line(slave.port, more=more)], [device(f"d{u}", u, [X]) for u in devices]))).start()
    return daemon, slave


def test_who_is_there_and_what_they_say_of_themselves(tmp_path, ending):
    daemon, slave = slow(tmp_path, ending)
    wait_for(lambda: status(daemon)["devices"][0]["state"] == "online", what="the device")
    before = status(daemon)["lines"][0]["polls"]
    code, out, err = ctl(daemon, "scan", "a", "--units", "1-6", "--timeout", "2s", "--json")
    assert code == 0 and not err
    units = found(out)
    assert sorted(units) == [3, 4, 5]
    assert units[3]["objects"] == {str(i): n.decode() for i, n in enumerate(NAMES)} and units[3]["device"] == "d3"
    assert units[3]["server_id"] == "abc" and units[3]["server_id_hex"] == "03ff616263"
    assert units[4]["exception"] == 1 and units[4]["objects"] == {} and "device" not in units[4]
    assert units[5]["objects"] == {} and "server_id" not in units[5]
    progress = [f["progress"] for f in jsons(out) if "progress" in f]
    assert [p["unit"] for p in progress] == [1, 2, 3, 4, 5, 6] and jsons(out)[-1]["whole"] is True
    assert status(daemon)["lines"][0]["polls"] > before and "not polled" not in daemon.log()  # polling went on
    code, out, err = ctl(daemon, "scan", "a", "--units", "3-4", "--timeout", "2s")
    assert code == 0 and "Muster AG pump controller 2.7" in out and "d3" in out and "answers with exception 1" in out and "2 found" in err
    code, out, err = ctl(daemon, "scan", "a", "--units", "77", "--timeout", "50ms")
    assert code == 1 and not out and "0 found" in err


def test_other_speeds_are_tried_and_the_lines_own_comes_back(tmp_path, ending):
    daemon, slave = slow(tmp_path, ending, baud=9600)
    wait_for(lambda: status(daemon)["lines"][0]["crc"] > 1, what="what the device babbles")  # the line is set wrongly
    code, out, err = ctl(daemon, "scan", "a", "--units", "3", "--baud", "9600,38400", "--format", "8N1,8E1", "--timeout", "2s", "--json")
    assert code == 0 and not err
    assert jsons(out)[0]["paused"] is True
    hits = [(f["found"]["baud"], f["found"]["format"]) for f in jsons(out) if isinstance(f.get("found"), dict)]
    assert hits == [(9600, "8N1"), (9600, "8E1")]  # a pty knows no parity
    assert slave.speeds >= {9600, 38400}
    assert [(f["damaged"]["baud"], f["damaged"]["times"]) for f in jsons(out) if "damaged" in f] == [(38400, 1)] * 2  # told once a speed
    wait_for(lambda: slave.speed() == 19200, what="the line's own speed")
    slave.baud = 19200
    wait_for(lambda: status(daemon)["devices"][0]["state"] == "online", what="the device")
    assert "polled again: scan by" in daemon.log()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_scan_that_is_broken_off_leaves_the_line_as_it_was(tmp_path, ending, number):
    daemon, slave = slow(tmp_path, ending, devices=(3, 5))
    wait_for(lambda: status(daemon)["devices"][0]["state"] == "online", what="the device")
    p = start(daemon, "scan", "a", "--baud", "38400,9600", "--json")
    wait_for(lambda: slave.speed() == 38400, what="the scan")
    code, _, err = ctl(daemon, "sniff", "a")
    assert code == 1 and "busy with scan" in err
    code, _, err = ctl(daemon, "read", "d3", "holding:0")
    assert code == 1 and "to himself" in err
    p.send_signal(number)
    p.communicate(timeout=20)
    wait_for(lambda: slave.speed() == 19200, what="the line's own speed")
    before = status(daemon)["lines"][0]["polls"]
    wait_for(lambda: status(daemon)["lines"][0]["polls"] > before + 5, what="polling")
    assert "visit" not in status(daemon)["lines"][0]
    assert ctl(daemon, "read", "d3", "holding:0")[0] == 0


def test_a_reload_ends_a_scan(tmp_path, ending):
    daemon, slave = slow(tmp_path, ending)
    for args in (["--baud", "38400,9600"], []):
        p = start(daemon, "scan", "a", "--json", *args)
        assert "progress" in [p.stdout.readline() for _ in range(3)][-1]  # the second unit is being asked
        daemon.configure(conf([line(slave.port)], [device("e" if args else "f", 3, [X])]))
        daemon.reload()
        _, err = p.communicate(timeout=20)
        assert p.returncode == 1 and "ended early" in err, err
        wait_for(lambda: status(daemon)["devices"][0]["name"] == ("e" if args else "f"), what="the reload")
    assert daemon.stop(5) == 0


def test_units_behind_a_tcp_gateway(tmp_path, ending):
    port = pymodbus(tmp_path, [7] * 10, ending)
    daemon = ending(Sluiced(tmp_path, conf([tcp_line(port)], [device("d", 1, [X])]))).start()
    wait_for(lambda: status(daemon)["devices"][0]["state"] == "online", what="the device")
    code, out, _ = ctl(daemon, "scan", "a", "--units", "0-3,255", "--json")
    assert code == 0 and sorted(found(out)) == [0, 1, 255]
    code, _, err = ctl(daemon, "scan", "a", "--baud", "9600")
    assert code == 1 and "has no speed" in err


def test_what_cannot_be_scanned_is_told(tmp_path, ending):
    far = line("rtu+tcp:127.0.0.1:1", "far")
    daemon = ending(Sluiced(tmp_path, conf([line(ending(Wire()).port), far], [device("one", 1, [X])]))).start()
    for args, code, said in ((["a", "--units", "0-5"], 1, "from 1 to 247"), (["a", "--units", "5-1"], 1, "from 1 to 247"), (["b"], 1, "there is a, far"), (["far", "--baud", "9600"], 1, "is set where the line is"),
                             (["a", "--baud", "fast"], 1, "as in 9600,19200"), (["a", "--format", "7E1"], 1, "as in 8N1,8E1"), ([], 2, "scan needs"),
                             (["a", "--timeout", "1"], 2, "as in"), (["a", "--yes"], 2, "no option --yes")):
        got, out, err = ctl(daemon, "scan", *args)
        assert got == code and said in err and not out, (args, got, out, err)

# SPDX-License-Identifier: Apache-2.0
"""sluicectl doctor: on lines with known faults, it names them; on a line that is well, nothing."""
import json
import threading
import time

import pytest
from daemon import SLUICED, Sluiced, wait_for
from field import FAST, SIM, X, conf, device, line, simulated, site, status
from test_modbus_tcp import Server
from test_modbus_tcp import line as tcp_line
from test_tools import ctl, foreign
from wire import Slave, Wire

pytestmark = pytest.mark.skipif(not SLUICED.exists(), reason="not built")


def doctor(daemon, seconds="3s"):
    code, out, err = ctl(daemon, "doctor", "a", "--for", seconds, "--json")
    assert not err
    report = json.loads(out)
    assert code == (0 if report["healthy"] else 1)
    levels = [f["level"] for f in report["findings"]]
    assert levels == sorted(levels, key=["bad", "warning", "note"].index) and all(len(f["advice"]) > 20 for f in report["findings"])
    return report["healthy"], " | ".join(f"{f['level']}: {f['what']}" for f in report["findings"])


def known(daemon):
    wait_for(lambda: all(d["state"] in ("online", "dead") for d in status(daemon)["devices"]), what="the devices to be known")


def test_a_line_that_is_well(tmp_path, ending):
    daemon, _ = site(tmp_path, ending, [device("one", 1, [X]), device("two", 2, [X])])
    known(daemon)
    wait_for(lambda: status(daemon)["lines"][0]["load"] > 0, 30, "its load to be known")
    code, out, _ = ctl(daemon, "doctor", "a", "--for", "2s")
    assert "requests" in out.splitlines()[0] and " dead" not in out and "bad" not in out


def test_a_dead_device_noise_an_echo_and_damage_are_named(tmp_path, ending):
    faults = """faults = ( { kind = "glitch"; chance = 300000; }, { kind = "crc"; chance = 100000; } );"""
    tty = simulated(tmp_path, ending, (SIM % faults).replace("strict = true;", "strict = true; echo = true;"))
    daemon = ending(Sluiced(tmp_path, conf([line(tty, more=FAST)], [device("one", 1, [X]), device("two", 2, [X]), device("ghost", 9, [X])]))).start()
    known(daemon)
    healthy, said = doctor(daemon, "6s")
    assert not healthy
    for part in ("bad: device ghost (unit 9) is dead: timeout", "damaged answers", "warning: stray bytes", "note: the adapter hears itself"):
        assert part in said, (part, said)


def test_nobody_answers(tmp_path, ending):
    wire = ending(Wire())
    daemon = ending(Sluiced(tmp_path, conf([line(wire.port)], [device("d", 1, [X])]))).start()
    known(daemon)
    wait_for(lambda: doctor(daemon, "4s")[1].startswith("bad: nobody answers"), 60, "the verdict")
    daemon.configure(conf([line("/dev/nothing")], [device("d", 1, [X])]))
    daemon.reload()
    wait_for(lambda: status(daemon)["lines"][0]["state"] == "down", what="the port to be missed")
    healthy, said = doctor(daemon, "1s")
    assert not healthy and "bad: the line is down: /dev/nothing" in said


def test_another_master_is_noticed(tmp_path, ending):
    slave = ending(Slave(lambda unit, pdu: b"\x03\x02\0\x07" if unit == 1 else None))
    daemon = ending(Sluiced(tmp_path, conf([line(slave.port)], [device("d", 1, [X], "1s")]))).start()
    known(daemon)
    over = threading.Event()

    def speak():
        while not over.is_set():
            foreign(slave, 1)
            time.sleep(0.1)

    other = threading.Thread(target=speak)
    other.start()
    try:
        healthy, said = doctor(daemon)
    finally:
        over.set()
        other.join()
    assert not healthy and "bad: another master speaks on this line" in said


def test_a_tcp_line_and_what_is_no_line(tmp_path, ending):
    server = ending(Server(lambda n, request, reply: None if request[6] == 5 else (0, reply)))
    daemon = ending(Sluiced(tmp_path, conf([tcp_line(server.port)], [
        device("d", 3, [X]), device("e", 5, [X], more='response = "200ms";')]))).start()
    known(daemon)
    healthy, said = doctor(daemon)
    assert not healthy and "device e (unit 5) is dead" in said and "device d" not in said
    for args, code, text in ((["b"], 1, "there is no line b; there is a"), ([], 2, "doctor needs"), (["a", "--for", "0s"], 2, "as in"),
                             (["a", "--count", "3"], 2, "no option --count")):
        got, out, err = ctl(daemon, "doctor", *args)
        assert got == code and text in err and not out

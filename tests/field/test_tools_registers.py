# SPDX-License-Identifier: Apache-2.0
"""sluicectl read and write: registers by hand beside a service that polls; slaves that are not ours, and mbpoll, are the
judges."""
import json
import struct

import pytest
from daemon import SLUICED, Sluiced, wait_for
from field import Watcher, X, conf, device, line, point, status
from test_modbus import ORDERS, ORDERS_OF_8, VALUES, layout, mbpoll_words_tcp
from test_modbus_tcp import line as tcp_line
from test_modbus_tcp import pymodbus
from test_tools import Terminal, ctl
from wire import Slave

pytestmark = pytest.mark.skipif(not SLUICED.exists(), reason="not built")


def read(daemon, *args):
    code, out, err = ctl(daemon, "read", *args, "--json")
    assert not err
    return code, json.loads(out)


def tcp(folder, ending, regs, points, more=""):
    port = pymodbus(folder, regs, ending)
    daemon = ending(Sluiced(folder, conf([tcp_line(port)], [device("d", 1, points, more=more)]))).start()
    wait_for(lambda: status(daemon)["devices"][0]["state"] == "online", what="the device")
    return daemon, port


def test_every_type_and_order_is_read_as_a_point_would_be(tmp_path, ending):
    rows, regs = layout()
    daemon, port = tcp(tmp_path, ending, regs, [X])
    words = [w for at in range(0, len(regs), 100) for w in mbpoll_words_tcp(port, 1, at, min(100, len(regs) - at))]
    for name, kind, order, at in rows:
        code, answer = read(daemon, "d", f"holding:{at}", kind, "--order", order)
        value = answer["values"][0]
        n = len(VALUES[kind][1]) // 2
        assert code == 0 and value["value"] == VALUES[kind][0], (name, answer)
        assert [int(w, 16) for w in value["registers"]] == words[at:at + n]
        code, answer = read(daemon, "d", f"holding:{at}", kind, "--all-orders")
        orders = answer["values"][0]["orders"]
        assert set(orders) <= set(ORDERS + ORDERS_OF_8) and (order not in orders or orders[order].strip('"') == value["text"].strip('"')), (name, orders)
        assert value["text"] in orders.values()
        assert len(set(orders)) == {1: 2, 2: 4, 3: 4, 4: 8}[n]


def test_many_values_bits_strings_and_points(tmp_path, ending):
    text = list(struct.unpack(">3H", b"pump 7"))
    daemon, _ = tcp(tmp_path, ending, [0, 1, 2, 0xFFFE, 0x0104] + text, [
        point("level", "holding:3", "int16", 'scale = 0.5; unit = "Cel";'), point("bit", "holding:5.2", "bit")], more="base = 1;")
    code, answer = read(daemon, "d", "holding:2", "int16", "--count", "3")
    assert code == 0 and [(v["at"], v["value"]) for v in answer["values"]] == [("holding:2", 1), ("holding:3", 2), ("holding:4", -2)]
    _, answer = read(daemon, "d", "level")
    assert answer["values"][0]["value"] == 1 and answer["measure"] == "Cel" and answer["point"] == "level"
    assert read(daemon, "d", "bit")[1]["values"][0]["value"] is True
    assert read(daemon, "d", "holding:5.3")[1]["values"][0]["value"] is False
    assert read(daemon, "d", "holding:6", "string:6")[1]["values"][0]["value"] == "pump 7"
    assert [v["value"] for v in read(daemon, "d", "discrete:1", "--count", "3")[1]["values"]] == [True] * 3
    _, out, _ = ctl(daemon, "read", "d", "holding:4", "float32", "--all-orders")
    assert out.splitlines()[1].split() == ["AT", "REGISTERS", "ABCD", "CDAB", "BADC", "DCBA"]
    assert "FFFE 0104" in out and "no value" not in out


def test_what_is_written_is_there(tmp_path, ending):
    daemon, port = tcp(tmp_path, ending, [0] * 20, [X])
    for args, at, words in ((["holding:3", "42"], 3, [42]), (["holding:3", "int16", "-42"], 3, [0xFFD6]), (["holding:4", "float32", "21.5"], 4, [0x41AC, 0]),
                            (["holding:4", "float32", "21.5", "--order", "CDAB"], 4, [0, 0x41AC]), (["holding:6", "uint32", "0xDEADBEEF"], 6, [0xDEAD, 0xBEEF]),
                            (["holding:8", "string:4", "ab"], 8, [0x6162, 0]), (["holding:10", "int64", "-1234567890123456789"], 10, [0xEEDD, 0xEF0B, 0x8216, 0x7EEB])):
        code, out, err = ctl(daemon, "write", "d", *args, "--verify")
        assert code == 0 and "reads back so" in out, (args, err)
        assert mbpoll_words_tcp(port, 1, at, len(words)) == words, args
    code, out, _ = ctl(daemon, "write", "d", "coil:7", "on", "--verify")
    assert code == 0 and read(daemon, "d", "coil:7")[1]["values"][0]["value"] is True
    code, _, err = ctl(daemon, "write", "d", "holding:12.3", "true")
    assert code in (0, 1) and ("exception 1" in err) == (code == 1)  # by mask write, or it says that the device has none


def test_a_point_is_not_written_past_unless_that_is_meant_and_who_did_it_is_an_event(tmp_path, ending):
    daemon, port = tcp(tmp_path, ending, [0] * 20, [point("setpoint", "holding:5", "int16", "write = { min = 20.0; max = 80.0; };"), X])
    watcher = ending(Watcher(daemon))
    for args, said in ((["setpoint", "99"], "takes 20 to 80"), (["x", "3"], "not to be written"), (["holding:5", "99"], "--yes writes past it"),
                       (["holding:0", "1"], "not to be written"), (["holding:4", "uint32", "1"], "point setpoint")):
        code, out, err = ctl(daemon, "write", "d", *args)
        assert code == 1 and said in err and not out, (args, err)
    assert mbpoll_words_tcp(port, 1, 0, 6) == [0] * 6
    assert ctl(daemon, "write", "d", "setpoint", "42")[0] == 0
    assert "sluicectl" in watcher.wait("event/command", lambda p: p.get("point") == "setpoint" and p["verdict"] == "ok")["client"]
    assert ctl(daemon, "write", "d", "holding:5", "99", "--yes")[0] == 0
    event = watcher.wait("event/command", lambda p: p.get("at") == "holding:5")
    assert event["verdict"] == "ok" and event["value"] == "99" and event["user"] and event["client"] == "sluicectl"
    assert mbpoll_words_tcp(port, 1, 5, 1) == [99] and " wrote 99 to holding:5" in daemon.log()
    for keys, code, now in ((b"n\n", 1, 99), (b"y\n", 0, 98)):  # a person is asked
        t = ending(Terminal(daemon, "write", "d", "holding:5", "98"))
        wait_for(lambda: b"[y/N]" in t.read(), what="the question")
        assert t.end(keys) == code and mbpoll_words_tcp(port, 1, 5, 1) == [now]


def test_what_a_device_says_is_told_in_words(tmp_path, ending):
    said = {100: b"\x83\x02", 101: b"\x83\x06", 102: None}

    def answer(unit, pdu):
        at = pdu[1] << 8 | pdu[2]
        if pdu[0] == 3 and at in said:
            return said[at]
        return b"\x03" + bytes([2 * pdu[4]]) + bytes(2 * pdu[4]) if pdu[0] == 3 else bytes([pdu[0] | 128, 1])

    slave = ending(Slave(answer))
    more = 'baud = 19200; format = "8N1"; timing = { response = "300ms"; holdoff = "20ms"; };'
    daemon = ending(Sluiced(tmp_path, conf([line(slave.port, more=more)], [
        device("boiler", 1, [X], more='limits = { registers = 10; forbidden = ( "holding:300-310" ); };')]))).start()
    wait_for(lambda: status(daemon)["devices"][0]["state"] == "online", what="the device")
    for args, code, text in (
            (["boiler", "holding:100"], 1, "boiler refuses it: exception 2, illegal data address"), (["boiler", "holding:101"], 1, "exception 6, device busy"),
            (["boiler", "holding:102"], 1, "boiler does not answer"), (["bolier", "holding:1"], 1, "did you mean boiler?"),
            (["boiler", "y"], 1, "no point y"), (["boiler", "holding:1", "flot32"], 1, "there is no type flot32; there is bool"),
            (["boiler", "40001"], 1, "base = 1"), (["boiler", "holding:70000"], 1, "0 to 65535"), (["boiler", "holding:1", "bit"], 1, "needs a bit"),
            (["boiler", "coil:1", "int16"], 1, "a single bit is a bool"), (["boiler", "holding:1", "--count", "11"], 1, "1 to 10 values"),
            (["boiler", "holding:65535", "int32"], 1, "nothing behind"), (["boiler", "holding:305"], 1, "limits.forbidden"),
            (["boiler", "holding:1", "int16", "--order", "ABC"], 1, "there is no order ABC"), (["boiler", "coil:1", "--all-orders"], 1, "no byte order"),
            (["boiler", "holding:1", "string"], 1, "string:12"), (["boiler"], 2, "read needs"), (["boiler", "x", "int16"], 1, "has its type"),
            (["boiler", "holding:1", "--every", "1"], 2, "as in"), (["boiler", "holding:1", "--verify"], 2, "no option --verify")):
        got, out, err = ctl(daemon, "read", *args)
        assert got == code and text in err and not out, (args, got, out, err)
    for args, code, text in ((["boiler", "holding:9", "70000"], 1, "does not fit"), (["boiler", "holding:9", "abc"], 1, "is no uint16"),
                             (["boiler", "input:9", "1"], 1, "can only be read"), (["boiler", "holding:9", "7"], 1, "exception 1, illegal function"),
                             (["boiler", "holding:9.1", "true"], 1, "cannot write a single bit"), (["boiler", "holding:9"], 2, "write needs")):
        got, out, err = ctl(daemon, "write", *args)
        assert got == code and text in err and not out, (args, got, out, err)

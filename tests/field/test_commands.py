# SPDX-License-Identifier: Apache-2.0
"""Commands to points: what is true of them is told, once, to who asked, and mbpoll finds it in the device."""
import json
import threading

import paho.mqtt.client as mqtt
import pytest
from daemon import SLUICED, Sluiced, listens, wait_for
from field import FAST, Watcher, conf, device, line, mbpoll, pair, point, pymodbus, status
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from users import user, users

pytestmark = pytest.mark.skipif(not SLUICED.exists(), reason="not built")

W = "write = { };"
VERIFY = 'write = { verify = "readback"; };'


class Hand:
    """An MQTT 5 client that sends commands and gets the verdicts to a topic of its own."""

    def __init__(self, daemon, name="hmi", login=None, hears="answers/#"):
        self.got, self.topics = {}, []
        self.ready = threading.Event()
        self.client = mqtt.Client(name, protocol=mqtt.MQTTv5)
        self.client.on_message = self.take
        self.client.on_subscribe = lambda *_: self.ready.set()
        if login:
            self.client.username_pw_set(*login)
        self.client.connect("127.0.0.1", daemon.port)
        self.client.on_connect = lambda *_: self.client.subscribe(hears, 1)
        self.client.loop_start()
        assert self.ready.wait(20)

    def take(self, client, userdata, m):
        self.topics.append(m.topic)
        number = getattr(m.properties, "CorrelationData", None)
        if number and (m.topic.endswith("/result") or "/set/" not in m.topic):
            self.got[number] = (m.topic, json.loads(m.payload))

    def publish(self, device, name, payload, number, to, expiry=None):
        p = Properties(PacketTypes.PUBLISH)
        p.ResponseTopic, p.CorrelationData = to, number
        if expiry:
            p.MessageExpiryInterval = expiry
        self.client.publish(f"sluice/test/{device}/set/{name}", payload if isinstance(payload, str) else json.dumps(payload), 1, properties=p)

    def send(self, device, name, payload, expiry=None, to="answers/hmi"):
        number = b"%d" % (len(self.got) + 1)
        self.publish(device, name, payload, number, to, expiry)
        topic, answer = wait_for(lambda: self.got.get(number), what=f"the verdict on {device}/{name}")
        assert topic == to
        return answer

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_what_was_written_is_in_the_device(tmp_path, ending):
    master, slave, _ = pair(tmp_path, ending)
    pymodbus(tmp_path, slave, [0] * 40, ending)
    points = [point("i16", "holding:0", "int16", f"scale = 0.1; {W}"), point("u16", "holding:1", "uint16", "write = { function = 16; };"),
              point("i32", "holding:2", "int32", f'order = "CDAB"; {VERIFY}'), point("f32", "holding:4", "float32", VERIFY),
              point("u64", "holding:6", "uint64", VERIFY), point("text", "holding:10", "string", f"length = 8; {VERIFY}"),
              point("bit", "holding:14.3", None, VERIFY), point("mode", "holding:15", "uint16", f'names = ("1 = auto", "2 = hand"); {W}'),
              point("both", "holding:16", "uint32", "write = { function = 23; };"),
              point("coil", "coil:3", None, VERIFY), point("coil15", "coil:4", None, "write = { function = 15; };")]
    daemon = ending(Sluiced(tmp_path, conf([line(master)], [device("d", 1, points, "1s", more='response = "1s";')]))).start()
    watcher = ending(Watcher(daemon))
    watcher.wait("d/data/g")
    hand = ending(Hand(daemon))
    for name, value in (("i16", -12.3), ("u16", 54321), ("i32", -123456789), ("f32", 21.5), ("u64", "18446744073709551615"), ("text", "Pump 7"),
                        ("bit", True), ("mode", "hand"), ("both", 0x12345678), ("coil", "true"), ("coil15", 1)):
        answer = hand.send("d", name, {"value": value})
        assert (answer["ok"], answer["verdict"]) == (True, "ok"), name
        assert answer["device"] == "d" and answer["point"] == name
    assert hand.send("d", "i32", "-5")["read"] == -5
    watcher.wait("d/data/g", lambda p: p["v"].get("i32") == -5 and p["v"]["mode"] == "hand" and p["v"]["text"] == "Pump 7")
    assert daemon.stop(3) == 0
    code, text = mbpoll(master, "-a", 1, "-t", "4:hex", "-r", 0, "-c", 18)
    assert code == 0, text
    words = [int(row.split("0x")[1], 16) for row in text.splitlines() if "0x" in row]
    assert words[:4] == [0x10000 - 123, 54321, 0xFFFB, 0xFFFF]
    assert words[4:10] == [0x41AC, 0, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF]
    assert b"".join(w.to_bytes(2, "big") for w in words[10:14]) == b"Pump 7\0\0"
    assert words[14:18] == [8, 2, 0x1234, 0x5678]
    code, text = mbpoll(master, "-a", 1, "-t", 0, "-r", 0, "-c", 6)
    assert [row.split()[-1] for row in text.splitlines() if row.startswith("[")] == ["1", "0", "0", "1", "1", "0"], text


STATION = ('functions = ("1", "3", "4", "5", "6", "16"); holding = ( { at = 0; count = 8; writable = true; }, { at = 8; constant = 3; } );'
           "coil = ( { at = 0; count = 4; writable = true; } );")


def play(folder, ending, devices, line_more="", faults="", more=FAST):
    (folder / "line.sim").write_text(f'baud = 115200; format = "8N1"; strict = true; {line_more} stations = ( '
                                     f'{{ name = "one"; unit = 1; turnaround_us = 500; {STATION} {faults} }} );')
    daemon = ending(Sluiced(folder, conf([line("sim:line.sim", more=more)], devices))).start()
    return daemon, ending(Watcher(daemon))


POINTS = [point("a", "holding:0", "int16", "scale = 0.1; write = { min = 0; max = 50; };"), point("b", "holding:1", "int16", VERIFY),
          point("bit", "holding:2.1", None, W), point("ro", "holding:8", "int16", W), point("r", "holding:3", "int16"),
          point("coil", "coil:1", None, W)]


def test_what_cannot_be_done_is_said(tmp_path, ending):
    daemon, watcher = play(tmp_path, ending, [device("d", 1, POINTS), device("gone", 9, [point("x", "holding:0", "int16", W)])])
    hand = ending(Hand(daemon))
    for payload, name, verdict in ((50.1, "a", "out of range"), (-1, "a", "out of range"), (40000, "b", "out of range"), ("no", "b", "wrong type"),
                                   (1.5, "b", "wrong type"), (1, "r", "not writable"), (1, "c", "no such point"), (2, "coil", "out of range"),
                                   ({"id": 7}, "a", "malformed"), ({"value": 1, "until": "tomorrow"}, "a", "malformed"),
                                   ({"value": 1, "until": "2026-01-01T00:00:00Z"}, "a", "expired"), (1, "ro", "exception 2")):
        answer = hand.send("d", name, payload)
        assert (answer["ok"], answer["verdict"]) == (False, verdict), answer
    assert hand.send("nobody", "x", 1)["verdict"] == "no such device"
    assert hand.send("gone", "x", 1)["verdict"] == "timeout"
    assert hand.send("d", "a", {"value": 12.5, "until": "2126-01-01T00:00:00Z"}, expiry=60)["ok"]
    watcher.wait("d/data/g", lambda p: p["v"]["a"] == 12.5 and p["v"]["b"] == 0)
    events = [e for e in watcher.on("event/command")]
    assert len(events) == 15 and all(e["client"] == "hmi" for e in events)
    assert events[-1]["ok"] and events[-1]["value"] == 12.5 and events[-1]["point"] == "a"


def test_nobody_has_an_answer_sent_where_he_could_not_publish(tmp_path, ending):
    """The response topic of MQTT 5 is the sender's choice: rules hold for it as if he published there himself."""
    rules = users(user("ann", "a"), user("bob", "b")) + """acl = ( { user = "bob"; allow = "all"; topic = "#"; },
        { allow = "publish"; topic = "sluice/test/+/set/+"; }, { allow = "all"; topic = "answers/%u/#"; } );"""
    (tmp_path / "line.sim").write_text(f'baud = 115200; format = "8N1"; stations = ( {{ name = "one"; unit = 1; turnaround_us = 500; {STATION} }} );')
    daemon = Sluiced(tmp_path, conf([line("sim:line.sim", more=FAST)], [device("d", 1, POINTS)]) + rules, listener=False)
    with daemon.conf_path.open("a") as out:
        out.write(f'listeners = ( {{ bind = "127.0.0.1:{daemon.port}"; }} );\n')
    ending(daemon.start())
    wait_for(lambda: listens(daemon.port), what="the listener")
    bob = ending(Hand(daemon, "bob", ("bob", "b"), "#"))
    ann = ending(Hand(daemon, "ann", ("ann", "a"), "answers/ann/#"))
    assert ann.send("d", "b", 5, to="answers/ann")["ok"]
    # Where she may not: the verdict goes beside the command, where bob sees it, with her number.
    ann.publish("d", "b", 6, b"forged", "answers/bob")
    topic, answer = wait_for(lambda: bob.got.get(b"forged"), what="the verdict")
    assert topic == "sluice/test/d/set/b/result" and answer["ok"] and answer["value"] == 6
    ann.publish("d", "b", 7, b"system", "$SYS/broker/version")
    assert wait_for(lambda: bob.got.get(b"system"), what="the verdict")[0] == "sluice/test/d/set/b/result"
    assert ann.send("d", "b", 8, to="answers/ann/again")["ok"]
    assert {t for t, _ in ann.got.values()} == {"answers/ann", "answers/ann/again"}
    assert b"forged" not in ann.got and not [t for t in bob.topics if t == "answers/bob"]


def test_an_old_client_gets_the_verdict_beside_the_command(tmp_path, ending):
    daemon, watcher = play(tmp_path, ending, [device("d", 1, POINTS)])
    watcher.client.publish("sluice/test/d/set/b", "17", 0)
    assert watcher.wait("d/set/b/result")["verdict"] == "ok"
    watcher.wait("d/data/g", lambda p: p["v"]["b"] == 17)
    # What is retained under a command's topic is not a command of today.
    watcher.client.publish("sluice/test/d/set/b", "18", 1, retain=True)
    watcher.wait("d/data/g", lambda p: p["v"]["b"] == 18)
    watcher.client.publish("sluice/test/d/set/b", "19", 1)
    watcher.wait("d/data/g", lambda p: p["v"]["b"] == 19)
    daemon.restart()
    again = ending(Watcher(daemon))
    count = lambda: status(daemon)["devices"][0]["polls"]  # noqa: E731
    wait_for(lambda: count() > 5, what="polls")
    assert all(p["v"]["b"] == 0 for p in again.on("d/data/g"))  # the simulated slave was restarted, too
    assert not again.on("d/set/b/result")


def test_a_unit_without_code_22_has_its_bit_changed_by_a_read_and_a_write(tmp_path, ending):
    daemon, watcher = play(tmp_path, ending, [device("d", 1, POINTS + [point("reg", "holding:2", "uint16", W)])])
    hand = ending(Hand(daemon))
    assert hand.send("d", "reg", 0xF0F0)["ok"]
    for value, want in ((True, 0xF0F2), (False, 0xF0F0)):
        answer = hand.send("d", "bit", value)
        assert answer["ok"] and answer["read"] is value
        watcher.wait("d/data/g", lambda p: p["v"]["reg"] == want)
    assert status(daemon)["devices"][0]["exceptions"] <= 1 + len([p for p in watcher.on("d/data/g") if set(p["q"].values()) != {"simulated"}])


def test_a_command_with_an_id_is_carried_out_once(tmp_path, ending):
    daemon, watcher = play(tmp_path, ending, [device("d", 1, POINTS)])
    hand = ending(Hand(daemon))
    assert hand.send("d", "b", {"value": 1, "id": "x-1"})["ok"]
    assert hand.send("d", "b", {"value": 2, "id": "x-2"})["ok"]
    again = hand.send("d", "b", {"value": 1, "id": "x-1"})
    assert again["ok"] and again["repeated"]
    assert hand.send("d", "a", {"value": 1, "id": "x-1"}).get("repeated") is None  # another point's
    bad = hand.send("d", "ro", {"value": 1, "id": "x-3"})
    watcher.wait("d/data/g", lambda p: p["v"]["a"] == 1)
    assert watcher.on("d/data/g")[-1]["v"]["b"] == 2
    n = watcher.on("d/data/g")[-1]["n"]
    wait_for(lambda: status(daemon)["devices"][0]["groups"]["g"]["committed"] > n, what="a commit")
    daemon.kill()  # -9
    daemon.start()
    watcher, hand = ending(Watcher(daemon)), ending(Hand(daemon))
    for name, number, was in (("b", "x-1", "ok"), ("b", "x-2", "ok"), ("ro", "x-3", bad["verdict"])):
        answer = hand.send("d", name, {"value": 9, "id": number})
        assert answer["repeated"] and answer["verdict"] in (was, "interrupted"), answer  # the last verdict may not be on disk
    wait_for(lambda: len(watcher.on("d/data/g")) > 5, what="polls")
    assert all(p["v"]["b"] == 0 for p in watcher.on("d/data/g"))  # nothing was written to the restarted slave
    assert hand.send("d", "b", {"value": 9, "id": "x-4"})["ok"]


def test_a_command_that_was_under_way_at_a_crash_is_not_carried_out_again(tmp_path, ending):
    daemon, watcher = play(tmp_path, ending, [device("d", 1, POINTS, more='response = "20s";')], faults='faults = ( { kind = "silence"; from = "1s"; } );')
    hand = ending(Hand(daemon))
    watcher.wait("d/data/g")
    wait_for(lambda: len(watcher.on("d/data/g")) > 3, what="polls")
    p = Properties(PacketTypes.PUBLISH)
    hand.client.publish("sluice/test/d/set/b", json.dumps({"value": 1, "id": "y"}), 1, properties=p).wait_for_publish(10)
    # It has begun as soon as a second one with its id is told so.
    wait_for(lambda: hand.send("d", "b", {"value": 1, "id": "y"})["verdict"] == "under way" or True, what="it to begin")
    daemon.kill()
    daemon.start()
    hand = ending(Hand(daemon))
    answer = hand.send("d", "b", {"value": 1, "id": "y"})
    assert answer["repeated"] and answer["verdict"] in ("ok", "interrupted")


def test_a_retained_command_is_carried_out_when_it_comes_and_never_again(tmp_path, ending):
    daemon, watcher = play(tmp_path, ending, [device("d", 1, POINTS)])
    hand = ending(Hand(daemon))
    watcher.wait("d/data/g", lambda p: p["v"]["b"] == 0)
    hand.client.publish("sluice/test/d/set/b", json.dumps({"value": 7}), 1, retain=True).wait_for_publish(10)
    watcher.wait("d/data/g", lambda p: p["v"]["b"] == 7)
    daemon.stop()
    daemon.start()
    watcher = ending(Watcher(daemon))
    wait_for(lambda: len(watcher.on("d/data/g")) > 5, what="polls")
    assert all(p["v"]["b"] == 0 for p in watcher.on("d/data/g")), "the slave began anew and nobody wrote to it"


def test_an_adapter_that_echoes_makes_no_dead_unit_say_yes(tmp_path, ending):
    daemon, watcher = play(tmp_path, ending, [device("d", 1, POINTS), device("gone", 9, [point("x", "holding:0", "int16", W), point("c", "coil:0", None, W)])],
                           line_more="echo = true;")
    hand = ending(Hand(daemon))
    assert hand.send("d", "b", 5)["ok"] and hand.send("d", "coil", 1)["ok"] and hand.send("d", "a", 5)["ok"]
    assert hand.send("gone", "x", 1)["verdict"] == "timeout"
    assert hand.send("gone", "c", 1)["verdict"] == "timeout"
    watcher.wait("d/data/g", lambda p: p["v"]["b"] == 5 and p["v"]["coil"] is True)
    assert status(daemon)["lines"][0]["echoes"] > 5


def test_a_line_that_is_down_says_so(tmp_path, ending):
    daemon = ending(Sluiced(tmp_path, conf([line(tmp_path / "nothing")], [device("d", 1, POINTS)]))).start()
    hand = ending(Hand(daemon))
    assert hand.send("d", "b", 1)["verdict"] == "line down"


def test_commands_come_between_the_polls_of_a_busy_line(tmp_path, ending):
    devices = [device("d", 1, POINTS, "10ms")] + [device(f"n{i}", 10 + i, [point("x", "holding:0", "int16")], "10ms") for i in range(3)]
    daemon, watcher = play(tmp_path, ending, devices)
    hand = ending(Hand(daemon))
    for i in range(20):
        assert hand.send("d", "b", i)["ok"]
    assert status(daemon)["devices"][0]["overruns"] > 0  # it is busy
    assert hand.send("d", "a", 7)["ms"] < 1000

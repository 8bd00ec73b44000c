# SPDX-License-Identifier: Apache-2.0
"""The simulated motes against a gateway that is not ours (tests/lib/sn_gateway.py): what they say is MQTT-SN 1.2, and what they
count is what happened."""
import collections
import re
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/lib")
from daemon import SIM, TOP, wait_for  # noqa: E402
from sn_framing import FRAMINGS  # noqa: E402
from sn_gateway import (CONNECT, DISCONNECT, PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, REGACK, REGISTER, SUBSCRIBE,  # noqa: E402
                        WILLMSG, Gateway, Tty, Udp, packet)


class Motes:
    def __init__(self, folder, text, *options):
        self.log = folder / "motes.csv"
        (folder / "motes.conf").write_text(text)
        self.process = subprocess.Popen([SIM, "motes", folder / "motes.conf", "--log", self.log, *options],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.place, self.seed = re.fullmatch(r"(.*) seed (\d+)\n", self.process.stdout.readline()).groups()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        _, text = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, text
        return {line.split(":")[0]: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", line)} for line in text.splitlines()}

    def rows(self, what):
        return [line.split(",") for line in self.log.read_text().splitlines()[1:] if line.split(",")[1] == what]

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def site(tmp_path, ending):
    """site(what stands in the file, gateway): motes on UDP at that gateway."""
    def start(text, gateway):
        udp = ending(Udp(gateway))
        return ending(Motes(tmp_path, f'gateway = "127.0.0.1:{udp.port}"; seed = 7;\n{text}'))
    return start


def numbers(gateway):
    """How often each message of each mote has come."""
    out = collections.defaultdict(collections.Counter)
    for name, _, _, data in gateway.published:
        out[name][int(data.split()[1])] += 1
    return out


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_each_quality_is_acknowledged_and_counted(site, qos):
    g = Gateway()
    motes = site(f'motes = ( {{ name = "m"; count = 50; qos = "{qos}"; every = "50ms"; start = "100ms"; size = 40;'
                 ' subscribe = ( "{id}/set", "all/#" ); } );', g)
    wait_for(lambda: len(g.published) > 1000, 60)
    counts = motes.stop()["motes"]
    came = numbers(g)
    assert not g.broken and len(came) == 50 and set(g.motes) == {f"m-{i}".encode() for i in range(50)}
    assert all(m.filters == [m.name + b"/set", b"all/#"] for m in g.motes.values())
    assert all(list(m.topics.values()) == [m.name + b"/value"] for m in g.motes.values())
    assert {len(d) for _, _, _, d in g.published} == {40} and {q for _, q, _, _ in g.published} == {qos}
    assert all(set(c) == set(range(1, max(c) + 1)) for c in came.values())
    assert counts["connected"] == 50 and counts["makes_no_sense"] == counts["lost"] == counts["unanswered"] == 0
    if qos:
        assert counts["acknowledged"] >= len(g.published) - 50 and counts["acknowledged"] == len(motes.rows("acknowledged"))
    assert 0 <= counts["published"] - sum(max(c) for c in came.values()) <= 50


def test_minus_one_needs_no_connection(site):
    g = Gateway()
    motes = site('motes = ( { name = "a"; count = 3; qos = "-1"; topic = "yl"; every = "20ms"; start = "10ms"; },'
                 ' { name = "b"; qos = "-1"; topic_id = 7; every = "20ms"; start = "10ms"; } );', g)
    wait_for(lambda: len(g.published) > 100)
    motes.stop()
    assert {kind for _, kind, _ in g.heard} == {PUBLISH}
    assert {t for _, _, t, _ in g.published} == {b"yl", b"\0\7"}


def test_a_will_is_given_step_by_step(site):
    g = Gateway()
    motes = site('motes = ( { name = "w"; every = "1s"; will = { topic = "{id}/state"; message = "dead"; qos = "2"; retain = true; }; } );', g)
    wait_for(lambda: g.published)
    motes.stop()
    assert g.motes[b"w-0"].will == [b"\x50w-0/state", b"dead"]
    assert [kind for _, kind, _ in g.heard][:3] == [CONNECT, 7, WILLMSG]


@pytest.mark.parametrize("kind", [CONNECT, REGISTER, SUBSCRIBE, PUBLISH, PUBREL, DISCONNECT, PINGREQ])
def test_what_is_not_answered_is_repeated(site, kind):
    """The first two of each kind are lost; PUBLISH and SUBSCRIBE come again with DUP and are otherwise the same."""
    g = Gateway()
    g.deaf = lambda k, count: k == kind and count <= 2
    motes = site('motes = ( { name = "m"; qos = "2"; every = "400ms"; start = "1ms"; retry = "100ms"; sleep = "60s"; wake = "150ms";'
                 ' subscribe = "x"; } );', g)
    wait_for(lambda: g.counts.get(kind, 0) >= 3 and len(set(numbers(g).get(b"m-0", {}))) > 2, 60)
    counts = motes.stop()["motes"]
    first, second, third = [body for _, k, body in g.heard if k == kind][:3]
    if kind in (PUBLISH, SUBSCRIBE):
        assert second[0] == first[0] | 0x80 and second[1:] == first[1:]
    else:
        assert second == first
    assert third == second and counts["repeated"] >= 2 and counts["lost"] == 0 and counts["unanswered"] == 0


def test_who_is_never_answered_gives_up_and_begins_anew(site):
    g = Gateway()
    g.deaf = lambda k, count: k == PUBLISH and count <= 8
    motes = site('motes = ( { name = "m"; every = "100ms"; start = "1ms"; retry = "50ms"; retries = 3; } );', g)
    wait_for(lambda: len(g.published) > 3, 60)
    counts = motes.stop()["motes"]
    assert counts["lost"] == 2 == len(motes.rows("lost")) and counts["unanswered"] == 2 and counts["connected"] == 3
    assert counts["published"] - counts["lost"] - counts["acknowledged"] in (0, 1)


def test_sleepers_wake_to_see_what_there_is(site):
    g = Gateway()
    motes = site('motes = ( { name = "s"; count = 4; every = "700ms"; start = "1ms"; sleep = "60s"; wake = "100ms"; retry = "2s"; } );', g)
    wait_for(lambda: len(g.motes) == 4 and all(m.asleep for m in g.motes.values()), 60)
    for m in list(g.motes.values()):
        m.waiting += [packet(REGISTER, b"\x03\xe8\0\1down/it"), packet(PUBLISH, b"\x20\x03\xe8\0\2one"),
                      packet(PUBLISH, b"\x40\x03\xe8\0\3two"), packet(PUBLISH, b"\x40\x03\xe8\0\3two"), packet(PUBREL, b"\0\3")]
    wait_for(lambda: g.counts.get(PUBCOMP, 0) >= 4, 60)
    wait_for(lambda: len(g.published) > 20, 60)
    counts = motes.stop()["motes"]
    assert g.counts[REGACK] == 4 and g.counts[PUBACK] == 4 and g.counts[PUBREC] == 8
    assert counts["received"] == 8 and counts["received_again"] == 4 and counts["unknown_ids"] == counts["heard_asleep"] == 0
    assert sorted(r[4] for r in motes.rows("received")) == ["6f6e65"] * 4 + ["74776f"] * 4
    assert counts["woken"] >= 4 and counts["slept"] >= 16 and counts["lost"] == 0


def test_a_gateway_that_errs_is_found_out(site):
    """An id that was never told, packets for one who sleeps, packets that are none."""
    g = Gateway()
    real = g.on_24
    g.on_24 = lambda address, body: real(address, body) + [packet(PINGREQ), b"\x09\x05\0"]
    g.on_18 = lambda address, body: [packet(19, body[:1] + b"\0\0" + body[1:3] + b"\0"), packet(PUBLISH, b"\x20\0\x63\0\2one"), b"\x07\x05\0"]
    motes = site('motes = ( { name = "s"; every = "300ms"; start = "1ms"; sleep = "60s"; subscribe = "a"; } );', g)
    wait_for(lambda: g.counts.get(DISCONNECT, 0) > 2, 60)
    counts = motes.stop()["motes"]
    assert counts["unknown_ids"] == 1 and counts["makes_no_sense"] == 1 and counts["heard_asleep"] >= 4
    assert next(body for _, k, body in g.heard if k == PUBACK) == b"\0\x63\0\2\2"


def test_movers_come_from_other_places_and_the_forgetful_begin_anew(site):
    g = Gateway()
    motes = site('motes = ( { name = "m"; count = 5; every = "50ms"; start = "1ms"; move = 300000; },'
                 ' { name = "f"; count = 5; every = "50ms"; start = "1ms"; forget = 300000; } );', g)
    wait_for(lambda: len(g.published) > 300, 60)
    all_counts = motes.stop()
    assert all_counts["m"]["moved"] > 10 and all_counts["f"]["forgot"] > 10 and all_counts["m"]["forgot"] == 0
    assert len({a for a, k, b in g.heard if k == CONNECT and b[4:] == b"m-0"}) > 2
    assert len({a for a, k, b in g.heard if k == CONNECT and b[4:] == b"f-0"}) == 1
    assert g.counts[REGISTER] == 5 + 5 + all_counts["f"]["forgot"]


def test_faults_on_the_way_are_those_of_the_seed(site):
    """A twentieth of all is lost, doubled and late: all is acknowledged in the end, once for each message."""
    g = Gateway()
    motes = site('faults = { lose = 50000; twice = 50000; late = 50000; late_by = "100ms"; };'
                 'motes = ( { name = "m"; count = 100; qos = "2"; every = "100ms"; start = "100ms"; retry = "300ms"; retries = 20; } );', g)
    wait_for(lambda: len(g.published) > 3000, 120)
    counts = motes.stop()
    assert motes.seed == "7"
    way, c = counts["on_the_way"], counts["motes"]
    packets = c["sent"] + c["heard"]
    assert all(0.7 < way[k] / packets / 0.05 < 1.3 for k in ("lost", "doubled", "late"))
    assert c["lost"] == 0 and c["repeated"] > 100 and c["published"] - c["acknowledged"] <= 100
    took = counts["round_trip_us"]
    assert took["count"] == c["acknowledged"] and 0 < took["p50"] <= took["p90"] <= took["p99"] <= took["most"]
    assert took["most"] > 300000


def test_thousands_of_motes(site):
    g = Gateway()
    motes = site('motes = ( { name = "m"; count = 3000; every = "20s"; start = "5s"; retry = "10s"; retries = 20; } );', g)
    wait_for(lambda: len({n for n, *_ in g.published}) == 3000, 200)
    counts = motes.stop()["motes"]
    assert counts["connected"] == 3000 and counts["lost"] == 0


@pytest.mark.parametrize("framing", list(FRAMINGS))
def test_behind_a_serial_line(tmp_path, ending, framing):
    g, count = Gateway(), 1 if framing == "plain" else 8
    motes = ending(Motes(tmp_path, f'seed = 3; line = {{ framing = "{framing}"; baud = 115200; }};'
                         f'motes = ( {{ name = "m"; count = {count}; qos = "2"; every = "150ms"; start = "100ms"; subscribe = "x"; size = 300; }} );'))
    ending(Tty(g, motes.place, FRAMINGS[framing], 115200))
    wait_for(lambda: len(g.published) > 60, 60)
    counts = motes.stop()
    assert not g.broken and len(numbers(g)) == count == counts["motes"]["connected"]
    assert counts["motes"]["lost"] == counts["motes"]["makes_no_sense"] == counts["line"]["noise"] == 0
    assert counts["line"]["octets_up"] > 60 * 300 and counts["line"]["octets_down"] > 60 * 8


def test_a_line_has_the_pace_of_a_wire_and_its_noise(tmp_path, ending):
    """At 9600 baud no message of 100 octets can come sooner than the wire carries it; noise costs repeats, nothing else."""
    g = Gateway()
    motes = ending(Motes(tmp_path, 'seed = 3; line = { framing = "slip-crc"; baud = 9600; noise = 2000; };'
                         'motes = ( { name = "m"; count = 3; every = "1s"; start = "100ms"; size = 100; retry = "2s"; retries = 30; } );'))
    ending(Tty(g, motes.place, FRAMINGS["slip-crc"], 9600))
    wait_for(lambda: len(g.published) > 20, 120)
    counts = motes.stop()
    assert counts["line"]["noise"] > 0 and counts["motes"]["repeated"] > 0 and counts["motes"]["lost"] == 0
    assert min(int(r[4]) for r in motes.rows("acknowledged")) > (113 + 12) * 10 * 1e6 / 9600


@pytest.mark.parametrize("text, wrong", [
    ("\nmotes = ( );", "either a gateway or a line"),
    ('gateway = "a:1";\nline = { framing = "plain"; }; motes = ( );', "either a gateway or a line"),
    ('gateway = "nowhere"; motes = ( );', "no HOST:PORT"),
    ('line = { framing = "plain"; };\nmotes = ( { name = "a"; count = 2; } );', "there is one mote"),
    ('gateway = "a:1"; motes = (\n{ name = "a"; qos = "-1"; } );', "two characters or a topic_id"),
    ('gateway = "a:1"; motes = (\n{ name = "a"; count = 2; id = "x"; } );', "{n}"),
    ('gateway = "a:1"; motes = (\n{ name = "a"; qos = "3"; } );', "qos"),
])
def test_mistakes_are_told(tmp_path, text, wrong):
    (tmp_path / "motes.conf").write_text(text)
    done = subprocess.run([SIM, "motes", "--check", tmp_path / "motes.conf"], capture_output=True, text=True)
    assert done.returncode == 1 and wrong in done.stderr and "/motes.conf:" in done.stderr


@pytest.mark.parametrize("name", ["radio.conf", "line.conf"])
def test_examples_have_no_mistakes(name):
    file = TOP / "drivers/sim/examples/motes" / name
    subprocess.run([SIM, "motes", "--check", file], check=True)

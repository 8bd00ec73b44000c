# SPDX-License-Identifier: Apache-2.0
"""What comes in wrong: a message that says what it was, and everybody else goes on. Packets of MQTT 3.1.1; configurations. Disks
and folders have tests/durability/test_bad_places.py, devices and lines tests/field/test_modbus.py, people test_abuse.py."""
import json
import re
import socket
import subprocess
import time

import pytest
import raw
from daemon import SLUICECTL, SLUICED, Authority, Process, Sluiced, free_port, wait_for
from raw import PINGREQ, PUBLISH, PUBREL, SUBACK, Raw, client, connect, packet, publish, subscribe, unsubscribe

FLAGS = 9  # of connect()


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory):
    """One of this module's own: what others do wrong would use up the lines that it may write in a minute."""
    d = Sluiced(tmp_path_factory.mktemp("bad")).start()
    Process.started.remove(d)  # what is left after each test is killed
    yield d
    assert d.stop() == 0, d.log()


def with_flags(flags):
    return connect()[:FLAGS] + bytes([flags]) + connect()[FLAGS + 1:]


FIRST, UNREADABLE = "the first packet is not CONNECT", "that cannot be read; it begins"
BAD_FIRST = {
    "publish first [MQTT-3.1.0-1]": (publish("t", "x"), FIRST),
    "ping first": (packet(PINGREQ), FIRST),
    "reserved type": (b"\x00\x00", FIRST),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "it speaks HTTP, and this listener does not"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 600, "it speaks TLS, and this listener does not"),
    "PROXY": (b"PROXY TCP4 192.0.2.1 192.0.2.2 5 1883\r\n" + connect(), "it speaks the PROXY protocol, and this listener does not"),
    "length of five bytes": (b"\x10\xff\xff\xff\xff\x01", "packet length of more than 4 bytes"),
    "a CONNECT of 200 MB": (b"\x10\xff\xff\xff\x5f" + b"\0" * 100, r"packet of 20132\d+ bytes where 81920 are the most"),
    "wrong protocol name [MQTT-3.1.2-1]": (connect(name="MQTZ"), f"CONNECT {UNREADABLE} 10 0f 00 04 4d 51 54 5a .*unsupported protocol"),
    "empty protocol name": (connect(name=""), f"CONNECT {UNREADABLE} 10 0b 00 00 .*unsupported protocol"),
    "reserved flag [MQTT-3.1.2-3]": (with_flags(3), f"CONNECT {UNREADABLE}"),
    "will QoS 3 [MQTT-3.1.2-14]": (with_flags(0x1e), f"CONNECT {UNREADABLE}"),
    "password without user [MQTT-3.1.2-22]": (with_flags(0x42), f"CONNECT {UNREADABLE}"),
    "bytes left over": (packet(raw.CONNECT, connect()[2:] + b"zz"), f"CONNECT {UNREADABLE}"),
    "truncated": (packet(raw.CONNECT, connect()[2:-1]), f"CONNECT {UNREADABLE}"),
    "client id with NUL": (connect("a\0b"), f"CONNECT {UNREADABLE}"),
    "client id not UTF-8": (connect(b"\xff\xfe"), f"CONNECT {UNREADABLE}"),
}


def says(daemon, before, words):
    wait_for(lambda: re.search(words, daemon.log()[before:]), 10, f"{words} in:\n{daemon.log()[before:]}")


@pytest.mark.parametrize("what", BAD_FIRST)
def test_bad_first_packet(shared_daemon, port, own, what):
    good, before = client(port, own), len(shared_daemon.log())
    data, words = BAD_FIRST[what]
    assert Raw(port, data).closed()
    says(shared_daemon, before, rf"client at 127.0.0.1:\d+: closed: {words}")
    good.quiet()


BAD_LATER = {
    "second CONNECT [MQTT-3.1.0-2]": (connect(), "no client sends CONNECT here"),
    "what a server sends": (packet(SUBACK, b"\0\1\0"), "no client sends SUBACK here"),
    "PUBLISH QoS 3 [MQTT-3.3.1-4]": (packet(PUBLISH, raw.text("t") + b"\0\1x", 6), f"PUBLISH {UNREADABLE} 36 06 00 01 74 00 01 78"),
    "wildcard in topic [MQTT-3.3.2-2]": (publish("a/+", "x"), f"PUBLISH {UNREADABLE} .*topic name invalid"),
    "empty topic [MQTT-4.7.3-1]": (publish("", "x"), f"PUBLISH {UNREADABLE}"),
    "NUL in topic [MQTT-1.5.3-2]": (publish("a\0b", "x"), f"PUBLISH {UNREADABLE}"),
    "surrogate in topic [MQTT-1.5.3-1]": (publish(b"a\xed\xa0\x80", "x"), f"PUBLISH {UNREADABLE}"),
    "identifier 0 [MQTT-2.3.1-1]": (publish("t", "x", qos=1, pid=0), f"PUBLISH {UNREADABLE}"),
    "truncated PUBLISH": (packet(PUBLISH, b"\0\x50abc"), f"PUBLISH {UNREADABLE} 30 05 00 50 61 62 63"),
    "over the largest packet": (b"\x30\xff\xff\xff\x7f", "packet of 268435460 bytes where 1048576 are the most"),
    "PUBREL flags [MQTT-3.6.1-1]": (packet(PUBREL, b"\0\1", 0), f"PUBREL {UNREADABLE}"),
    "SUBSCRIBE flags [MQTT-3.8.1-1]": (packet(raw.SUBSCRIBE, subscribe(1, "a")[2:], 0), f"SUBSCRIBE {UNREADABLE}"),
    "SUBSCRIBE without filters [MQTT-3.8.3-3]": (subscribe(1), f"SUBSCRIBE {UNREADABLE}"),
    "SUBSCRIBE QoS 3 [MQTT-3-8.3-4]": (subscribe(1, ("a", 3)), f"SUBSCRIBE {UNREADABLE}"),
    "bad filter [MQTT-4.7.1-2]": (subscribe(1, "a/#/b"), f"SUBSCRIBE {UNREADABLE} .*topic filter invalid"),
    "bad filter [MQTT-4.7.1-3]": (subscribe(1, "a+"), f"SUBSCRIBE {UNREADABLE} .*topic filter invalid"),
    "UNSUBSCRIBE without filters [MQTT-3.10.3-2]": (unsubscribe(1), f"UNSUBSCRIBE {UNREADABLE}"),
    "PINGREQ with a body": (packet(PINGREQ, b"x"), f"PINGREQ {UNREADABLE} c0 01 78"),
    "reserved type": (b"\x00\x00", UNREADABLE),
    "AUTH": (packet(raw.AUTH), UNREADABLE),
}


@pytest.mark.parametrize("what", BAD_LATER)
def test_bad_later_packet(shared_daemon, port, own, what):
    """[MQTT-4.8.0-1]; what came before it in the same breath counts, what comes behind it does not"""
    good, before = client(port, own + "good"), len(shared_daemon.log())
    good.send(subscribe(1, f"{own}/#"))
    good.expect(SUBACK)
    data, words = BAD_LATER[what]
    bad = client(port, own)
    bad.send(publish(f"{own}/x", "before") + data + publish(f"{own}/x", "behind"))
    assert bad.closed()
    says(shared_daemon, before, rf"client {own[:40]}.* \(127.0.0.1:\d+\): closed: .*{words}")
    assert good.expect(PUBLISH).payload == b"before"
    good.quiet()


def test_many_bad_packets_fill_no_disk(tmp_path):
    """So many lines a minute; the counter has them all."""
    count, most = 150, 100
    d = Sluiced(tmp_path).start()
    begin = time.monotonic()
    for _ in range(count):
        assert Raw(d.port, publish("t", "x")).closed()
    assert d.log().count(FIRST) == most or time.monotonic() - begin > 55
    done = subprocess.run([SLUICECTL, "-c", d.conf_path, "--json", "status"], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["broker"]["protocol_errors"] == count
    assert d.stop() == 0


def test_every_cut_of_every_packet(port, own):
    """A connection that ends anywhere in a packet costs that connection alone."""
    good = client(port, own)
    packets = [connect(own + "cut", will=("w", "x", 1, 0), user="u", password="p"), publish("t", "x", 1, 1), subscribe(2, ("t", 1), "u"),
               unsubscribe(3, "t"), raw.ack(PUBREL, 4), packet(PINGREQ), packet(raw.DISCONNECT)]
    for data in packets:
        for end in range(1, len(data)):
            c = Raw(port) if data is packets[0] else client(port, own + "cut")
            c.send(data[:end])
            c.close()
    good.quiet()


# --- configurations ------------------------------------------------------------------------------------------------

def site(folder):
    ca = Authority(folder)
    cert, key = ca.issue("localhost")
    other, _ = ca.issue("other")
    return ca.cert, cert, key, other


TLS = 'listeners = ( {{ bind = "127.0.0.1:1883"; anonymous = true; tls = {{ cert = "{cert}"; key = "{key}"; {more} }}; }} );'
BRIDGE = 'bridges = ( {{ name = "b"; url = "mqtts://localhost"; tls = {{ ca = "{ca}"; }}; out = ( {{ match = "x"; }} ); }} );'
MISTAKES = {
    "wrong type": ('state_dir = 7;', "c.conf:2: `state_dir` is an integer; a file name is expected"),
    "unknown key": ('limts = { };', "c.conf:2: .*limts.*did you mean `limits`"),
    "unknown key inside": ('limits = {\n  inflite = 7;\n};', "c.conf:3: unknown key `inflite` in `limits`; .*inflight"),
    "number out of range": ('limits = { inflight = 0; };', "c.conf:2: .*inflight.*1 to 65535"),
    "size without sense": ('limits = { packet = "5 bananas"; };', "c.conf:2: .*packet"),
    "twice": ('log = "info";\nlog = "debug";', "c.conf:3: .*"),
    "not closed": ('limits = { inflight = 5;', "c.conf:[23]: .*"),
    "nobody asked": ('listeners = ( { bind = "0.0.0.0:1883"; anonymous = true; } );', "c.conf:2: .*reached from outside.*everybody = true"),
    "no address": ('listeners = ( { bind = "somewhere"; anonymous = true; } );', 'c.conf:2: .*no address to listen on; write "127.0.0.1:1883"'),
    "bound twice": ('listeners = ( { bind = "127.0.0.1:1"; anonymous = true; },\n { bind = "127.0.0.1:1"; anonymous = true; } );',
                    "c.conf:3: 127.0.0.1:1 is bound twice"),
    "missing certificate": (TLS.format(cert="nowhere.pem", key="{key}", more=""), "c.conf:2: .*nowhere.pem"),
    "missing key": (TLS.format(cert="{cert}", key="nowhere.key", more=""), "c.conf:2: .*nowhere.key"),
    "missing client CA": (TLS.format(cert="{cert}", key="{key}", more='client_ca = "nowhere-ca.pem";'), "c.conf:2: .*nowhere-ca.pem"),
    "a key that is another's": (TLS.format(cert="{other}", key="{key}", more=""), "c.conf:2: .*key"),
    "a certificate that is none": (TLS.format(cert="{text}", key="{key}", more=""), "c.conf:2: .*text.pem"),
    "missing CA of a bridge": (BRIDGE.format(ca="nowhere-ca.pem"), "c.conf:2: .*nowhere-ca.pem"),
    "wrong site": ('site = "a/b";', "c.conf:1: .*site"),
}


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    ca, cert, key, other = site(folder)
    (folder / "text.pem").write_text("this is no certificate\n")
    return {"{ca}": str(ca), "{cert}": str(cert), "{key}": str(key), "{other}": str(other), "{text}": str(folder / "text.pem")}


def filled(text, pki):
    for mark, path in pki.items():
        text = text.replace(mark, path)
    return text


@pytest.mark.parametrize("what", MISTAKES)
def test_wrong_configuration(tmp_path, pki, what):
    """Told by --check and at the start with its place; nothing starts."""
    text, words = MISTAKES[what]
    conf = tmp_path / "c.conf"
    conf.write_text(("" if text.startswith("site") else 'site = "test";\n') + filled(text, pki) + "\n")
    for args in (["--check"], ["-c"]):
        done = subprocess.run([SLUICED, *args, conf], capture_output=True, text=True, timeout=20)
        assert done.returncode not in (0, -6, -11)
        assert re.search(words, done.stdout + done.stderr), done.stdout + done.stderr
    assert not (tmp_path / "state").exists()


def test_every_mistake_is_told_at_once(tmp_path):
    conf = tmp_path / "c.conf"
    conf.write_text('site = 5;\nlimits = { inflight = 0; pakcet = "1k"; };\nlistners = ();\nlines = ( { name = "a"; } );\n')
    done = subprocess.run([SLUICED, "--check", conf], capture_output=True, text=True, timeout=20)
    assert {int(n) for n in re.findall(r"c\.conf:(\d+):", done.stdout + done.stderr)} == {1, 2, 3, 4}
    assert len(re.findall(r"c\.conf:2:", done.stdout + done.stderr)) == 2


@pytest.mark.parametrize("what", ["wrong type", "unknown key", "missing certificate", "not closed", "bound twice"])
def test_reload_of_a_wrong_configuration(tmp_path, pki, what):
    """Refused whole: clients stay connected, the listener that it also names does not open, the log says where."""
    d = Sluiced(tmp_path).start()
    c, other = client(d.port, "c"), free_port()
    c.send(subscribe(1, "t"))
    c.expect(SUBACK)
    text, words = MISTAKES[what]
    good = d.conf_path.read_text()
    wrong = good if "listeners" in text else good.replace("listeners = (", f'listeners = ( {{ bind = "127.0.0.1:{other}"; anonymous = true; }},')
    wrong = "\n".join(l for l in wrong.splitlines() if not ("state_dir" in text and "state_dir" in l or "listeners" in text and "listeners" in l))
    d.conf_path.write_text(wrong + "\n" + filled(text, pki) + "\n")
    d.reload()
    says(d, 0, "configuration: refused, the one in force stays")
    says(d, 0, re.sub(r"c.conf:\S* ", r"sluice.conf:\\d+: ", words))
    with pytest.raises(ConnectionRefusedError):
        Raw(other)
    c.send(publish("t", "still here"))
    assert c.expect(PUBLISH).payload == b"still here"
    client(d.port, "new").quiet()
    d.conf_path.write_text(good)
    d.reload()
    says(d, 0, "configuration: in force")
    c.quiet()
    assert d.stop() == 0


def test_reload_to_an_address_that_is_taken(tmp_path):
    """Refused whole as well: what listens goes on listening."""
    d, port = Sluiced(tmp_path).start(), free_port()
    c, good = client(d.port, "c"), d.conf_path.read_text()
    with socket.create_server(("127.0.0.1", port)):
        d.conf_path.write_text(good.replace(f":{d.port}", f":{port}"))
        d.reload()
        says(d, 0, rf"sluice.conf:3: 127.0.0.1:{port} cannot be listened on: address already in use")
        says(d, 0, "configuration: refused, the one in force stays")
        c.quiet()
        client(d.port, "new").quiet()
    d.reload()
    says(d, 0, "configuration: in force")
    client(port, "moved").quiet()
    assert c.closed()
    assert d.stop() == 0


def test_reload_to_more_addresses_of_the_same_port(tmp_path):
    """From loopback alone to everywhere, and back."""
    d = Sluiced(tmp_path).start()
    narrow = d.conf_path.read_text()
    wide = narrow.replace("127.0.0.1:", "0.0.0.0:").replace("anonymous = true;", "anonymous = true; everybody = true;")
    for n, text in enumerate((wide, narrow, wide), 1):
        d.conf_path.write_text(text)
        d.reload()
        wait_for(lambda: d.log().count("configuration: in force") == n, what="the reload")
        client(d.port, "c").quiet()
    assert d.stop() == 0

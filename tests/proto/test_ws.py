# SPDX-License-Identifier: Apache-2.0
"""MQTT over WebSocket: requests and frames by hand, plain and over TLS. Statements are numbered alike in MQTT 3.1.1 and 5.0."""
import base64
import hashlib
import socket
import ssl
import subprocess

import pytest
from daemon import SLUICED, Authority, Process, Sluiced, free_port, wait_for
from raw import CONNACK, PINGREQ, PINGRESP, PUBACK, PUBLISH, SUBACK, Raw, client, connect, packet, publish, subscribe
from ws import BINARY, CLOSE, CONTINUATION, KEY, PING, PONG, TEXT, WebSocket, close_body, frame


def http_daemon(folder, more="", tls=""):
    d = Sluiced(folder, listener="http")
    d.configure(f'listeners = ( {{ bind = "127.0.0.1:{d.port}"; protocol = "http"; anonymous = true; {tls} {more} }} );\n')
    return d.start()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    d = http_daemon(tmp_path_factory.mktemp("ws"))
    Process.started.remove(d)
    yield d
    assert d.stop() == 0, d.log()


@pytest.fixture
def port(daemon):
    yield daemon.port
    assert daemon.running(), daemon.log()


def opened(port, name="ws", level=4, **more):
    """A WebSocket on which an MQTT client is connected, as raw.Raw."""
    w = WebSocket(port, **more)
    assert w.status == 101, w.body
    c = Raw(port, connect(name, level=level), sock=w, v5=level == 5)
    assert c.expect(CONNACK).body[1] == 0
    return c


def test_handshake(port):
    """3.1.1 [MQTT-6.0.0-4], 5.0 [MQTT-6.0.0-4]: mqtt is the subprotocol that we answer with."""
    w = WebSocket(port, protocol="chat, mqtt")
    accept = hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    assert w.status == 101
    assert w.fields["sec-websocket-accept"] == base64.b64encode(accept).decode()
    assert w.fields["sec-websocket-protocol"] == "mqtt"
    assert w.fields["upgrade"].lower() == "websocket" and w.fields["connection"].lower() == "upgrade"
    assert "sec-websocket-extensions" not in w.fields
    assert WebSocket(port, protocol="mqttv3.1").fields["sec-websocket-protocol"] == "mqttv3.1"


@pytest.mark.parametrize("status,more", [
    (400, {"protocol": None}), (400, {"protocol": "chat"}), (404, {"path": "/"}), (404, {"path": "/metrics"}),
    (405, {"method": "POST"}), (426, {"Upgrade": None}), (426, {"Sec_WebSocket_Version": "12"}), (505, {"version": "1.0"}),
    (400, {"Sec_WebSocket_Key": "short"}), (403, {"Origin": "http://elsewhere.example.com"}), (431, {"X": "x" * 9000}),
    (101, {"Origin": "http://localhost"})])
def test_answers_of_http(port, status, more):
    """Whoever does not open a WebSocket for MQTT is told why, in HTTP; so is a client that does not offer the subprotocol mqtt,
    3.1.1 [MQTT-6.0.0-3], 5.0 [MQTT-6.0.0-3]."""
    w = WebSocket(port, **more)
    assert w.status == status
    if status != 101:
        assert len(w.body) > 10
        assert w.take(1) is None, "the connection ends"


def test_mqtt_in_the_clear_is_told_off(port):
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(connect())
        assert s.recv(100).startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize("level", [4, 5])
@pytest.mark.parametrize("most", [1, 3, None])
def test_packets_and_frames_are_cut_apart(port, own, level, most):
    """3.1.1 [MQTT-6.0.0-2], 5.0 [MQTT-6.0.0-2]: a packet over many frames, and many packets in one."""
    c = opened(port, own, level=level)
    props = b"" if level == 5 else None
    c.sock.most = most
    c.send(subscribe(1, (own, 0), v5=level == 5), publish(own, "one", props=props), publish(own, "two", props=props),
           packet(PINGREQ))
    assert c.expect(SUBACK).pid == 1
    assert [c.expect(PUBLISH).payload for _ in "12"] == [b"one", b"two"]
    c.expect(PINGRESP)


def test_fragmented_messages_with_control_frames_between(port, own):
    """3.1.1 [MQTT-6.0.0-2], 5.0 [MQTT-6.0.0-2]"""
    c = opened(port, own)
    data = subscribe(1, own) + publish(own, "x" * 70000)
    c.sock.send_frames(frame(BINARY, data[:5], fin=False), frame(PING, b"hello"), frame(CONTINUATION, data[5:40000], fin=False),
                       frame(CONTINUATION, b"", fin=False), frame(PONG, b"unasked"), frame(CONTINUATION, data[40000:]))
    c.expect(SUBACK)
    assert c.expect(PUBLISH).payload == b"x" * 70000
    assert c.sock.control == [(PONG, b"hello")]


@pytest.mark.parametrize("level", [4, 5])
def test_other_data_frames_close(port, own, level):
    """3.1.1 [MQTT-6.0.0-1], 5.0 [MQTT-6.0.0-1]: a text frame ends the connection, whatever is in it; others go on."""
    other, c = opened(port, own + "-other"), opened(port, own, level=level)
    c.sock.send_frames(frame(TEXT, packet(PINGREQ)))
    assert c.sock.closed_with() == 1003
    other.quiet()


def test_wills_of_ended_websockets(port, own):
    """Closing the WebSocket without DISCONNECT is a lost connection."""
    watcher = opened(port, own + "-watcher")
    watcher.send(subscribe(1, own))
    watcher.expect(SUBACK)
    for code in (None, 1000, 1001):
        w = WebSocket(port)
        c = Raw(port, connect(own, will=(own, str(code), 0, False)), sock=w)
        c.expect(CONNACK)
        w.send_frames(frame(CLOSE, close_body(code) if code else b""))
        assert w.closed_with() == code
        assert watcher.expect(PUBLISH).payload == str(code).encode()
    w = WebSocket(port)
    c = Raw(port, connect(own, will=(own, "never", 0, False)), sock=w)
    c.expect(CONNACK)
    c.send(packet(14))
    assert w.closed_with() == 1000
    watcher.quiet()


@pytest.mark.parametrize("bad", [
    frame(BINARY, b"\xc0\0", mask=False), frame(BINARY, b"\xc0\0", rsv=4), frame(3, b"x"), frame(11, b""),
    frame(CONTINUATION, b"x"), frame(BINARY, b"\xc0", fin=False) + frame(BINARY, b"\0"), frame(PING, b"x" * 126),
    frame(PING, b"", fin=False), frame(CLOSE, b"\3"), frame(CLOSE, close_body(1005))],
    ids=["unmasked", "rsv", "opcode 3", "opcode 11", "no message", "message in message", "long ping", "ping in pieces",
         "short close", "reserved code"])
def test_broken_frames_close_with_1002(port, own, bad):
    c = opened(port, own)
    c.sock.send_frames(bad)
    assert c.sock.closed_with() == 1002


def test_a_protocol_error_of_mqtt_closes_normally(port, own):
    c = opened(port, own, level=5)
    c.send(packet(9, b"\0\1\0"))  # a server's packet
    assert c.read().kind == 14
    assert c.closed() and c.sock.control == [(CLOSE, close_body(1000))]


def test_a_frame_of_any_length_may_be_claimed(port, own):
    """Nothing is set aside for what a head promises."""
    c = opened(port, own)
    c.sock.send_frames(frame(BINARY, packet(PINGREQ), length=2**62))
    c.expect(PINGRESP)
    c.close()
    opened(port, own).quiet()


def test_origins(tmp_path):
    d = http_daemon(tmp_path, 'origins = ( "https://hmi.example.com", "http://10.0.0.5:3000" );')
    for origin, status in [("https://hmi.example.com", 101), ("http://10.0.0.5:3000", 101), ("http://localhost", 403), (None, 101)]:
        assert WebSocket(d.port, Origin=origin).status == status
    d.configure(f'listeners = ( {{ bind = "127.0.0.1:{d.port}"; protocol = "http"; anonymous = true; origins = "*"; }} );\n')
    d.reload()
    wait_for(lambda: WebSocket(d.port, Origin="http://localhost").status == 101, what="the reload")
    assert d.stop() == 0


def test_over_tls(tmp_path):
    """wss, with a client certificate whose name is the user."""
    ca = Authority(tmp_path)
    cert, key = ca.issue("gw")
    mine = ca.issue("hmi")
    tls = f'tls = {{ cert = "{cert}"; key = "{key}"; client_ca = "{ca.cert}"; }};'
    d = http_daemon(tmp_path / "d", tls=tls)
    context = ssl.create_default_context(cafile=ca.cert)
    context.load_cert_chain(*mine)
    c = opened(d.port, tls=context)
    c.send(subscribe(1, ("t", 1)), publish("t", "y" * 300000, qos=1, pid=7), packet(PINGREQ))
    c.expect(SUBACK)
    kinds = [c.read() for _ in range(3)]
    assert sorted(p.kind for p in kinds) == [PUBLISH, PUBACK, PINGRESP]
    assert next(p for p in kinds if p.kind == PUBLISH).payload == b"y" * 300000
    assert max(c.sock.lengths) <= 65536
    c.sock.send_frames(frame(CLOSE, close_body(1001)))
    assert c.sock.closed_with() == 1001
    assert d.stop() == 0, d.log()


def test_a_large_message_is_not_kept_twice(tmp_path):
    """The layer keeps neither frames nor messages: a payload costs no more than over plain TCP."""
    size = 60_000_000

    def peak(over_ws):
        d = Sluiced(tmp_path / str(over_ws), listener="both")
        http = free_port()
        d.configure(f'listeners = ( {{ bind = "127.0.0.1:{d.port}"; anonymous = true; }},\n'
                    f'  {{ bind = "127.0.0.1:{http}"; protocol = "http"; anonymous = true; }} );\n'
                    'limits = { packet = "100M"; };\n')
        d.start()
        c = opened(http) if over_ws else client(d.port)
        empty = d.memory_kb("VmRSS")
        c.send(publish("t", bytes(size), qos=1, pid=1))
        c.expect(PUBACK)
        most = d.memory_kb("VmHWM")
        assert d.stop() == 0
        return (most - empty) * 1024

    plain, ws = peak(False), peak(True)
    assert ws < plain + 4_000_000, (plain, ws)


def test_configuration_errors(tmp_path):
    d = Sluiced(tmp_path, listener=False)
    d.configure('listeners = ( { bind = "127.0.0.1:1"; anonymous = true; origins = "*"; },\n'
                '  { bind = "127.0.0.1:2"; anonymous = true; protocol = "ws"; } );\n')
    out = subprocess.run([SLUICED, "--check", d.conf_path], capture_output=True, text=True)
    said = out.stdout + out.stderr
    assert out.returncode != 0
    assert 'sluice.conf:3: ' in said and 'origins goes with protocol = "http"' in said
    assert 'sluice.conf:4: ' in said and '"ws"' in said

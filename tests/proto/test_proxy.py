# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol: a balancer, played by hand, announces whose connection it passes on."""
import socket
import ssl
import struct
import subprocess

import pytest
from daemon import SLUICED, Authority, Sluiced, wait_for
from raw import CONNACK, SUBACK, Raw, connect, subscribe
from ws import WebSocket

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v1(address="192.0.2.7", port=51234):
    return f"PROXY TCP{6 if ':' in address else 4} {address} {address} {port} 1883\r\n".encode()


def v2(address="192.0.2.7", port=51234, command=0x21, tlvs=b""):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ip = socket.inet_pton(family, address)
    body = ip + ip + struct.pack(">HH", port, 1883) + tlvs
    return SIGNATURE + bytes([command, 0x21 if ":" in address else 0x11]) + struct.pack(">H", len(body)) + body


def tlv(kind, value):
    return bytes([kind]) + struct.pack(">H", len(value)) + value


def certificate(name, client=7, verify=0):
    return tlv(0x20, bytes([client]) + struct.pack(">I", verify) + tlv(0x21, b"TLSv1.3") + tlv(0x22, name.encode()))


def daemon(folder, more="", who="anonymous = true; everybody = true;", rest=""):
    d = Sluiced(folder, listener="proxy")
    d.configure(f'listeners = ( {{ bind = "127.0.0.1:{d.port}"; proxy = true; {who} {more} }} );\n' + rest)
    return d.start()


@pytest.fixture
def proxied(tmp_path):
    d = daemon(tmp_path)
    yield d
    assert d.stop() == 0, d.log()


def said(d, text):
    return wait_for(lambda: text in d.log(), what=f"{text!r} in the log")


@pytest.mark.parametrize("header,peer", [
    (v1(), "192.0.2.7:51234"), (v1("2001:db8::7"), "[2001:db8::7]:51234"), (v2(), "192.0.2.7:51234"),
    (v2("2001:db8::7"), "[2001:db8::7]:51234"), (v2(tlvs=tlv(4, b"padding")), "192.0.2.7:51234"),
    (SIGNATURE + b"\x21\x31" + struct.pack(">H", 216) + b"/run/x".ljust(216, b"\0"), "unix"),
    (v2(command=0x20), "127.0.0.1:"), (b"PROXY UNKNOWN\r\n", "127.0.0.1:"), (SIGNATURE + b"\x21\0\0\0", "127.0.0.1:")])
def test_the_announced_peer_is_the_peer(proxied, header, peer):
    """What the log says of a client that breaks the protocol."""
    c = Raw(proxied.port, header + connect("who"))
    assert c.expect(CONNACK).body == b"\0\0"
    c.send(b"\0\0")
    assert c.closed()
    said(proxied, f"client who ({peer}")


@pytest.mark.parametrize("bad", [
    connect(), b"PROXY TCP4 192.0.2.7\r\n", b"PROXY TCP4 192.0.2.7 192.0.2.1 1 99999\r\n", b"PROXY " + b"x" * 200,
    SIGNATURE + b"\x31\x11\0\0", SIGNATURE + b"\x21\x11\0\x04abcd", v2(tlvs=b"\4\xff\xff"), b"\x16\x03\x01"])
def test_what_is_no_header_closes(proxied, bad):
    c = Raw(proxied.port, bad)
    assert c.closed()
    Raw(proxied.port, v1() + connect()).expect(CONNACK)


def test_a_header_that_does_not_come(tmp_path):
    d = daemon(tmp_path, rest='limits = { connect_timeout = "1s"; };\n')
    c = Raw(d.port, v1()[:20])
    assert c.closed()
    assert d.stop() == 0


def test_only_from_balancers(tmp_path):
    d = daemon(tmp_path, 'proxy_from = ( "10.0.0.0/8", "2001:db8::/32" );')
    assert Raw(d.port, v1() + connect()).closed()
    d.configure(f'listeners = ( {{ bind = "127.0.0.1:{d.port}"; proxy = true; anonymous = true; everybody = true;\n'
                'proxy_from = ( "10.0.0.0/8", "127.0.0.1" ); } );\n')
    d.reload()
    wait_for(lambda: Raw(d.port, v1() + connect()).read() is not None, what="the reload")
    assert d.stop() == 0


def test_announced_certificates(tmp_path):
    """The name in a verified certificate is the user, where the configuration says so and there alone."""
    acl = 'acl = ( { user = "scada"; allow = "all"; topic = "#"; } );\n'
    d = daemon(tmp_path / "with", "proxy_certificates = true;", who="", rest=acl)
    assert Raw(d.port, v2(tlvs=certificate("scada")) + connect("a")).expect(CONNACK).body == b"\0\0"
    for header in (v1(), v2(), v2(tlvs=certificate("scada", verify=1)), v2(tlvs=certificate("scada", client=1)),
                   v2(command=0x20, tlvs=certificate("scada"))):
        refused = Raw(d.port, header + connect("b")).read()
        assert refused.kind == CONNACK and refused.body[1] in (4, 5)
    assert d.stop() == 0
    d = daemon(tmp_path / "without", who="", rest=acl + 'users = ( { name = "x"; password = '
               '"$pbkdf2-sha512$1000$c2FsdHNhbHQ=$' + "A" * 86 + '=="; } );\n')
    assert Raw(d.port, v2(tlvs=certificate("scada")) + connect("a")).expect(CONNACK).body[1] in (4, 5)
    assert d.stop() == 0


def test_under_websocket(tmp_path):
    d = daemon(tmp_path, 'protocol = "http";')
    w = WebSocket(d.port, before=v2("2001:db8::7"))
    assert w.status == 101
    c = Raw(d.port, connect("page") + b"\0\0", sock=w)
    c.expect(CONNACK)
    assert c.closed()
    said(d, "client page ([2001:db8::7]:51234)")
    assert d.stop() == 0


def test_under_tls(tmp_path):
    """The header stands in front of the handshake, and the certificate that we have seen ourselves is what counts."""
    ca = Authority(tmp_path)
    cert, key = ca.issue("gw")
    d = daemon(tmp_path / "d", f'tls = {{ cert = "{cert}"; key = "{key}"; client_ca = "{ca.cert}"; }};', who="",
               rest='acl = ( { user = "hmi"; allow = "all"; topic = "#"; } );\n')
    context = ssl.create_default_context(cafile=ca.cert)
    for name in ("hmi", "other"):
        context.load_cert_chain(*ca.issue(name))
        sock = socket.create_connection(("127.0.0.1", d.port), 10)
        sock.sendall(v2("2001:db8::7", tlvs=certificate("hmi")))
        c = Raw(d.port, connect(name), sock=context.wrap_socket(sock, server_hostname="localhost"))
        assert c.expect(CONNACK).body == b"\0\0"
        c.send(subscribe(1, "t"))
        assert c.expect(SUBACK).body[2] == (0 if name == "hmi" else 0x80)
        c.send(b"\0\0")
        assert c.closed()
        said(d, f"client {name} ([2001:db8::7]:51234)")
    assert d.stop() == 0, d.log()


def test_configuration(tmp_path):
    def check(listener):
        d = Sluiced(tmp_path, listener=False)
        d.configure("listeners = ( { " + listener + " } );\n")
        out = subprocess.run([SLUICED, "--check", d.conf_path], capture_output=True, text=True)
        return out.returncode, out.stdout + out.stderr

    who = "anonymous = true; everybody = true;"
    for listener, words in [
            (f'bind = "127.0.0.1:1"; {who} proxy_from = "10.0.0.1";', "proxy_from goes with proxy = true"),
            (f'bind = "127.0.0.1:1"; {who} proxy_certificates = true;', "proxy_certificates goes with proxy = true"),
            (f'bind = "127.0.0.1:1"; {who} proxy = true; proxy_from = "10.0.0.1/8";', '"10.0.0.1/8" is no address and no network'),
            ('bind = "127.0.0.1:1"; anonymous = true; proxy = true;', "can be reached from outside"),
            ('bind = "*:1"; proxy = true; proxy_certificates = true;', "could announce any name")]:
        code, out = check(listener)
        assert code != 0 and words in out and "sluice.conf:3: " in out, out
    code, out = check(f'bind = "*:1"; {who} proxy = true;')
    assert code == 0 and "can announce any address" in out

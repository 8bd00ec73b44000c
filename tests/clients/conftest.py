# SPDX-License-Identifier: Apache-2.0
import re

import peers
import pytest
from capture import Capture
from daemon import Authority, Process, Sluiced, free_port

NAMES = ("paho", "paho-ws", "mqttjs", "mqttjs-ws", *peers.LIBRARIES)  # -ws: over WebSocket
PEERS = [(name, version) for name in NAMES for version in (3, 4, 5)]


class House(Sluiced):
    """A daemon with a plain port, one for TLS with client certificates, and the same for WebSocket; it outlives a test."""

    def __init__(self, folder):
        self.tls_port, self.ws_port, self.wss_port = free_port(), free_port(), free_port()
        self.authority = Authority(folder / "ca")
        self.cert, self.key = self.authority.issue("client")
        cert, key = self.authority.issue("localhost", stem="server")
        super().__init__(folder, listener=False)
        tls = f'tls = {{ cert = "{cert}"; key = "{key}"; client_ca = "{self.authority.cert}"; }};'
        self.configure(f"""
listeners = ( {{ bind = "127.0.0.1:{self.port}"; anonymous = true; }},
  {{ bind = "127.0.0.1:{self.tls_port}"; {tls} }},
  {{ bind = "127.0.0.1:{self.ws_port}"; protocol = "http"; anonymous = true; }},
  {{ bind = "127.0.0.1:{self.wss_port}"; protocol = "http"; {tls} }} );
limits = {{ packet = "8M"; queue = "64M"; reader_backlog = "16M"; }};
sys = {{ every = "1s"; }};
acl = ( {{ allow = "all"; topic = "#"; }}, {{ allow = "write"; topic = "$SYS/broker/connection/%c/state"; }},
  {{ allow = "read"; topic = "$SYS/#"; }} );
""")
        self.listener = "four"

    def start(self):
        super().start()
        Process.started.remove(self)  # what a test has started ends with it
        return self

    def crash(self):
        """kill -9, and a new one."""
        self.kill()
        self.start()


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """One daemon for the tests of a file. It must be well at its end, and no packet malformed to tshark."""
    folder = tmp_path_factory.mktemp("house")
    d = House(folder)
    try:
        with Capture(folder / "wire.pcapng", d.port) as d.wire:
            d.start()
            yield d
            assert d.running(), d.log()
        assert d.stop() == 0, d.log()
        d.wire.judge()
    finally:
        d.kill()


@pytest.fixture(params=PEERS, ids=lambda p: f"{p[0]}-{p[1]}")
def peer(request, house, tmp_path, tmp_path_factory):
    """peer(): a connected client of one of the libraries in one version; peer.version is the latter."""
    name, version = request.param
    made = []
    own = re.sub(r"[^a-z0-9]+", "", request.node.name)

    def make(ident="c", **more):
        ports = (house.ws_port, house.wss_port) if name.endswith("-ws") else (house.port, house.tls_port)
        args = [ports[bool(more.get("tls"))], f"{own}{ident}"[-23:], version]  # no longer than 3.1 allows
        if name in ("paho", "paho-ws"):
            made.append(peers.Paho(*args, transport="websockets" if name == "paho-ws" else "tcp", **more))
        else:
            made.append(peers.Program(peers.command(name, tmp_path_factory.getbasetemp()), tmp_path, *args, **more))
        return made[-1]

    make.version, make.library, make.own = version, name, own
    yield make
    for p in made:
        p.drop()

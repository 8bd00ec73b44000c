# SPDX-License-Identifier: Apache-2.0
import re

import peers
import pytest
from capture import Capture
from daemon import Authority, Process, Sluiced, free_port

PEERS = [(name, version) for name in ("paho", *peers.LIBRARIES) for version in (3, 4, 5)]


class House(Sluiced):
    """A daemon with a plain port, and one for TLS with client certificates; it outlives a test."""

    def __init__(self, folder):
        self.tls_port = free_port()
        self.authority = Authority(folder / "ca")
        self.cert, self.key = self.authority.issue("client")
        cert, key = self.authority.issue("localhost", stem="server")
        super().__init__(folder, listener=False)
        self.configure(f"""
listeners = ( {{ bind = "127.0.0.1:{self.port}"; anonymous = true; }},
  {{ bind = "127.0.0.1:{self.tls_port}"; tls = {{ cert = "{cert}"; key = "{key}"; client_ca = "{self.authority.cert}"; }}; }} );
limits = {{ packet = "8M"; queue = "64M"; reader_backlog = "16M"; }};
sys = {{ every = "1s"; }};
acl = ( {{ allow = "all"; topic = "#"; }}, {{ allow = "write"; topic = "$SYS/broker/connection/%c/state"; }},
  {{ allow = "read"; topic = "$SYS/#"; }} );
""")
        self.listener = "two"

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

    def make(ident="c", port=None, **more):
        args = [port or house.port, f"{own}{ident}"[-23:], version]  # no longer than 3.1 allows
        if name == "paho":
            made.append(peers.Paho(*args, **more))
        else:
            folder = tmp_path_factory.getbasetemp()
            made.append(peers.Program(peers.program(name, folder), tmp_path, *args, **more))
        return made[-1]

    make.version, make.library, make.own = version, name, own
    yield make
    for p in made:
        p.drop()

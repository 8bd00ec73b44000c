# SPDX-License-Identifier: Apache-2.0
import json
import re
import subprocess

import mqttsn
import pytest
import raw
from daemon import SLUICECTL, Process, Sluiced


class Site(Sluiced):
    """A daemon with a line of motes on UDP. line: further settings of it; conf: of the daemon."""

    def __init__(self, folder, line="", conf="", address="127.0.0.1", prefix='prefix = "";'):
        self.sn = mqttsn.free_port()
        self.address, self.prefix = address, prefix
        super().__init__(folder, self.text(line, conf))
        self.open = []

    def text(self, line="", conf=""):
        return (f'lines = ( {{ name = "radio"; protocol = "mqtt-sn"; port = "udp:{self.address}:{self.sn}"; {self.prefix} '
                f'{line} }} );\n{conf}\n')

    def mote(self, name="mote", **more):
        self.open.append(mqttsn.Mote(self.sn, name, **more))
        return self.open[-1]

    def client(self, name="client", **more):
        self.open.append(raw.client(self.port, name, **more))
        return self.open[-1]

    def watcher(self, *filters, name="watcher", qos=2):
        """An MQTT client that gets what is published."""
        c = self.client(name)
        c.send(raw.subscribe(1, *[(f, qos) for f in filters]))
        c.expect(raw.SUBACK)
        return c

    def ask(self, *words):
        done = subprocess.run([SLUICECTL, "-c", self.conf_path, "-j", *words], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def motes(self):
        return {m["id"]: m for m in self.ask("motes")["motes"]}

    def line(self):
        return self.ask("status")["lines"][0]

    def crash(self):
        """kill -9 and start again, on the same ports."""
        self.kill()
        return self.start()


@pytest.fixture
def site(tmp_path):
    """site(…) starts one; each must be well at the end."""
    made = []

    def start(line="", conf="", **more):
        made.append(Site(tmp_path / str(len(made)), line, conf, **more).start())
        return made[-1]

    yield start
    for s in made:
        for thing in s.open:
            thing.close()
        if s.running():
            assert s.stop() == 0, s.log()
        assert "ERROR: AddressSanitizer" not in s.log() and "runtime error" not in s.log(), s.log()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One site for tests that need nothing of their own."""
    s = Site(tmp_path_factory.mktemp("motes"), 'qos_minus_one = true; retry = "1s"; predefined = ( { id = 7; topic = "yard/level"; }, '
             '{ id = 8; topic = "yard/valve"; } );').start()
    Process.started.remove(s)
    yield s
    for thing in s.open:
        thing.close()
    assert s.stop() == 0, s.log()


@pytest.fixture
def own(request, shared):
    """A name that is this test's alone; the daemon is there before and after."""
    yield re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)
    assert shared.running(), shared.log()

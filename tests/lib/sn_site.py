# SPDX-License-Identifier: Apache-2.0
"""A daemon with a line of motes, and who talks to it in a test."""
import json
import subprocess

import mqttsn
import raw
from daemon import SLUICECTL, Sluiced


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

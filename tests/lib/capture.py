# SPDX-License-Identifier: Apache-2.0
"""Records what goes over a loopback port, and has tshark's dissector, which is not ours, judge it."""
import collections
import shutil
import subprocess
import time

from daemon import wait_for

FIELDS = ("mqtt.msgtype", "_ws.malformed", "_ws.expert.severity", "_ws.expert.message", "frame.number")
ERROR = str(0x800000)


class Capture:
    """with Capture(path, ports) as wire: …; then wire.judge(). The file stays, for who wants to look."""

    def __init__(self, path, *ports):
        self.path, self.ports = path, ports

    def __enter__(self):
        only = " or ".join(f"tcp port {p}" for p in self.ports)
        self.recorder = subprocess.Popen([shutil.which("tshark"), "-q", "-B", "64", "-i", "lo", "-f", only, "-w", str(self.path)],
                                         stderr=subprocess.PIPE)
        while b"Capturing" not in self.recorder.stderr.readline():
            assert self.recorder.poll() is None, "tshark does not record"
        wait_for(self.path.exists, what="the capture to begin")
        time.sleep(0.5)  # it says so before it listens
        return self

    def __exit__(self, *unused):
        self.end()

    def end(self):
        if self.recorder.poll() is None:
            time.sleep(0.5)  # what is under way gets into the file
            self.recorder.terminate()
            self.recorder.communicate()

    def read(self):
        """How many packets of each MQTT type there were, and what is wrong with any."""
        argv = ["tshark", "-r", str(self.path), "-Y", "mqtt || _ws.malformed", "-T", "fields"]
        argv += [x for p in self.ports for x in ("-d", f"tcp.port=={p},mqtt")] + [x for f in FIELDS for x in ("-e", f)]
        out = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        kinds, bad = collections.Counter(), []
        for line in out.splitlines():
            kind, malformed, severity, *_ = line.split("\t")
            kinds.update(int(k) for k in kind.split(",") if k)
            if malformed or ERROR in severity.split(","):
                bad.append(line)
        return kinds, bad

    def judge(self, *needed):
        """No packet is malformed to the dissector, and there were some of each of these types. Ends the recording."""
        self.end()
        kinds, bad = self.read()
        assert not bad, f"{self.path}: {bad}"
        assert set(needed) <= set(kinds), f"{self.path}: {dict(kinds)}"

# SPDX-License-Identifier: Apache-2.0
"""The brokers that are compared, and what can be read of a running one: processor time, memory, system calls."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "lib"))

from daemon import Authority, Process, free_port, listens, wait_for  # noqa: E402

LOAD = TOP / "build/tests/bench/load"

SLUICED_CONF = """site = "bench";
state_dir = "{folder}/state";
log = "warning";
health = {{ every = "0s"; }};
limits = {{ inflight = 1000; packet = "256M"; queue_messages = 0; queue = "0k"; retained = 1000000; subscriptions = 2000000;
           reader_backlog = "256M"; }};
listeners = (
  {{ bind = "127.0.0.1:{port}"; anonymous = true; }}{tls}
);
"""
SLUICED_TLS = """,
  {{ bind = "127.0.0.1:{tls_port}"; anonymous = true; tls = {{ cert = "{cert}"; key = "{key}"; }}; }}"""

MOSQUITTO_CONF = """user root
per_listener_settings false
allow_anonymous true
persistence true
persistence_location {folder}/state/
max_queued_messages 0
max_inflight_messages 1000
set_tcp_nodelay true
message_size_limit 0
sys_interval 0
log_type none
listener {port} 127.0.0.1
{tls}"""
MOSQUITTO_TLS = """listener {tls_port} 127.0.0.1
certfile {cert}
keyfile {key}
"""


class Broker(Process):
    """One with empty state in a folder of its own. certs: (certificate, key) for a second listener with TLS."""

    name = conf = conf_tls = None
    calm = 6  # twentieths of a second without work that count as quiet

    def __init__(self, work, certs=None):
        self.folder = Path(work) / self.name
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "state").mkdir(parents=True)
        self.port, self.tls_port = free_port(), free_port()
        self.ports = [self.port] + ([self.tls_port] if certs else [])
        names = {"folder": self.folder, "port": self.port, "tls_port": self.tls_port}
        if certs:
            names |= {"cert": certs[0], "key": certs[1]}
        tls = self.conf_tls.format(**names) if certs else ""
        path = self.folder / "conf"
        path.write_text(self.conf.format(tls=tls, **names))
        super().__init__([*self.program(), "-c", path], self.folder / "log")

    def start(self):
        """start_s: how long it took until it listened."""
        begin = time.monotonic()
        super().start()
        while not all(map(listens, self.ports)):
            if not self.running() or time.monotonic() > begin + 300:
                raise RuntimeError(f"{self.name} did not start: {self.log()}")
            time.sleep(0.001)
        self.start_s = time.monotonic() - begin
        return self

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *failed):
        if self.stop(60) != 0 and not failed[0]:
            raise RuntimeError(f"{self.name} did not end well: {self.log()}")

    def cpu(self):
        """Nanoseconds on a processor, all threads."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total

    def quiet(self):
        """Waits until what it does behind its answers is done, and returns cpu()."""
        last, calm, end = self.cpu(), 0, time.monotonic() + 60
        while calm < self.calm and time.monotonic() < end:
            time.sleep(0.05)
            now = self.cpu()
            calm, last = (calm + 1 if now - last < 100_000 else 0), now
        return last

    def status(self, name):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
        raise KeyError(name)

    def memory(self, name="VmRSS"):
        return self.status(name) * 1024

    def read_from_disk(self):
        text = Path(f"/proc/{self.pid}/io").read_text()
        return int(text.split("read_bytes:")[1].split()[0])

    def wakeups(self):
        """How often its threads have gone to sleep."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            text = (task / "status").read_text()
            total += int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0])
        return total


class Sluice(Broker):
    name, conf, conf_tls = "sluiced", SLUICED_CONF, SLUICED_TLS
    copy = None  # of the program, so that a build meanwhile does not change what is measured

    @classmethod
    def program(cls):
        return [cls.copy]

    @classmethod
    def version(cls):
        return subprocess.run([cls.copy, "--version"], capture_output=True, text=True).stdout.strip()

    def store(self):
        """What the store says of itself."""
        done = subprocess.run([TOP / "build/sluicectl", "-c", self.folder / "conf", "--json", "status"],
                              capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout)["store"]


class Mosquitto(Broker):
    name, conf, conf_tls = "mosquitto", MOSQUITTO_CONF, MOSQUITTO_TLS

    @classmethod
    def program(cls):
        return [shutil.which("mosquitto") or "/usr/sbin/mosquitto"]

    @classmethod
    def version(cls):
        text = subprocess.run([*cls.program(), "-h"], capture_output=True, text=True).stdout
        return text.splitlines()[0]


class Load:
    """The load generator, connected and waiting for go(). It keeps its connections until the block ends."""

    def __init__(self, broker, args, tls=False):
        port = broker.tls_port if tls else broker.port
        self.process = subprocess.Popen([LOAD, "--port", str(port), "--go", *(["--tls"] if tls else []), *args.split()],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError(f"load {args} against {broker.name}: {broker.log()}")

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator ended")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


def measure(broker, args, tls=False):
    """Runs a load; what it reports, with the processor time in cpu_ns."""
    with Load(broker, args, tls) as load:
        before = broker.cpu()
        result = load.go()
        result["cpu_ns"] = broker.quiet() - before
    return result


class Trace:
    """Counts the system calls of a running broker by name, from the block's beginning to its end."""

    def __init__(self, broker, work):
        self.path = Path(work) / "strace"
        self.process = subprocess.Popen(["strace", "-c", "-f", "-U", "calls,name", "-o", self.path, "-p", str(broker.pid)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        text=True)
        wait_for(lambda: self.process.poll() is not None or broker.status("TracerPid"), what="strace to attach")
        if self.process.poll() is not None:
            raise PermissionError(self.process.stderr.read().strip())
        self.calls = {}

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        self.process.stderr.close()
        for line in self.path.read_text().splitlines():
            words = line.split()
            if len(words) == 2 and words[0].isdigit() and words[1] != "total":
                self.calls[words[1]] = int(words[0])


def build_load():
    # make's own variables would let this one believe that it is a part of the make that called us.
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    subprocess.run(["make", "-s", "-C", TOP, LOAD.relative_to(TOP)], check=True, env=env)


def certificates(work):
    return Authority(Path(work) / "ca").issue("localhost")

# SPDX-License-Identifier: Apache-2.0
"""Starts sluiced (and mosquitto, openssl …) for a test on free loopback ports, and ends them by their pid."""
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build" / os.environ.get("SLUICE_VARIANT", "")
SLUICED = BUILD / "sluiced"
SLUICECTL = BUILD / "sluicectl"
SIM = BUILD / "sluice-sim"


given_ports = set()


def free_port():
    """Free now, and given to nobody else of this run: what asks for two gets two."""
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port not in given_ports:
            given_ports.add(port)
            return port


def wait_for(condition, seconds=20, what="condition"):
    """Polls until condition() gives something true, and returns it."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.02)


def listens(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def cpu_s(pid):
    """Processor time that it has had, in seconds."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


class Process:
    """A child whose output goes to a file. What a test leaves running is killed at its end (conftest.py)."""

    started = []

    def __init__(self, argv, log, env=None):
        self.argv, self.log_path, self.env = [str(a) for a in argv], Path(log), env
        self.process = None

    def start(self):
        with open(self.log_path, "ab") as out:
            self.process = subprocess.Popen(self.argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                            env={**os.environ, **(self.env or {})})
        Process.started.append(self)
        return self

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """kill -9"""
        if self.running():
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds=10):
        if self.running():
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.argv[0]} did not end within {seconds} s of SIGTERM:\n{self.log()}")

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""


STARTED = " info    sluiced "


class Sluiced(Process):
    """A daemon with a listener on self.port and whatever else conf says. conf: text of further settings."""

    def __init__(self, folder, conf="", site="test", listener=True, env=None, program=SLUICED, wrapper=()):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.site = site
        self.listener = listener
        self.conf_path = self.folder / "sluice.conf"
        self.configure(conf)
        super().__init__([*wrapper, program, "-c", self.conf_path], self.folder / "sluiced.log", env)

    def configure(self, conf):
        text = f'site = "{self.site}";\nstate_dir = "{self.folder}/state";\n'
        if self.listener is True:
            text += f'listeners = ( {{ bind = "127.0.0.1:{self.port}"; anonymous = true; }} );\n'
        self.conf_path.write_text(text + conf)

    def start(self):
        """Returns when all services have started: the last are those that sluicectl and the bridges need."""
        before = self.log().count(STARTED)
        quiet = 'log = "' in self.conf_path.read_text()  # it may not say so: then the listener must do
        super().start()
        if self.listener:
            wait_for(lambda: not self.running() or (listens(self.port) if quiet else self.log().count(STARTED) > before),
                     what="sluiced to start")
        if not self.running():
            raise AssertionError("sluiced did not start:\n" + self.log())
        return self

    def restart(self):
        self.stop()
        return self.start()

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def memory_kb(self, name="VmHWM"):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
        raise KeyError(name)


class Mosquitto(Process):
    """Debian's mosquitto; conf: further settings."""

    def __init__(self, folder, conf="", port=None, default_listener=True, persistence=False):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        path = self.folder / "mosquitto.conf"
        text = f"listener {self.port} 127.0.0.1\nallow_anonymous true\n" if default_listener else ""
        if os.geteuid() == 0 and "\nuser " not in "\n" + conf:
            text += "user root\n"  # else it could not read the test's own folder
        text += f"persistence true\npersistence_location {self.folder}/\n" if persistence else "persistence false\n"
        path.write_text(text + "log_dest stderr\nlog_type all\n" + conf)
        super().__init__([shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", path],
                         self.folder / "mosquitto.log")

    def start(self):
        super().start()
        wait_for(lambda: not self.running() or listens(self.port), what="mosquitto to listen")
        if not self.running():
            raise AssertionError("mosquitto did not start:\n" + self.log())
        return self


def openssl(*args):
    done = subprocess.run(["openssl", *[str(a) for a in args]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder, name="test-ca"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cert, self.key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 30,
                "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.cert)

    def issue(self, name, alt="DNS:localhost,IP:127.0.0.1", days=30, stem=None):
        """Returns (certificate, key) paths."""
        stem = stem or name
        cert, key, request, ext = [self.folder / f"{stem}.{x}" for x in ("pem", "key", "csr", "ext")]
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                "-keyout", key, "-out", request)
        ext.write_text(f"subjectAltName={alt}\n")
        openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", days,
                "-extfile", ext, "-out", cert)
        return cert, key

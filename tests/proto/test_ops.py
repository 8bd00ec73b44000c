# SPDX-License-Identifier: Apache-2.0
"""The control socket, sluicectl, health and events, against the running daemon."""
import contextlib
import json
import os
import re
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
from daemon import SLUICECTL, SLUICED, TOP, Mosquitto, Process, Sluiced, free_port, wait_for
from raw import PUBACK, PUBLISH, SUBACK, ack, client, publish, subscribe

pytestmark = pytest.mark.skipif(not SLUICED.exists() or not SLUICECTL.exists(), reason="not built")


def ctl(daemon, *args, env=None):
    return subprocess.run([SLUICECTL, "-c", daemon.conf_path, *args], capture_output=True, text=True, timeout=30,
                          env={**os.environ, **(env or {})})


def status(daemon):
    done = ctl(daemon, "--json", "status")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def up(daemon):
    """The listeners open before the control socket does."""
    wait_for(lambda: not daemon.running() or ctl(daemon, "status").returncode == 0, what="the control socket")
    return daemon


@pytest.fixture
def sluiced(sluiced):
    return up(sluiced)


class Control:
    """A client of the control socket that does as it likes."""

    def __init__(self, daemon):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(daemon.folder / "state" / "control.sock"))
        self.rest = b""

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n")

    def line(self):
        """The next answer; None when the daemon has closed."""
        while b"\n" not in self.rest:
            try:
                part = self.socket.recv(65536)
            except ConnectionResetError:
                part = b""
            if not part:
                return None
            self.rest += part
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def ask(self, data):
        self.send(data)
        return self.line()


def test_status_has_what_people_watch(sluiced):
    s = status(sluiced)
    assert s["ok"] is True
    g = s["gateway"]
    assert (g["site"], g["root"], g["pid"]) == ("test", "sluice/test", sluiced.pid)
    assert g["boot"] >= 1 and g["uptime_s"] >= 0 and g["clock_set"] is True
    assert 0 < g["memory_bytes"] <= g["memory_most_bytes"]
    assert g["configuration"] == str(sluiced.conf_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", g["loaded"])
    assert s["store"]["state"] == "ok"
    assert s["broker"]["clients"] == 0
    assert s["listeners"][0]["port"] == sluiced.port and s["listeners"][0]["protocol"] == "mqtt"
    wait_for(lambda: status(sluiced)["store"]["commits"] > 0, what="the first commit")
    assert status(sluiced)["store"]["free_bytes"] > 0


def test_status_for_people(sluiced):
    done = ctl(sluiced, "status")
    assert done.returncode == 0
    assert done.stdout.startswith("test  sluice ")
    assert "\nAll is well\n" in done.stdout
    assert "\033" not in done.stdout, "no colours in a pipe"
    sections = re.findall(r"^[A-Z]+(?=$|  )", done.stdout, re.M)
    assert "STORE" in sections and "CLIENTS" in sections and "GATEWAY" in sections
    only = ctl(sluiced, "status", "store").stdout
    assert "STORE" in only and "GATEWAY" not in only


def test_the_boot_number_rises(sluiced):
    before = status(sluiced)["gateway"]["boot"]
    up(sluiced.restart())
    assert status(sluiced)["gateway"]["boot"] > before


def test_the_socket_is_for_owner_and_group(sluiced):
    mode = (sluiced.folder / "state" / "control.sock").stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660


def test_another_socket_path(tmp_path):
    path = tmp_path / "elsewhere.sock"
    d = Sluiced(tmp_path, f'control = {{ socket = "{path}"; }};\n').start()
    up(d)
    try:
        assert path.is_socket() and status(d)["ok"]
        done = subprocess.run([SLUICECTL, "-s", path, "status"], capture_output=True, text=True)
        assert done.returncode == 0
    finally:
        assert d.stop() == 0


def test_a_socket_path_that_is_too_long(tmp_path):
    conf = tmp_path / "sluice.conf"
    for setting in (f'state_dir = "{tmp_path}/{"x" * 100}";', f'control = {{ socket = "{tmp_path}/{"x" * 100}"; }};'):
        conf.write_text(f'site = "test";\n{setting}\n')
        done = subprocess.run([SLUICED, "--check", conf], capture_output=True, text=True)
        assert done.returncode
        assert "107 are the most; name a shorter one" in done.stdout + done.stderr


def test_reload_moves_the_socket(sluiced):
    path = sluiced.folder / "moved.sock"
    old = sluiced.folder / "state" / "control.sock"
    sluiced.configure(f'control = {{ socket = "{path}"; }};\n')
    done = subprocess.run([SLUICECTL, "-s", old, "reload"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert status(sluiced)["ok"] and path.is_socket()
    wait_for(lambda: not answers(old), what="the old socket to go")


def answers(path):
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(str(path))
        except OSError:
            return False
        return True


def test_reload_refuses_a_wrong_file_whole(sluiced):
    good = sluiced.conf_path.read_text()
    loaded = status(sluiced)["gateway"]["loaded"]
    sluiced.conf_path.write_text(good + 'helth = { every = "2s"; };\nlog = 7;\n')
    done = ctl(sluiced, "reload")
    assert done.returncode == 1
    lines = good.count("\n")
    where = re.escape(str(sluiced.conf_path))
    assert re.search(rf"^{where}:{lines + 1}: .*helth.*health", done.stderr, re.M), done.stderr
    assert re.search(rf"^{where}:{lines + 2}: .*log", done.stderr, re.M), done.stderr
    assert "what ran goes on" in done.stderr
    assert status(sluiced)["gateway"]["loaded"] == loaded, "nothing of it is in force"


def test_reload_brings_a_right_file_into_force(sluiced):
    port = free_port()
    sluiced.conf_path.write_text(sluiced.conf_path.read_text().replace(str(sluiced.port), str(port)))
    done = ctl(sluiced, "reload")
    assert (done.returncode, done.stderr) == (0, "")
    assert [l["port"] for l in status(sluiced)["listeners"]] == [port]


def test_backup(sluiced):
    copy = sluiced.folder / "copy.db"
    done = ctl(sluiced, "backup", copy)
    assert done.returncode == 0, done.stderr
    assert copy.read_bytes().startswith(b"SQLite format 3\0")
    again = ctl(sluiced, "backup", copy)
    assert again.returncode == 1 and "nothing is overwritten" in again.stderr
    nowhere = ctl(sluiced, "backup", "/proc/nowhere/copy.db")
    assert nowhere.returncode == 1 and "/proc/nowhere/copy.db" in nowhere.stderr


def test_a_client_that_leaves_during_its_backup(sluiced):
    c = Control(sluiced)
    c.send({"do": "backup", "path": str(sluiced.folder / "copy.db")})
    c.socket.close()
    wait_for((sluiced.folder / "copy.db").exists, what="the copy")
    assert status(sluiced)["ok"]


def test_log_level(sluiced):
    assert ctl(sluiced, "log", "debug").returncode == 0
    done = ctl(sluiced, "log", "loud")
    assert done.returncode == 1 and "warning" in done.stderr


def test_the_daemon_does_not_run(tmp_path):
    d = Sluiced(tmp_path)
    done = ctl(d, "status")
    assert done.returncode == 3
    assert "does not run" in done.stderr


def test_wrong_use(sluiced):
    for args in ([], ["frobnicate"], ["backup"], ["reload", "now"], ["status", "motors"], ["--frob"]):
        assert ctl(sluiced, *args).returncode == 2, args
    assert ctl(sluiced, "--help").returncode == 0
    assert ctl(sluiced, "--version").stdout.startswith("sluicectl ")


def test_answers_come_in_order(sluiced):
    c = Control(sluiced)
    c.send(b'{"do":"status"}\n{"do":"log"}\n' * 20)
    for _ in range(20):
        assert c.line()["ok"] is True
        assert c.line()["ok"] is False
    # in pieces
    for byte in b'{"do":"status"}\n':
        c.send(bytes([byte]))
    assert c.line()["ok"] is True


@pytest.mark.parametrize("line", [
    b"", b"status", b"7", b"[]", b'{"do":7}', b'{"do":"frobnicate"}', b"{" * 5000, b"[" * 60000, b'{"do":"status"',
    b"\0\xff\xfe" * 100, b'{"do":"backup"}', b'{"do":"backup","path":7}', b'{"do":"backup","path":"relative"}',
    b'{"do":"log","level":{}}'], ids=lambda line: line[:24].decode("latin1").strip("\0\xff\xfe") or "bytes")
def test_garbage_gets_an_error(sluiced, line):
    c = Control(sluiced)
    answer = c.ask(line + b"\n")
    assert answer["ok"] is False and answer["error"]
    assert c.ask({"do": "status"})["ok"] is True, "the client may go on"


def test_a_huge_line_ends_the_client(sluiced):
    c = Control(sluiced)
    try:
        c.send(b'{"do":"' + b"x" * 200000)
    except (BrokenPipeError, ConnectionResetError):
        pass
    answer = c.line()
    assert answer is None or "longer" in answer["error"]
    assert c.line() is None
    assert status(sluiced)["ok"]


def test_a_client_that_does_not_read(sluiced):
    c = Control(sluiced)
    c.socket.setblocking(False)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += c.socket.send(b'{"do":"status"}\n' * 1000)
    except BlockingIOError:
        pass
    assert sent < 8 << 20, "the daemon stopped reading"
    assert status(sluiced)["ok"], "and serves others"
    assert sluiced.memory_kb() < 64 * 1024


def test_a_thousand_connections(sluiced):
    clients = []
    refused = 0
    for _ in range(1000):
        c = Control(sluiced)
        c.socket.settimeout(10)
        clients.append(c)
    for c in clients:
        try:
            answer = c.ask({"do": "status"})
        except (BrokenPipeError, ConnectionResetError):
            answer = None
        if not answer or not answer["ok"]:
            refused += 1
    assert 0 < 1000 - refused <= 32
    assert len(os.listdir(f"/proc/{sluiced.pid}/fd")) < 200
    for c in clients:
        c.socket.close()
    wait_for(lambda: ctl(sluiced, "status").returncode == 0, what="room for a client again")


def test_stop_does_not_wait_for_clients(sluiced):
    c = Control(sluiced)
    assert c.ask({"do": "status"})["ok"]
    assert sluiced.stop(5) == 0
    assert c.line() is None


def listen(port, topic, count):
    done = subprocess.run(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-t", topic, "-C", str(count),
                           "-W", "30"], capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_health(tmp_path):
    d = Sluiced(tmp_path, 'health = { every = "1s"; };\n').start()
    try:
        first, second = listen(d.port, "sluice/test/health", 2)
        assert first["t"] < second["t"]
        assert first["gateway"]["memory_bytes"] > 0
        assert first["store"]["state"] == "ok"
        assert second["gateway"]["uptime_s"] > first["gateway"]["uptime_s"]
        assert len(json.dumps(first)) < 2000, "it is for metered links"
    finally:
        assert d.stop() == 0


def test_an_idle_daemon_sleeps(tmp_path):
    """Without health, lines and clients nothing wakes it."""
    d = Sluiced(tmp_path, 'health = { every = "0s"; };\n').start()

    def slept_through():
        before = wakeups(d)
        time.sleep(3)
        return wakeups(d) == before

    try:
        wait_for(slept_through, seconds=30, what="three seconds without a wake-up")
        assert listen_count(d.port, "sluice/test/health", 2) == 0
    finally:
        assert d.stop() == 0


def wakeups(d):
    """How often its threads have gone to sleep."""
    status = [(task / "status").read_text() for task in Path(f"/proc/{d.pid}/task").iterdir()]
    return sum(int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for text in status)


def listen_count(port, topic, seconds):
    done = subprocess.run(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", topic, "-W", str(seconds)],
                          capture_output=True, text=True)
    return len(done.stdout.splitlines())


def test_an_event_tells_that_a_bridge_has_changed(tmp_path):
    """The mosquitto that the bridge leads to comes later."""
    port = free_port()
    d = Sluiced(tmp_path / "gw", 'health = { every = "1s"; };\n'
                f'bridges = ( {{ name = "up"; url = "mqtt://127.0.0.1:{port}"; out = ( {{ match = "x"; qos = 1; }} ); }} );\n')
    d.start()
    upstream = Mosquitto(tmp_path / "up", port=port)
    try:
        wait_for(lambda: ctl(d, "status", "bridges").stdout.find("offline") > 0, what="the bridge to be offline")
        assert "bridge up" in ctl(d, "status").stdout
        listen(d.port, "sluice/test/health", 1)  # the state from which it will change has been seen
        listener = subprocess.Popen(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(d.port), "-q", "1", "-t",
                                     "sluice/test/event/bridge", "-C", "1", "-W", "60"], stdout=subprocess.PIPE, text=True)
        wait_for(lambda: status(d)["broker"]["clients"] == 1, what="the subscriber")
        upstream.start()
        event = json.loads(listener.communicate(timeout=70)[0])
        assert (event["name"], event["state"]) == ("up", "online")
        assert "t" in event
    finally:
        assert d.stop() == 0
        upstream.stop()


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(tmp_path, abstract):
    name = f"sluice-test-{os.getpid()}-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        manager.settimeout(10)

        def until(line):
            while line not in manager.recv(4096).decode().split("\n"):
                pass

        d = Sluiced(tmp_path, env={"NOTIFY_SOCKET": "@" + name if abstract else name, "WATCHDOG_USEC": "200000"}).start()
        try:
            until("READY=1")
            until("WATCHDOG=1")
            until("WATCHDOG=1")
            d.reload()
            until("RELOADING=1")
            until("READY=1")
        finally:
            assert d.stop() == 0
        until("STOPPING=1")


def test_another_process_is_watched(tmp_path):
    """WATCHDOG_PID: the environment was meant for whoever started us."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        d = Sluiced(tmp_path, env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"})
        assert d.start().stop() == 0
        manager.setblocking(False)
        heard = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                heard += manager.recv(4096) + b"\n"
        assert b"READY=1" in heard and b"STOPPING=1" in heard and b"WATCHDOG" not in heard


def test_the_example_is_right(tmp_path):
    """As it is shipped, and with everything in it taken into use."""
    example = (TOP / "rootfs/overlay/etc/sluice/sluice.conf").read_text()
    used = re.sub(r"(?ms)^#\w+ = \(.*?^#\);", lambda block: re.sub("(?m)^#", "", block[0]), example)
    assert used != example and "bridges = (" in used
    for name, text in (("shipped", example), ("used", used)):
        path = tmp_path / f"{name}.conf"
        path.write_text(text)
        done = subprocess.run([SLUICED, "--check", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def queued(daemon, name):
    """What a session that is away gets when it comes."""
    with client(daemon.port, name, clean=False) as s:
        got = []
        s.sock.settimeout(0.5)
        try:
            while (p := s.read()).kind == PUBLISH:
                got.append(int(p.payload))
                s.send(ack(PUBACK, p.pid))
        except TimeoutError:
            return got


def test_reload_changes_limits_of_what_is_there(tmp_path):
    d = up(Sluiced(tmp_path, "limits = { queue_messages = 3; retained = 1; };").start())
    for name in ("before", "after"):
        s = client(d.port, name, clean=False)
        s.send(subscribe(1, ("t", 1)))
        s.expect(SUBACK)
        s.close()
    p = client(d.port, "p")
    for i in range(5):
        p.send(publish("t", f"{i}", 1, 1), publish(f"r/{i}", "x", 1, 2, retain=True))
        p.expect(PUBACK), p.expect(PUBACK)
    assert queued(d, "before") == [2, 3, 4]
    assert status(d)["broker"]["retained_refused"] == 4
    d.configure("limits = { queue_messages = 6; retained = 10; };")
    assert ctl(d, "reload").returncode == 0
    for i in range(5, 10):
        p.send(publish("t", f"{i}", 1, 1), publish(f"r/{i}", "x", 1, 2, retain=True))
        p.expect(PUBACK), p.expect(PUBACK)
    assert queued(d, "after") == list(range(4, 10))
    assert status(d)["broker"]["retained_refused"] == 4
    d.configure("store = { linger = \"100ms\"; };")
    done = ctl(d, "reload")
    assert done.returncode == 1 and "store cannot change while the daemon runs; restart it" in done.stderr
    assert d.stop() == 0


def test_the_journal_gets_priorities(tmp_path):
    """<3> to <7> instead of a time and a word, when stderr is the journal's stream and only then."""
    d = Sluiced(tmp_path, 'bridges = ( { name = "up"; url = "mqtt://127.0.0.1:1"; out = ( { match = "x"; } ); } );')
    d.log_path.touch()
    place = d.log_path.stat()
    d.env = {"JOURNAL_STREAM": f"{place.st_dev}:{place.st_ino}"}
    Process.start(d)
    wait_for(lambda: "connection refused" in d.log(), what="the bridge's warning")
    assert d.stop() == 0
    lines = d.log().splitlines()
    assert all(re.match("<[3467]>[a-z]", line) for line in lines) and {"<4>", "<6>"} <= {line[:3] for line in lines}
    d.env = {"JOURNAL_STREAM": f"{place.st_dev}:{place.st_ino + 1}"}
    d.start()
    assert d.stop() == 0
    assert re.match(r"\d{4}-.*Z info ", d.log().splitlines()[-1])

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A whole site on one machine, for about a minute: a serial line with three slaves, the gateway, a bad link, the cloud.

The link loses answers, is cut, swallows connections; the site's daemon is killed with -9 in between. At the end every
reading is counted, and the exit status is 0 only when none was lost, out of order or wrong."""
import argparse
import calendar
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]

from daemon import SIM, SLUICECTL, SLUICED, TOP, Authority, Process, free_port, listens, wait_for  # noqa: E402
from judge import MS, Evidence, FrameLog, Judge, sabotage, stored_readings  # noqa: E402
from link import Link  # noqa: E402
from mqtt import Subscriber  # noqa: E402
from screen import Screen  # noqa: E402

FOLDER = Path(os.environ.get("DEMO_FOLDER", TOP / "build" / "demo"))
ROOT = "sluice/plant7"
LINGER_MS, LINGER_IDLE_MS = 0, 200  # store.linger and store.linger_idle, as the site's file leaves them
ROOM_MS = 50  # from the wire to the store's door and back, on a machine with other things to do

# Seconds since the line's start.
FULL = dict(silent=(8, 17), one_way=21, cut=23, kill=31, restart=32, swallow=36, heal=41, last_cut=50, stop=52,
            least=dict(arrived=300, backlog=100))
QUICK = dict(silent=(2, 5), one_way=7, cut=8, kill=11, restart=11.5, swallow=13, heal=14.5, last_cut=18, stop=19,
             least=dict(arrived=100, backlog=40))


class Broken(Exception):
    """The demo cannot go on."""


def child(argv, log):
    """Ends with us, whatever ends us, but not before us when Ctrl-C does."""
    return Process(["setsid", "setpriv", "--pdeathsig", "TERM", *argv], log)


class Daemon:
    """A sluiced with its folder: its configuration is made of the one beside this file."""

    def __init__(self, name, **words):
        self.name, self.words = name, words
        self.folder = FOLDER / name
        self.conf = self.folder / "sluice.conf"
        self.log = self.folder / "sluiced.log"
        for source in (HERE / name).rglob("*.conf"):
            self.write(source.relative_to(HERE / name))
        self.process = child([SLUICED, "-c", self.conf], self.log)

    def write(self, part):
        target = self.folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(re.sub(r"@(\w+)@", lambda m: str(self.words[m[1]]), (HERE / self.name / part).read_text()))

    def start(self):
        self.process.start()
        wait_for(lambda: not self.process.running() or listens(self.words["port"]), what=f"{self.name} to listen")
        self.check()

    def check(self):
        if not self.process.running():
            raise Broken(f"{self.name}'s sluiced has ended by itself; the end of {self.log}:\n{self.log_end()}")

    def log_end(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])

    def status(self):
        done = subprocess.run([SLUICECTL, "-c", self.conf, "-j", "status"], capture_output=True, text=True, timeout=20)
        if done.returncode:
            raise Broken(f"sluicectl status of {self.name}: {done.stderr.strip() or done.stdout.strip()}")
        return json.loads(done.stdout)

    def bridge(self):
        return self.status()["bridges"][0]


class Demo:
    def __init__(self, screen, plan):
        self.screen, self.plan = screen, plan
        self.evidence = Evidence(least=plan["least"])
        self.link = self.viewer = None
        self.ended = []  # what to close, last first
        self.fresh = []  # readings that no row has shown yet
        self.shown = {}  # device: text
        self.states = {}

    # --- clock ---

    def now(self):
        """Seconds since the line's start."""
        return time.monotonic() - self.zero

    def clock(self, seconds=None):
        s = max(0, int(self.now() if seconds is None else seconds))
        return f"{s // 60:02}:{s % 60:02}"

    def event(self, text):
        self.screen.event(self.clock(), text)

    # --- set up ---

    def set_up(self):
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.lock = open(FOLDER / "lock", "a")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Broken(f"another demo is running in {FOLDER}") from None
        for old in FOLDER.iterdir():
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            elif old.name != "lock":
                old.unlink()
        ca = Authority(FOLDER / "pki", "ca")
        ca.issue("cloud", "DNS:cloud.example")
        ca.issue("plant7", "DNS:plant7.example")
        self.cloud = Daemon("cloud", port=free_port(), tls=free_port())
        self.run(self.cloud)
        self.link = Link(self.cloud.words["tls"])
        self.ended.append(self.link.close)
        self.viewer = Subscriber(self.cloud.words["port"], "viewer", ROOT + "/#")
        self.ended.append(self.viewer.close)
        self.start_line()
        self.site = Daemon("site", port=free_port(), link=self.link.port, tty=FOLDER / "rs485")
        self.run(self.site)

    def run(self, daemon):
        self.ended.append(lambda: daemon.process.process and daemon.process.stop())
        daemon.start()

    def start_line(self):
        text = (HERE / "line.conf").read_text()
        begin, end = self.plan["silent"]
        text, changed = re.subn(r'from = "\d+s"; until = "\d+s"', f'from = "{begin}s"; until = "{end}s"', text)
        assert changed == 1
        (FOLDER / "line.conf").write_text(text)
        self.frames = FOLDER / "frames.log"
        self.sim = child([SIM, FOLDER / "line.conf", "--link", FOLDER / "rs485", "--log", self.frames],
                         FOLDER / "sluice-sim.log").start()
        self.ended.append(self.sim.stop)
        wait_for(lambda: not self.sim.running() or self.frames.exists() and "end_us" in self.frames.read_text(),
                 what="sluice-sim")
        if not self.sim.running():
            raise Broken("sluice-sim has ended by itself:\n" + self.sim.log())
        self.zero = time.monotonic() - (time.time() - FrameLog(self.frames).wall / 1e6)

    def close(self):
        for sig in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sig, signal.SIG_IGN)
        while self.ended:
            try:
                self.ended.pop()()
            except AssertionError as e:
                self.screen.line(str(e), "red")

    # --- the live view ---

    def until(self, when):
        """Shows what arrives, a row each second, until the line is so many seconds old."""
        while (now := self.now()) < when:
            time.sleep(min(when, int(now) + 1.0) - now)
            if self.now() >= int(now) + 1:
                self.show()

    def take(self):
        """Notes all that has arrived."""
        for a in self.viewer.take():
            at = int((a.at - self.zero) * 1e6)
            self.evidence.arrivals.append([at, a.topic, a.payload])
            parts = a.topic.removeprefix(ROOT + "/").split("/")
            if len(parts) == 3 and parts[1] == "data":
                self.fresh.append(json.loads(a.payload))
                self.shown[parts[0]] = self.describe(self.fresh[-1]) or self.shown.get(parts[0])
            elif parts[-1] == "state" and a.payload:
                self.tell_state("plant7" if len(parts) == 1 else parts[0], json.loads(a.payload))

    def describe(self, reading):
        v = reading["v"]
        if reading.get("q"):
            return next(iter(reading["q"].values()))
        if "voltage" in v:
            return f"{v['voltage']:.1f} V {v['power'] / 1000:.2f} kW"
        if "flow_temp" in v:
            return f"{v['flow_temp']} °C"
        return f"{v['rate']:.1f} m³/h" if "rate" in v else None

    def tell_state(self, who, what):
        state = what["state"]
        before, self.states[who] = self.states.get(who), state
        if state == "online" and before not in (None, "online", "stale"):
            self.event(f"the cloud hears that {who} is online again")
        elif state in ("dead", "offline") and state != before:
            self.event(f"the cloud hears that {who} is {state}: {what['reason']}")
        if who in self.shown and (state == "dead") != (self.shown[who] == "dead"):
            self.shown[who] = state

    def show(self):
        self.take()
        self.check()
        readings, self.fresh = self.fresh, []
        count = f"{len(readings)} reading{'' if len(readings) == 1 else 's'}"
        if readings:
            row = "  ".join(f"{d} {self.shown.get(d) or '':{w}}" for d, w in (("meter", 16), ("boiler", 8), ("flow", 10)))
            old = time.time() - min(self.wall(r) for r in readings)
            if old > 3:
                count = f"{len(readings)} since {self.clock(self.now() - old)}"
            self.screen.line(f"{self.clock()}  {row}  {count}")
        else:
            self.screen.line(f"{self.clock()}  nothing arrives; {self.waiting()}", "dim")

    def waiting(self):
        if not self.site.process.running():
            return "the site's daemon is dead"
        return f"{self.backlog()} messages wait on the site's disk"

    @staticmethod
    def wall(reading):
        day, fraction = reading["t"].rstrip("Z").split(".")
        return calendar.timegm(time.strptime(day, "%Y-%m-%dT%H:%M:%S")) + float("." + fraction)

    def check(self):
        self.cloud.check()
        if not self.sim.running():
            raise Broken("sluice-sim has ended by itself:\n" + self.sim.log())
        if self.viewer.fault:
            raise Broken(f"the subscriber: {self.viewer.fault}")

    # --- what happens ---

    def play(self):
        plan = self.plan
        self.event("the site polls its line; readings travel to the cloud over mutual TLS")
        self.until(plan["silent"][0])
        self.event("the boiler falls silent; the others must not notice")
        self.until(plan["silent"][1])
        self.event("the boiler answers again, if it is asked")
        self.until(plan["one_way"])
        self.link.lose_answers()
        self.event("the link goes bad: readings still pass, acknowledgements are lost")
        self.until(plan["cut"])
        self.link.cut()
        self.event("cutting the link: connections die, new ones are refused")
        self.until(plan["kill"])
        self.kill()
        self.until(plan["restart"])
        self.site.start()
        self.event("the site's daemon starts again; it goes on reading, the link is still cut")
        self.until(plan["swallow"])
        self.link.swallow()
        self.event("the link takes connections again, but swallows every byte")
        self.until(plan["heal"])
        self.heal()
        self.until(plan["last_cut"])
        self.end()

    def backlog(self):
        return self.site.bridge()["backlog"]

    def committed(self, status):
        return {f"{d['name']}/{name}": g["committed"] for d in status["devices"] for name, g in d["groups"].items()}

    def snapshot(self, name):
        """The state folder as it lies there, for us to look at."""
        copy = FOLDER / name
        shutil.copytree(self.site.folder / "state", copy, ignore=shutil.ignore_patterns("*.sock"))
        return stored_readings(copy)

    def note_stop(self, kill, status, at, window_ms, name):
        stored = self.snapshot(name)
        self.evidence.stops.append(dict(kill=kill, at=int((at - self.zero) * 1e6), start=status["gateway"]["boot"],
                                        told=self.committed(status), stored=stored, window=int(window_ms * MS),
                                        commit=status["store"]["commit_us_most"]))
        return len(stored)

    def kill(self):
        self.take()
        status = self.site.status()
        at = time.monotonic()
        self.site.process.kill()
        window = LINGER_MS + LINGER_IDLE_MS + status["store"]["commit_us_most"] / 1000 + ROOM_MS
        waiting = self.note_stop(True, status, at, window, "state-after-kill")
        self.event(f"kill -9 of the site's daemon; {waiting} readings wait on its disk")

    def heal(self):
        self.evidence.backlog = waiting = self.backlog()
        self.link.heal()
        self.event(f"the link is back; {waiting} messages wait on the site's disk")
        began = self.now()
        bridge = self.drained()
        self.event(f"all of it has arrived {self.now() - began:.1f} s later ({bridge['tls'].split()[0]})")

    def drained(self):
        def empty():
            self.take()
            bridge = self.site.bridge()
            return bridge["state"] == "online" and not bridge["backlog"] and bridge
        return wait_for(empty, what="the backlog to arrive")

    def end(self):
        """The last readings wait on disk while the daemon is stopped; it then hands them on without its field."""
        self.take()
        self.link.cut()
        self.event("cutting the link once more")
        self.until(self.plan["stop"])
        status = self.site.status()
        at = time.monotonic()
        self.site.process.stop()
        took = time.monotonic() - at
        waiting = self.note_stop(False, status, at, ROOM_MS, "state-after-stop")
        self.event(f"an orderly stop of the site's daemon took {took:.2f} s; {waiting} readings wait on its disk")
        (self.site.folder / "conf.d/field.conf").unlink()
        self.link.heal()
        self.site.start()
        self.event("the daemon starts without its field, over a good link")
        self.drained()
        self.wait_for_the_last()
        self.event("nothing waits any more")

    def wait_for_the_last(self):
        """What the site has handed on is still on its way through the cloud. What never comes is the judge's business."""
        stored = {tuple(s) for s in self.evidence.stops[-1]["stored"]}
        give_up, quiet_since, count = time.monotonic() + 10, time.monotonic(), 0
        while time.monotonic() < give_up and (stored or time.monotonic() < quiet_since + 0.5):
            time.sleep(0.05)
            self.take()
            for _, topic, payload in self.evidence.arrivals[count:]:
                device, kind, *group = topic.removeprefix(ROOT + "/").split("/") + [""]
                if kind == "data":
                    stored.discard((device, group[0], json.loads(payload)["n"]))
            if count != len(self.evidence.arrivals):
                count, quiet_since = len(self.evidence.arrivals), time.monotonic()


# --- the verdict ---

def verdict(screen, evidence, frames):
    if how := os.environ.get("DEMO_SABOTAGE"):
        sabotage(evidence, how)
    judge = Judge(evidence, frames)
    screen.heading("What became of the readings")
    screen.table(judge.rows)
    screen.line()
    explain(screen, judge, evidence)
    screen.line()
    if not judge.problems:
        screen.line(f"PASSED: {judge.total('arrived')} readings arrived; none lost, none out of order, none wrong", "green")
        return 0
    screen.line("FAILED", "red")
    for problem in judge.problems[:20]:
        screen.paragraph(problem, indent=2)
    if len(judge.problems) > 20:
        screen.line(f"  and {len(judge.problems) - 20} more")
    return 1


def explain(screen, judge, evidence):
    kill = next(s for s in evidence.stops if s["kill"])
    late = "on the wire, but not on the site's disk when its daemon ended"
    if judge.oldest_at_kill is not None:
        late += (f"; the oldest came {judge.oldest_at_kill / MS:.0f} ms before the kill, {kill['window'] / MS:.0f} ms are "
                 f"allowed (linger {LINGER_MS + LINGER_IDLE_MS}, a commit {kill['commit'] / MS:.0f}, the way {ROOM_MS})")
    notes = [("read on the wire", "answers in the simulator's log of frames, by their counters"),
             ("without value", "readings that say why: timeout, crc …"),
             ("committed", "on the site's disk when its daemon ended, or arrived by then"),
             ("repeated", "arrived twice, which QoS 1 allows where an acknowledgement was lost"),
             ("not yet committed", late)]
    frames = judge.frames
    notes.append(("silences", f"{frames.short or 'none'} of the site's {len(frames.requests)} requests came less than "
                  "3.5 characters after the frame before"))
    if judge.total("untaken"):
        notes.append(("besides", f"{judge.total('untaken')} of the answers came late or with gaps; their readings have no value and say so"))
    for name, text in notes:
        for i, part in enumerate(textwrap.wrap(text, screen.width - 19)):
            screen.line(f"{name if not i else '':19}{part}", "dim")


def tell_how_to_look(screen, demo):
    cloud, site = demo.cloud.words["port"], demo.site.words["port"]
    rel = os.path.relpath
    screen.heading("All of it goes on running; Ctrl-C ends it")
    for what, how in [
        ("what the cloud gets", f"mosquitto_sub -p {cloud} -v -t '{ROOT}/#'"),
        ("the same at the site", f"mosquitto_sub -p {site} -v -t '{ROOT}/#'"),
        ("only states", f"mosquitto_sub -p {cloud} -v -t '{ROOT}/state' -t '{ROOT}/+/state'"),
        ("the site's state", f"{rel(SLUICECTL)} -c {rel(demo.site.conf)} status"),
        ("the cloud's state", f"{rel(SLUICECTL)} -c {rel(demo.cloud.conf)} status"),
        ("logs", f"{rel(demo.site.log)}  {rel(demo.cloud.log)}"),
        ("frames on the wire", f"tail -f {rel(demo.frames)}"),
        ("configurations", f"{rel(demo.site.conf)} and conf.d/field.conf"),
        ("processes", f"site {demo.site.process.pid}, cloud {demo.cloud.process.pid}, line {demo.sim.pid}"),
    ]:
        screen.line(f"{what:21}{how}")
    screen.line()
    screen.line("mosquitto_sub is in Debian's package mosquitto-clients.", "dim")


def keep_running(screen, demo):
    demo.site.process.stop()
    demo.site.write("conf.d/field.conf")
    demo.site.start()
    tell_how_to_look(screen, demo)
    while True:
        time.sleep(1)
        demo.check()
        demo.site.check()
        demo.viewer.take()


def introduce(screen):
    screen.heading("Sluice: a site, a bad link, and no reading lost")
    screen.line("  sluice-sim          sluiced, a site      the link     sluiced, a cloud")
    screen.line("  3 Modbus slaves ──► reads, stores ──────── × ───────► takes, hands on ──► you")
    screen.line("       19200 8E1                mutual TLS, QoS 1                      MQTT")
    screen.line()


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--keep", action="store_true", help="leave all running and say what to look at")
    p.add_argument("--quick", action="store_true", help="20 seconds instead of a minute")
    p.add_argument("--judge", action="store_true", help="judge the evidence of the last run again")
    return p.parse_args()


def main():
    o, screen = options(), Screen()
    if o.judge:
        return verdict(screen, Evidence.load(FOLDER / "evidence.json"), FrameLog(FOLDER / "frames.log"))
    for program in (SLUICED, SLUICECTL, SIM):
        if not program.exists():
            raise SystemExit(f"{program} is not built: make")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    demo, failed = Demo(screen, QUICK if o.quick else FULL), None
    introduce(screen)
    try:
        demo.set_up()
        demo.play()
        demo.evidence.save(FOLDER / "evidence.json")
        failed = verdict(screen, demo.evidence, FrameLog(demo.frames))
        if o.keep:
            keep_running(screen, demo)
        return failed
    except (Broken, AssertionError, OSError) as e:
        screen.line()
        screen.line(f"The demo broke: {e}", "red")
        return 1
    except KeyboardInterrupt:
        screen.line()
        screen.line("ended", "dim")
        return 130 if failed is None else failed
    finally:
        demo.close()


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Pieces of a field for tests: lines, devices and points as configuration, slaves that are not ours, mbpoll as the judge,
and a watcher of all that the daemon publishes."""
import json
import shutil
import subprocess
import sys

import paho.mqtt.client as mqtt
from daemon import SIM as SLUICE_SIM, SLUICECTL, SLUICED, Process, Sluiced, wait_for

SLAVE = """
import sys
from pymodbus.datastore import ModbusSequentialDataBlock as Block, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartSerialServer
from pymodbus.transaction import ModbusRtuFramer
regs = [int(x) for x in sys.argv[2].split(",")]
bits = [i % 3 == 0 for i in range(64)]
unit = ModbusSlaveContext(hr=Block(0, regs), ir=Block(0, list(reversed(regs))), co=Block(0, bits),
                          di=Block(0, [not b for b in bits]), zero_mode=True)
StartSerialServer(context=ModbusServerContext(slaves={1: unit, 7: unit}, single=False), framer=ModbusRtuFramer,
                  port=sys.argv[1], baudrate=19200, parity="N", stopbits=1, timeout=0.05)
"""


class Watcher:
    """All that the daemon publishes, in order, as (topic, payload, retained)."""

    def __init__(self, daemon):
        self.got = []
        self.client = mqtt.Client()
        self.client.on_message = lambda c, u, m: self.got.append((m.topic, m.payload.decode(), m.retain))
        self.client.connect("127.0.0.1", daemon.port)
        self.client.subscribe("#", 1)
        self.client.loop_start()

    def on(self, end):
        return [json.loads(p) if p else None for t, p, _ in list(self.got) if t.endswith(end)]

    def wait(self, end, condition=lambda p: True, seconds=20):
        return wait_for(lambda: next((p for p in self.on(end) if p is not None and condition(p)), None), seconds,
                        f"{end} among {self.got[-20:]}")

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def status(daemon):
    done = subprocess.run([SLUICECTL, "-c", daemon.conf_path, "--json", "status"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def conf(lines, devices):
    return f"lines = ( {', '.join(lines)} );\ndevices = ( {', '.join(devices)} );\n"


def line(port, name="a", more='baud = 19200; format = "8N1";'):
    return f'{{ name = "{name}"; protocol = "modbus-rtu"; port = "{port}"; {more} }}'


def device(name, unit, points, every="100ms", on="a", more="", group=""):
    return (f'{{ name = "{name}"; line = "{on}"; unit = {unit}; {more} groups = {{ g = {{ every = "{every}"; {group} '
            f'points = ( {", ".join(points)} ); }}; }}; }}')


def point(name, at, kind=None, more=""):
    return f'{{ name = "{name}"; at = "{at}"; ' + (f'type = "{kind}"; ' if kind else "") + more + "}"


def pair(folder, ending):
    """Two ptys back to back."""
    master, slave = folder / "m", folder / "s"
    socat = Process([shutil.which("socat"), f"pty,raw,echo=0,link={master}", f"pty,raw,echo=0,link={slave}"],
                    folder / "socat.log").start()
    ending(socat)
    wait_for(lambda: master.exists() and slave.exists(), what="socat")
    return master, slave, socat


def pymodbus(folder, slave, regs, ending):
    script = folder / "slave.py"
    script.write_text(SLAVE)
    return ending(Process([sys.executable, script, slave, ",".join(map(str, regs))], folder / "slave.log").start())


def mbpoll(port, *args):
    done = subprocess.run(["mbpoll", "-m", "rtu", "-b", "19200", "-P", "none", "-0", "-1", "-q", *map(str, args), str(port)],
                          capture_output=True, text=True, timeout=20)
    return done.returncode, done.stdout + done.stderr


SIM = """baud = 115200; format = "8N1"; strict = true; stations = (
{ name = "one"; unit = 1; turnaround_us = 500; holding = ( { at = 0; count = 10; constant = 215; spread = 1; } ); },
{ name = "two"; unit = 2; turnaround_us = 500; holding = ( { at = 0; constant = 3; } ); %s } );
"""
FAST = 'baud = 115200; format = "8N1"; timing = { response = "250ms"; holdoff = "20ms"; }; dead = { probe_first = "200ms"; };'
X = point("x", "holding:0", "int16", "scale = 0.1; ")


def simulated(folder, ending, text):
    """A line behind a tty, as a real one is: what is read of a port "sim:" is never good."""
    (folder / "line.sim").write_text(text)
    sim = ending(Process([SLUICE_SIM, folder / "line.sim", "--link", folder / "tty"], folder / "sim.log").start())
    wait_for(lambda: (folder / "tty").exists() or not sim.running(), what="sluice-sim")
    assert sim.running(), sim.log()
    return folder / "tty"


def site(folder, ending, devices, faults="", more=FAST, lines=None):
    tty = simulated(folder, ending, SIM % faults)
    daemon = ending(Sluiced(folder, conf(lines or [line(tty, more=more)], devices))).start()
    return daemon, ending(Watcher(daemon))


def check(folder, text, *args):
    path = folder / "c.conf"
    path.write_text(f'site = "t";\nstate_dir = "{folder}";\n' + text)
    done = subprocess.run([SLUICED, "--check", *args, path], capture_output=True, text=True, timeout=20)
    return done.returncode, done.stdout + done.stderr

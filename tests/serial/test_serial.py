# SPDX-License-Identifier: Apache-2.0
"""A line over real drivers, in a small machine that qemu computes: a 16550, and USB adapters that are plugged in and out. Behind
each UART stands sluice-sim's paced line; what the UART was told, qemu writes down."""
import platform
import re
import shutil
import time
from types import SimpleNamespace

import pytest
from daemon import SIM, SLUICED, Process, wait_for
from field import Watcher, conf, device, line, point
from guest import SLOW, Guest

pytestmark = pytest.mark.skipif(not SLUICED.exists() or platform.machine() != "x86_64" or not shutil.which("qemu-system-x86_64"),
                                reason="not built, not x86, or no qemu-system-x86")

HEAD = """site = "guest"; state_dir = "/var/lib/sluice";
listeners = ( { bind = "0.0.0.0:1883"; anonymous = true; everybody = true; } );
"""
SIM_CONF = """baud = 19200; format = "8E1"; stations = ( { name = "u"; unit = 1; turnaround_us = 5000;
holding = ( { at = 0; count = 10; constant = %d; spread = 1; } ); } );
"""
POINTS = [point("x", "holding:0", "uint16"), point("y", "holding:9", "uint16")]
TIMES = "timing = { response = \"2s\"; holdoff = \"100ms\"; };"


def one(port, more="", name="a"):
    return line(port, name, f'baud = 19200; format = "8E1"; {TIMES} {more}')


def text_of(lines, devices):
    return HEAD + conf(lines, devices)


def devices(on="a", name="d"):
    return [device(name, 1, POINTS, "200ms", on=on)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guest")
    sims = []
    for name, constant in (("uart", 100), ("usb", 200)):
        (folder / f"{name}.sim").write_text(SIM_CONF % constant)
        sims.append(Process([SIM, folder / f"{name}.sim", "--link", folder / name], folder / f"{name}.log").start())
        wait_for((folder / name).exists, what="the line")
    guest = Guest(folder, text_of([one("/dev/ttyS1")], devices()), [f"serial,path={folder}/uart"])
    for p in (*sims, guest.qemu):  # they outlive a test
        Process.started.remove(p)
    try:
        guest.await_shell()
        guest.ask("chardev-add", id="usb", backend={"type": "serial", "data": {"device": str(folder / "usb")}})
        guest.run("sluiced -c /etc/sluice/sluice.conf > /log 2>&1 &")
        wait_for(lambda: "sluiced" in guest.run("grep -c ' info    sluiced ' /log && echo sluiced", None), SLOW, "the daemon")
        yield SimpleNamespace(guest=guest, folder=folder, sims=sims)
    finally:
        for p in (guest.qemu, *sims):
            p.kill()


class Seen:
    """What the guest's daemon publishes while inside."""

    def __init__(self, guest):
        self.watcher = Watcher(guest)

    def __enter__(self):
        return self.watcher

    def __exit__(self, *_):
        self.watcher.close()


def reading(watcher, value, more=3, name="d"):
    """That many readings from now on, all of them right or of a quality that is not good."""
    before = len(watcher.on(f"{name}/data/g"))
    good = lambda: [p for p in watcher.on(f"{name}/data/g")[before:] if "q" not in p]  # noqa: E731
    wait_for(lambda: len(good()) >= more, SLOW, "readings")
    assert all(p["v"] == {"x": value, "y": value + 9} for p in good()), good()


def configure(guest, lines, more):
    guest.run("cat > /etc/sluice/sluice.conf << 'EOF'\n" + text_of(lines, more) + "EOF")
    guest.run("sluicectl reload")


def the_line(guest, name="a", state="open"):
    def found():
        got = next(one for one in guest.status()["lines"] if one["name"] == name)
        return got if got["state"] == state else None
    return wait_for(found, SLOW, f"line {name} to be {state}")


def test_a_16550_with_even_parity(world):
    guest = world.guest
    with Seen(guest) as watcher:
        reading(watcher, 100)
        assert re.findall(r"baudrate=19200 parity='E' data=8 stop=1", guest.trace())
        tty = the_line(guest)["tty"]
        assert tty["path"] == "/dev/ttyS1" and tty["driver"] == "serial" and tty["rs485"] == "none" and not tty["parity_lost"]
        before = wait_for(lambda: (c := the_line(guest)["tty"]["counters"])["rx"] > 50 and c["tx"] > 30 and c, SLOW, "the driver's counters")
        # What only the receiver sees: the line held low.
        guest.ask("chardev-send-break", id="port1")
        wait_for(lambda: the_line(guest)["tty"]["counters"]["break"] > before["break"], SLOW, "the break in the counters")
        reading(watcher, 100)
        world.sims[0].process.send_signal(10)
        counts = wait_for(lambda: re.search(r"line: .*", world.sims[0].log()), what="the simulator's counts")[0]
        print(counts)
        assert "wrong_speed=0" in counts, counts


def test_the_line_comes_before_whoever_computes(world):
    policies = world.guest.run("for t in /proc/$(pidof sluiced)/task/*; do cut -d')' -f2 $t/stat | cut -d' ' -f40; done").split()
    assert policies.count("1") == 1, policies  # SCHED_FIFO: the thread of the one line


def test_a_port_that_another_process_has(world):
    guest = world.guest
    guest.run("sed 's|/var/lib/sluice|/tmp/other|; s|1883|1884|' /etc/sluice/sluice.conf > /tmp/o.conf; mkdir -p /tmp/other")
    guest.run("sluiced -c /tmp/o.conf > /tmp/olog 2>&1 & echo $! > /tmp/opid")
    text = wait_for(lambda: re.search("line a: .*", guest.run("cat /tmp/olog")), SLOW, "the other daemon")[0]
    guest.run("kill $(cat /tmp/opid)")
    assert "/dev/ttyS1 is in use by another program" in text
    with Seen(guest) as watcher:
        reading(watcher, 100)


def test_a_driver_that_does_not_switch_says_what_to_use(world):
    guest = world.guest
    configure(guest, [one("/dev/ttyS1", 'rs485 = { mode = "kernel"; };')], devices())
    error = the_line(guest, state="down")["error"]
    print(error)
    assert "/dev/ttyS1: driver serial has no RS-485 mode" in error and "none" in error


def frames_of(trace):
    """What was done to RTS and to the transmitter, in order: R and r for RTS on and off, t for a byte."""
    done = ""
    for address, value in re.findall(r"serial_write write addr 0x0(\d) val 0x([0-9a-f]{2})", trace):
        if address == "4":
            done += "R" if int(value, 16) & 2 else "r"
        elif address == "0":
            done += "t"
    return re.sub(r"R+", "R", re.sub(r"r+", "r", done))


@pytest.mark.parametrize("on_send", [True, False])
def test_rts_is_moved_around_each_frame(world, on_send):
    guest = world.guest
    rts = f'rs485 = {{ mode = "rts"; rts_on_send = {str(on_send).lower()}; delay_before = "1ms"; delay_after = "1ms"; }};'
    configure(guest, [one("/dev/ttyS1", rts)], devices())
    assert the_line(guest)["tty"]["rs485"] == "rts"
    with Seen(guest) as watcher:
        time.sleep(1)  # the shell's own bytes, which go through a UART too, have left
        before = len(guest.trace())
        reading(watcher, 100, 5)
        done = frames_of(guest.trace()[before:])
    print(done)
    frame = "Rt{8}r" if on_send else "rt{8}R"
    assert len(re.findall(frame, done)) >= 5, done
    # Nothing is sent but so: a frame may be cut at both ends of what was watched.
    assert re.fullmatch(f"[Rrt]{{0,10}}({frame[1:]}|{frame[0]}|{frame[-1]})*(({frame})*)[Rrt]{{0,10}}", done), done


def test_the_driver_is_taken_away_and_comes_back(world):
    guest = world.guest
    configure(guest, [one("/dev/ttyS1")], devices())
    the_line(guest)
    bus = "/sys/bus/pnp/drivers/serial"
    port = re.search(r"/pnp\d+/([^/]+)", guest.run("readlink -f /sys/class/tty/ttyS1/device"))[1]
    guest.run(f"echo {port} > {bus}/unbind")
    error = the_line(guest, state="down")["error"]
    print(error)
    guest.run(f"echo {port} > {bus}/bind")
    the_line(guest)
    with Seen(guest) as watcher:
        reading(watcher, 100)


def plug(guest, name, chardev, serial):
    guest.ask("device_add", **{"driver": "usb-serial", "id": name, "chardev": chardev, "serial": serial, "always-plugged": True})
    return wait_for(lambda: guest.run(f"grep -lx {serial} /sys/bus/usb/devices/*/serial", None), SLOW, "the adapter")


def unplug(guest, name, serial):
    guest.ask("device_del", id=name)
    wait_for(lambda: not guest.run(f"grep -lx {serial} /sys/bus/usb/devices/*/serial 2>/dev/null", None), SLOW, "the adapter to go")


def test_a_usb_adapter_is_found_again_under_another_number(world):
    guest = world.guest
    configure(guest, [one("/dev/ttyS1"), one("usb:0403:6001:METER7", name="b")], devices() + devices("b", "e"))
    error = the_line(guest, "b", "down")["error"]
    assert "usb:0403:6001:METER7: not plugged in" in error
    plug(guest, "meter", "usb", "METER7")
    tty = the_line(guest, "b")["tty"]
    print(tty)
    assert tty["path"] == "/dev/ttyUSB0" and tty["driver"] == "ftdi_sio" and tty["low_latency"]
    assert tty["latency_ms"] == 1
    with Seen(guest) as watcher:
        reading(watcher, 200, name="e")
        wait_for(lambda: the_line(guest, "b")["tty"]["counters"]["tx"] > 0, SLOW, "counted bytes")
        reading(watcher, 100)
        unplug(guest, "meter", "METER7")
        the_line(guest, "b", "down")
        guest.ask("chardev-add", id="none", backend={"type": "null", "data": {}})
        plug(guest, "stranger", "none", "OTHER1")
        wait_for(lambda: guest.run("ls /dev/ttyUSB0", None) == "/dev/ttyUSB0", SLOW, "the other adapter")
        plug(guest, "meter", "usb", "METER7")
        assert the_line(guest, "b")["tty"]["path"] == "/dev/ttyUSB1"
        reading(watcher, 200, name="e")
        # The other line noticed nothing of all this.
        reading(watcher, 100)
    unplug(guest, "stranger", "OTHER1")


def test_the_daemon_ends_and_leaves_no_complaint(world):
    guest = world.guest
    guest.run("kill $(pidof sluiced); while pidof sluiced > /dev/null; do usleep 100000; done")
    log = guest.run("cat /log")
    print(log[-3000:])
    assert not re.search("AddressSanitizer|libmodbus refuses", log)

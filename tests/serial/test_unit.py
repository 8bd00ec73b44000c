# SPDX-License-Identifier: Apache-2.0
"""The service as it is shipped, under systemd, in a small machine: what its sandbox leaves is enough for a line that comes before
whoever computes, for a transceiver on RTS, and for a reload."""
import platform
import re
import shutil
from pathlib import Path

import pytest
from daemon import SIM, SLUICED, TOP, Process, wait_for
from field import Watcher
from guest import SLOW, Guest
from test_serial import SIM_CONF, devices, one, reading, text_of, the_line

MANAGER = Path("/lib/systemd/systemd")
pytestmark = pytest.mark.skipif(not SLUICED.exists() or platform.machine() != "x86_64" or not shutil.which("qemu-system-x86_64")
                                or not MANAGER.exists(), reason="not built, not x86, no qemu-system-x86, or no systemd")

CONTROL = 'control = { socket = "/run/sluice/control.sock"; };\n'
SHELL_UNIT = """[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/sh -c 'exec > /dev/ttyS0 2>&1; stty -echo -F /dev/ttyS0; echo ==shell; exec sh /dev/ttyS0'
"""
# What udev, sysusers and tmpfiles do on a box; systemd cannot give a service a root of its own in the first memory file system.
BEGIN = """chgrp dialout /dev/ttyS1; chmod 660 /dev/ttyS1
umount /dev/pts /run
mkdir /new; mount -t tmpfs root /new
cp -a /usr /bin /sbin /lib /lib64 /etc /var /root /new; mkdir -p /new/proc /new/sys /new/dev /new/run /new/tmp
mount -o move /proc /new/proc; mount -o move /sys /new/sys; mount -o move /dev /new/dev
exec switch_root /new /lib/systemd/systemd --log-target=kmsg --log-level=warning
"""


def dress(tree):
    """systemd of this machine, and nothing that it starts but the shell and us."""
    tree.programs(*(p for p in (MANAGER, MANAGER.with_name("systemd-executor")) if p.exists()), shutil.which("systemctl"))
    (tree.top / "usr/lib/systemd").mkdir(parents=True, exist_ok=True)
    for name in ("systemd", "systemd-executor"):
        if (tree.top / "bin" / name).exists():
            shutil.move(tree.top / "bin" / name, tree.top / "usr/lib/systemd" / name)
    for unit in (MANAGER.parent / "system").glob("*.target"):
        tree.put(unit.resolve(), f"usr/lib/systemd/system/{unit.name}")
    tree.put(TOP / "rootfs/overlay/usr/lib/systemd/system/sluiced.service", "usr/lib/systemd/system/sluiced.service")
    tree.write("etc/systemd/system/shell.service", SHELL_UNIT)
    tree.write("etc/systemd/system/default.target", "[Unit]\nWants=shell.service sluiced.service\n")
    tree.write("etc/systemd/system.conf", "[Manager]\nDefaultStandardOutput=kmsg\n")
    tree.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    tree.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nsluice:x:990:990::/var/lib/sluice:/bin/false\n")
    tree.write("etc/group", "root:x:0:\ntty:x:5:\ndialout:x:20:\nsluice:x:990:\n")
    tree.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")


@pytest.fixture
def guest(tmp_path):
    (tmp_path / "uart.sim").write_text(SIM_CONF % 100)
    Process([SIM, tmp_path / "uart.sim", "--link", tmp_path / "uart"], tmp_path / "uart.log").start()
    wait_for((tmp_path / "uart").exists, what="the line")
    return Guest(tmp_path, CONTROL + text_of([one("/dev/ttyS1")], devices()), [f"serial,path={tmp_path}/uart"], dress, BEGIN).await_shell()


def active(guest):
    try:
        wait_for(lambda: guest.run("systemctl is-active sluiced", None) == "active", SLOW, "the service")
    except AssertionError as e:
        raise AssertionError(guest.run("systemctl status sluiced; dmesg | tail -n 40", None)) from e


def test_the_service_polls_a_line_from_its_sandbox(guest):
    active(guest)
    task = "/proc/$(pidof sluiced)"
    assert guest.run(f"grep -c '^Uid:.990.990.990.990' {task}/status") == "1"
    # Of all capabilities that of ports below 1024.
    assert re.search(r"CapEff:\s+0+400\n[^=]*NoNewPrivs:\s+1\nSeccomp:\s+2", guest.run(f"grep -e CapEff -e NoNewPrivs -e Seccomp: {task}/status"))
    the_line(guest)
    # SCHED_FIFO, priority 1: the thread of the line, and no other.
    policies = [r.split() for r in guest.run(f"for t in {task}/task/*; do cut -d')' -f2 $t/stat | cut -d' ' -f39,40; done").splitlines()]
    assert [p for p in policies if p[1] != "0"] == [["1", "1"]], policies
    watcher = Watcher(guest)
    reading(watcher, 100)
    pid = guest.run("pidof sluiced")
    text = CONTROL + text_of([one("/dev/ttyS1", 'rs485 = { mode = "rts"; };')], devices())
    guest.run("cat > /etc/sluice/sluice.conf << 'EOF'\n" + text + "EOF")
    guest.run("systemctl reload sluiced")
    assert wait_for(lambda: the_line(guest)["tty"]["rs485"] == "rts", SLOW, "the new configuration")
    reading(watcher, 100)
    assert guest.run("pidof sluiced") == pid
    watcher.close()
    guest.run("systemctl stop sluiced")
    assert guest.run("systemctl show -p Result --value sluiced") == "success"

# SPDX-License-Identifier: Apache-2.0
"""RS-485 transceivers over drivers that can switch them: a small ARM machine that qemu computes has a PL011, whose driver knows
TIOCSRS485, and a PL061 with GPIO lines. One process drives both with the port layer's own code; qemu writes down what the chips
were told."""
import re
import shutil
import subprocess

import pytest
from daemon import TOP, Process
from guest import SLOW, kernel

CC = shutil.which("aarch64-linux-gnu-gcc")
pytestmark = pytest.mark.skipif(not CC or not shutil.which("qemu-system-aarch64"), reason="no gcc-aarch64-linux-gnu or qemu-system-arm")

SOURCES = ["tests/serial/transceiver.c", "drivers/port.c", "drivers/rs485.c", "drivers/gpio.c", "drivers/port_facts.c",
           "gateway/base/mem.c", "gateway/base/buf.c", "gateway/base/clock.c"]


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """What the process said, and what the chips were told."""
    folder = tmp_path_factory.mktemp("arm")
    (folder / "root").mkdir()
    for name in ("proc", "sys", "dev"):
        (folder / "root" / name).mkdir()
    # What the configuration's side of the sources calls is not linked, as nothing calls it.
    subprocess.run([CC, "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-static", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections",
                    "-iquote", "gateway", "-iquote", ".", "-idirafter", "/usr/include", "-o", folder / "root/init", *SOURCES], cwd=TOP, check=True)
    names = subprocess.run(["find", "."], cwd=folder / "root", capture_output=True, check=True).stdout
    with open(folder / "initrd", "wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], input=names, stdout=out, cwd=folder / "root", check=True)
    qemu = Process(["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-accel", "tcg", "-m", "256", "-nodefaults", "-no-reboot",
                    "-display", "none", "-kernel", next((kernel("arm64") / "boot").glob("vmlinuz-*")), "-initrd", folder / "initrd",
                    "-append", "quiet console=tty0", "-chardev", f"file,id=bus,path={folder}/bus", "-serial", "chardev:bus",
                    "-chardev", f"file,id=said,path={folder}/said", "-device", "pci-serial,chardev=said",
                    "-trace", "pl011_write", "-trace", "pl061_set_output", "-D", folder / "trace"], folder / "qemu.log").start()
    try:
        qemu.process.wait(2 * SLOW)
    finally:
        qemu.kill()
    said = (folder / "said").read_text(errors="replace").replace("\r", "")
    assert "==end" in said, said + qemu.log()
    return said, (folder / "trace").read_text(errors="replace")


def rows(said, name):
    return re.findall(f"^{name}: (.*)$", said, re.M)


def told(trace):
    """What was done, in order: bytes by the letter that begins their frame, RTS on (R+) and off (R-), GPIO lines (5+, 5-)."""
    done, letter = [], ""
    for register, value, line, level in re.findall(r"pl011_write addr 0x(\w+) value 0x(\w+)|pl061_set_output .* output (\d) to (\d)", trace):
        if line:
            one = line + "-+"[int(level)]
        elif int(register, 16) == 0:
            letter = chr(int(value, 16)) if chr(int(value, 16)) in "KTRGL" else letter
            one = letter
        elif int(register, 16) == 0x30:
            one = "R" + "-+"[bool(int(value, 16) & 0x800)]
        else:
            continue
        if one.isalpha() or one not in done[-1:]:
            done.append(one)
    return " ".join(done)


def twice(trace, before, letter, after):
    """Both frames, each between the two, and nothing else of theirs."""
    frame = " ".join([before, *letter * 8, after])
    assert told(trace).count(frame) == 2 and told(trace).count(letter + " ") == 16, told(trace)


def test_a_driver_that_switches_by_itself(machine):
    said, trace = machine
    print(said)
    opened, driver, sent, after = rows(said, "kernel")
    assert opened.startswith("open 0")
    assert driver == "driver uart-pl011, flags 0x3, before 2, after 1; not kept: "
    assert sent == "sent 0, driver counts 16 bytes"
    assert after == "flags after close 0"
    twice(trace, "R-", "K", "R+")  # of the pin, which is the other way round, the driver means the level


def test_what_the_driver_does_not_keep(machine):
    said, trace = machine
    assert rows(said, "terminated")[1] == "driver uart-pl011, flags 0x15, before 0, after 0; not kept: terminate"
    twice(trace, "R+", "T", "R-")


def test_rts(machine):
    said, trace = machine
    assert rows(said, "rts")[2] == "sent 0, driver counts 16 bytes"
    twice(trace, "R+", "R", "R-")


def test_gpio_lines(machine):
    said, trace = machine
    assert rows(said, "gpio")[2] == rows(said, "low")[2] == "sent 0, driver counts 16 bytes"
    twice(trace, "5+", "G", "5-")
    twice(trace, "6-", "L", "6+")
    assert rows(said, "unnamed") == ["open -2 gpiochip0:RS485_DE: the chip has no line RS485_DE"]
    assert rows(said, "beyond") == ["open -22 gpiochip0:8: the chip has lines from 0 to 7"]

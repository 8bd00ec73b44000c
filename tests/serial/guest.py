# SPDX-License-Identifier: Apache-2.0
"""A small machine in qemu (without KVM) with Debian's own kernel: real UARTs, USB adapters that come and go, and the programs
of this build, with a shell on its first serial port. The kernel is fetched once, by apt, into build/serial."""
import json
import lzma
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from daemon import BUILD, SLUICECTL, SLUICED, TOP, Process, free_port, wait_for

CACHE = TOP / "build/serial"
MODULES = ["e1000", "uhci-hcd", "ftdi_sio"]
SLOW = 120  # seconds that anything may take in a machine that is computed

INIT = """#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/ PS1=
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mkdir -p /dev/pts /run /tmp /var/lib/sluice
mount -t tmpfs run /run; mount -t devpts pts /dev/pts
for m in %s; do modprobe $m 2>/dev/null; done
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0
echo 3 > /proc/sys/kernel/printk
stty -echo -F /dev/ttyS0
"""
SHELL = """echo ==shell
exec sh /dev/ttyS0 > /dev/ttyS0 2>&1
"""


def run(*argv, **more):
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True, **more).stdout


def kernel(machine="amd64"):
    """Debian's kernel as a folder with boot/ and lib/modules/. apt keeps its lists for this apart: they may be a foreign machine's,
    or not be there, and nobody need be root."""
    into, work = CACHE / f"kernel-{machine}", CACHE / f"fetch-{machine}"
    if into.exists():
        return into
    shutil.rmtree(work, ignore_errors=True)
    for name in ("lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True)
    options = ["-o", f"APT::Architecture={machine}", "-o", f"APT::Architectures={machine}", "-o", f"Dir::State={work}",
               "-o", "Dir::State::status=/dev/null", "-o", f"Dir::Cache={work}/cache", "-o", "APT::Sandbox::User="]
    run("apt-get", *options, "-qq", "update")
    name = re.search(r"Depends: (linux-image-\S+)", run("apt-cache", *options, "depends", f"linux-image-{machine}"))[1]
    run("apt-get", *options, "download", name, cwd=work)
    run("dpkg-deb", "-x", next(work.glob("*.deb")), work / "unpacked")
    if not (work / "unpacked/lib").exists():  # from Debian 13 on
        (work / "unpacked/lib").symlink_to("usr/lib")
    run("/sbin/depmod", "-b", work / "unpacked", next((work / "unpacked/lib/modules").iterdir()).name)
    (work / "unpacked").rename(into)
    shutil.rmtree(work)
    return into


def libraries(*programs):
    """What the programs are linked with, the loader too."""
    found = set()
    for program in programs:
        found |= set(re.findall(r"(/\S+) \(0x", run("ldd", program)))
    return found


class Tree:
    """The guest's files, as an initramfs."""

    def __init__(self, top):
        self.top = Path(top)
        for name in ("usr/bin", "usr/lib", "usr/lib64", "proc", "sys", "dev", "etc", "root"):
            (self.top / name).mkdir(parents=True)
        for name, to in (("bin", "usr/bin"), ("sbin", "usr/bin"), ("usr/sbin", "bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")):
            self.link(name, to)
        self.put(shutil.which("busybox"), "bin/busybox")
        for applet in run(shutil.which("busybox"), "--list").split():
            if applet != "busybox":
                self.link(f"bin/{applet}", "busybox")

    def link(self, name, to):
        (self.top / name).symlink_to(to)

    def put(self, source, name=None):
        to = self.top / (name or str(source).lstrip("/"))
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, to)

    def write(self, name, text, mode=0o644):
        to = self.top / name.lstrip("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(text)
        to.chmod(mode)

    def programs(self, *programs):
        for program in programs:
            self.put(program, f"bin/{Path(program).name}")
        for library in libraries(*programs):
            self.put(library)

    def modules(self, from_kernel):
        """Those that the guest needs, with what they need; what the kernel does not have is left out."""
        root = next((from_kernel / "lib/modules").iterdir())
        needs = dict(row.split(":", 1) for row in (root / "modules.dep").read_text().splitlines())
        plain = {re.sub(r"\.ko.*", "", Path(path).name).replace("-", "_"): path for path in needs}
        kept = [plain[m.replace("-", "_")] for m in MODULES if m.replace("-", "_") in plain]
        kept += [path for one in kept for path in needs[one].split()]
        for path in set(kept):
            to = self.top / "lib/modules" / root.name / path.removesuffix(".xz")  # as they are from Debian 13 on
            to.parent.mkdir(parents=True, exist_ok=True)
            data = (root / path).read_bytes()
            to.write_bytes(lzma.decompress(data) if path.endswith(".xz") else data)
        self.write(f"lib/modules/{root.name}/modules.dep", "".join(f"{p}:{needs[p]}\n" for p in set(kept)).replace(".ko.xz", ".ko"))

    def pack(self, into):
        names = run("find", ".", cwd=self.top)
        with open(into, "wb") as out:
            subprocess.run(["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], input=names.encode(), stdout=out, cwd=self.top, check=True)


class Guest:
    """ports: chardev options of the second, third … UART, as "serial,path=…". dress(tree) adds files; the shell of INIT is what
    the guest runs unless begin says otherwise."""

    def __init__(self, folder, conf, ports, dress=lambda tree: None, begin=SHELL):
        self.folder, self.port = Path(folder), free_port()
        source = kernel()
        tree = Tree(self.folder / "tree")
        tree.modules(source)
        tree.programs(SLUICED, SLUICECTL)
        tree.write("etc/sluice/sluice.conf", conf)
        tree.write("init", INIT % " ".join(MODULES) + begin, 0o755)
        dress(tree)
        tree.pack(self.folder / "initrd")
        shutil.rmtree(self.folder / "tree")
        argv = ["qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-cpu", "qemu64,+rdrand", "-m", "512", "-nodefaults", "-no-reboot", "-display", "none",
                "-kernel", next((source / "boot").glob("vmlinuz-*")), "-initrd", self.folder / "initrd",
                "-append", f"console=ttyS0 quiet", "-trace", "serial_write", "-trace", "serial_update_parameters",
                "-D", self.folder / "trace", "-qmp", f"unix:{self.folder}/qmp,server=on,wait=off",
                "-chardev", f"socket,id=shell,path={self.folder}/shell,server=on,wait=off,logfile={self.folder}/console", "-serial", "chardev:shell",
                "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-10.0.2.15:1883", "-device", "e1000,netdev=net,romfile=",
                "-device", "piix3-usb-uhci"]
        for i, port in enumerate(ports):
            argv += ["-chardev", f"{port},id=port{i + 1}", "-device", f"isa-serial,chardev=port{i + 1},index={i + 1}"]
        self.qemu = Process(argv, self.folder / "qemu.log").start()
        self.shell = self.connect("shell")
        self.qmp = self.connect("qmp").makefile("rw")
        self.qmp.readline()
        self.ask("qmp_capabilities")

    def connect(self, name):
        s = socket.socket(socket.AF_UNIX)
        wait_for(lambda: self.qemu.running() and s.connect_ex(str(self.folder / name)) == 0, what=f"qemu: {self.qemu.log()}")
        s.settimeout(SLOW)
        return s

    def ask(self, command, **arguments):
        self.qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.qmp.flush()
        while True:
            answer = json.loads(self.qmp.readline())
            if "event" not in answer:
                assert "return" in answer, answer
                return answer["return"]

    def read_to(self, pattern):
        text = ""
        while not (end := re.search(pattern, text)):
            got = self.shell.recv(65536)
            assert got, "the guest has ended: " + (self.folder / "console").read_text(errors="replace")[-4000:]
            text += got.decode(errors="replace").replace("\r", "")
        return text[:end.start()], end

    def run(self, command, code=0):
        """What a command of the guest's shell prints."""
        self.shell.sendall(f"{command}\necho \"=\"=end $? =\n".encode())
        text, end = self.read_to(r"==end (\d+) =")
        assert code is None or int(end[1]) == code, f"{command}: {end[1]}: {text}"
        return text.strip()

    def await_shell(self):
        self.read_to("==shell")
        return self

    def status(self):
        text = self.run("sluicectl --json status")
        return json.loads(text[text.index("{"):])

    def trace(self):
        return (self.folder / "trace").read_text(errors="replace")

    def kill(self):
        self.qemu.kill()

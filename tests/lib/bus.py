# SPDX-License-Identifier: Apache-2.0
"""A paced RS-485 pair as ptys: what one end sends, all others hear when the wire would have brought it. `harm` may lose
or change what passes: harm(source, data) gives what is heard instead."""
import os
import pathlib
import subprocess
import threading
import time
import tty

from relay import raw_pty

TOP = pathlib.Path(__file__).resolve().parents[2]


def build_node(folder):
    """The reference node, as strictly as a device's compiler may be; its own part knows no system."""
    out = folder / "bus_node"
    node = ["-I", TOP, TOP / "drivers/mqttsn/node/node.c"]
    strict = ["cc", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    subprocess.run([*strict, "-std=c99", "-pedantic", "-c", "-o", folder / "node.o", *node], check=True)
    subprocess.run([*strict, "-std=gnu11", "-I", TOP, "-o", out, TOP / "tests/lib/bus_node.c", folder / "node.o"], check=True)
    return out


class Bus:
    def __init__(self, baud=115200, bits=10):
        self.char = bits / baud
        self.ends, self.keep = {}, []
        self.heard = []  # (source, data)
        self.harm = lambda source, data: data
        self.free = 0.0
        self.over = False
        self.lock = threading.Lock()

    def port(self, name):
        """A new end; its tty's path."""
        master, path, slave = raw_pty()
        self.keep.append(slave)
        self.join(name, master)
        return path

    def join(self, name, fd, paced=True):
        """paced: it does not keep to the wire's pace by itself."""
        self.ends[name] = fd
        threading.Thread(target=self.carry, args=(name, fd, paced), daemon=True).start()

    def attach(self, name, path):
        """An end that paces by itself and has its own tty."""
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(fd)
        self.join(name, fd, paced=False)

    def carry(self, name, fd, paced):
        while not self.over:
            try:
                data = os.read(fd, 512)
            except OSError:
                return
            if not data:
                return
            with self.lock:
                self.heard.append((name, data))
                if paced:
                    self.free = max(time.monotonic(), self.free) + self.char * len(data)
                    time.sleep(max(0, self.free - time.monotonic()))
                data = self.harm(name, data)
                for other, sink in self.ends.items():
                    if other != name and data:
                        os.write(sink, data)

    def unplug(self, name):
        with self.lock:
            del self.ends[name]

    def close(self):
        self.over = True
        for fd in [*self.ends.values(), *self.keep]:
            os.close(fd)

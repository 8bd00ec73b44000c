# SPDX-License-Identifier: Apache-2.0
"""Motes on the far side of a serial line, which is a pty: a Wire, and a TtyMote for each node on it."""
import os
import queue
import select
import threading
import tty

import mqttsn
from sn_framing import FRAMINGS


class Wire:
    """A pty with a link to it at path. `sent` and `came`: packets of either direction, in order. port: of a relay, in place of a
    pty of its own."""

    def __init__(self, path, framing, port=None):
        self.path, self.framing, self.queues, self.sent, self.came = str(path), FRAMINGS[framing], {}, [], []
        self.over, self.slave, self.reads = False, None, threading.Event()
        self.reads.set()
        if port:
            self.fd = os.open(port, os.O_RDWR | os.O_NOCTTY)
        else:
            self.fd, self.slave = os.openpty()
            tty.setraw(self.slave)
            if os.path.islink(self.path):
                os.unlink(self.path)
            os.symlink(os.ttyname(self.slave), self.path)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        have = b""
        while not self.over:
            if not self.reads.wait(0.1) or not select.select([self.fd], [], [], 0.1)[0]:
                continue
            have += os.read(self.fd, 4096)
            packets, have = self.framing.down(have)
            for node, packet in packets:
                self.came.append(packet)
                for name in self.queues if node == 0xFFFF else [node]:
                    self.queues.setdefault(name, queue.Queue()).put(packet)

    def pause(self):
        """Reads nothing until resume()."""
        self.reads.clear()

    def resume(self):
        self.reads.set()

    def put(self, data):
        os.write(self.fd, data)

    def say(self, node, packet):
        self.sent.append(packet)
        self.put(self.framing.up(node, packet))

    def close(self):
        self.over = True
        self.thread.join()
        for fd in (self.fd, self.slave):
            if fd is not None:
                os.close(fd)
        self.fd = self.slave = None


class TtyMote(mqttsn.Mote):
    def __init__(self, wire, name="mote", node=0, timeout=20):
        self.name, self.number, self.node, self.timeout, self.next = name, node, None, timeout, 0
        self.on(wire)

    def on(self, wire):
        self.wire = wire
        wire.queues.setdefault(self.number, queue.Queue())

    def close(self):
        pass

    def raw(self, data):
        self.wire.say(self.number, data)

    def bytes(self, timeout=None):
        try:
            return self.wire.queues[self.number].get(timeout=self.timeout if timeout is None else timeout)
        except queue.Empty:
            raise TimeoutError from None

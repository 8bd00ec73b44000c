# SPDX-License-Identifier: Apache-2.0
"""A paced line between a master's pty and a slave's: each byte arrives when the wire would have carried it. For slaves
that are not ours; sluice-sim has its own."""
import os
import threading
import time
import tty


def raw_pty():
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    return master, os.ttyname(slave), slave


class Relay:
    def __init__(self, baud=19200, bits=11):
        self.char = bits / baud
        self.silence = max(3.5 * self.char, 0.00175)
        self.a, self.master_port, self.keep_a = raw_pty()  # the gateway opens master_port
        self.b, self.slave_port, self.keep_b = raw_pty()
        self.bytes = 0
        self.short_silences = 0
        self.free = 0.0  # when the line is free again
        self.over = False
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.carry, args=pair, daemon=True)
                        for pair in ((self.a, self.b, True), (self.b, self.a, False))]
        for t in self.threads:
            t.start()

    def carry(self, source, sink, from_master):
        while not self.over:
            try:
                data = os.read(source, 512)
            except OSError:
                return
            with self.lock:
                now = time.monotonic()
                if from_master and self.bytes and now - self.free < self.silence * 0.95:
                    self.short_silences += 1
                start = max(now, self.free)
                self.free = start + self.char * len(data)
                self.bytes += len(data)
            for i in range(len(data)):
                wait = start + (i + 1) * self.char - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                os.write(sink, data[i:i + 1])

    def close(self):
        self.over = True
        for fd in (self.a, self.b, self.keep_a, self.keep_b):
            os.close(fd)

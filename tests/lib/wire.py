# SPDX-License-Identifier: Apache-2.0
"""A pty as a serial wire whose other end the test holds: frames with their CRC, and a slave that answers as it is told and
hears only what comes at its own speed."""
import os
import select
import termios
import threading
import time
import tty


def crc(data):
    c = 0xFFFF
    for byte in data:
        c ^= byte
        for _ in range(8):
            c = (c >> 1) ^ 0xA001 if c & 1 else c >> 1
    return bytes(data) + bytes([c & 255, c >> 8])


class Wire:
    def __init__(self):
        self.fd, slave = os.openpty()
        tty.setraw(self.fd)
        tty.setraw(slave)
        self.port, self.keep, self.over = os.ttyname(slave), slave, False

    def send(self, data):
        os.write(self.fd, data)

    def receive(self, seconds):
        """What has come after so many seconds without a byte."""
        data = b""
        while select.select([self.fd], [], [], seconds)[0]:
            data += os.read(self.fd, 512)
        return data

    def speed(self):
        return {termios.B9600: 9600, termios.B19200: 19200, termios.B38400: 38400, termios.B115200: 115200}.get(termios.tcgetattr(self.keep)[4])

    def close(self):
        self.over = True
        time.sleep(0.05)
        os.close(self.fd)
        os.close(self.keep)


class Slave(Wire):
    """answer(unit, pdu) gives the pdu to answer with, or None. Deaf at any speed but its own (None: all), and mute or
    babbling."""

    def __init__(self, answer, baud=None, babbles=False):
        super().__init__()
        self.babbles = babbles
        self.answer, self.baud, self.asked, self.speeds = answer, baud, [], set()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while not self.over:
            if not select.select([self.fd], [], [], 0.02)[0]:
                continue
            try:
                frame = os.read(self.fd, 512)
            except OSError:
                return
            self.speeds.add(self.speed())
            if self.baud and self.speed() != self.baud:
                if self.babbles:
                    self.send(bytes([frame[0], frame[1]]) + b"\x55" * 9)  # what is heard of an answer at a wrong speed
                continue
            if len(frame) < 4 or crc(frame[:-2]) != frame:
                continue
            self.asked.append((frame[0], frame[1:-2]))
            reply = self.answer(frame[0], frame[1:-2])
            if reply is not None:
                time.sleep(0.003)
                self.send(crc(bytes([frame[0]]) + reply))

# SPDX-License-Identifier: Apache-2.0
"""A subscriber with a durable session: MQTT 3.1.1, QoS 1, the standard library alone. It keeps what arrives, in order."""
import queue
import socket
import struct
import threading
import time
from typing import NamedTuple

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, DISCONNECT = 1, 2, 3, 4, 8, 9, 14


class Arrival(NamedTuple):
    at: float  # time.monotonic()
    topic: str
    payload: str
    retain: bool
    dup: bool


def text(s):
    return struct.pack(">H", len(s.encode())) + s.encode()


def packet(kind, flags, body):
    length, left = b"", len(body)
    while True:
        length += bytes([left % 128 | (128 if left > 127 else 0)])
        left //= 128
        if not left:
            return bytes([kind << 4 | flags]) + length + body


class Subscriber(threading.Thread):
    def __init__(self, port, client_id, topic_filter):
        super().__init__(daemon=True)
        self.arrived = queue.SimpleQueue()
        self.fault = None  # why the connection ended, when nobody asked for it
        self.closing = False
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.stream = self.socket.makefile("rb")
        # clean session 0, keepalive 0
        self._send(CONNECT, 0, text("MQTT") + bytes([4, 0, 0, 0]) + text(client_id))
        self._expect(CONNACK, b"\0\0")
        self._send(SUBSCRIBE, 2, struct.pack(">H", 1) + text(topic_filter) + b"\1")
        self._expect(SUBACK, b"\0\1\1")
        self.socket.settimeout(None)
        self.start()

    def _send(self, kind, flags, body):
        self.socket.sendall(packet(kind, flags, body))

    def _take(self, count):
        data = self.stream.read(count)
        if len(data) < count:
            raise ConnectionError("the cloud closed the connection")
        return data

    def _packet(self):
        first, length, shift = self._take(1)[0], 0, 0
        while True:
            byte = self._take(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return first >> 4, first & 15, self._take(length)

    def _expect(self, kind, end):
        while True:
            got, flags, body = self._packet()
            if got == kind and body.endswith(end):
                return
            if got != PUBLISH:  # retained messages may come before the SUBACK
                raise ConnectionError(f"packet {got} {body.hex()} instead of {kind}")
            self._publish(flags, body)

    def _publish(self, flags, body):
        end = 2 + struct.unpack(">H", body[:2])[0]
        topic, rest = body[2:end].decode(), body[end:]
        if flags & 6:
            identifier, rest = rest[:2], rest[2:]
        self.arrived.put(Arrival(time.monotonic(), topic, rest.decode(), bool(flags & 1), bool(flags & 8)))
        if flags & 6:
            self._send(PUBACK, 0, identifier)

    def run(self):
        try:
            while True:
                kind, flags, body = self._packet()
                if kind == PUBLISH:
                    self._publish(flags, body)
        except (OSError, ValueError) as e:
            self.fault = None if self.closing else str(e)

    def take(self):
        """What has arrived since the last call."""
        out = []
        while not self.arrived.empty():
            out.append(self.arrived.get())
        return out

    def close(self):
        self.closing = True
        try:
            self._send(DISCONNECT, 0, b"")
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.join(5)
        self.socket.close()

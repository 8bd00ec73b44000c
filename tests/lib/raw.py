# SPDX-License-Identifier: Apache-2.0
"""MQTT by hand: packets as bytes, for what a well-behaved client library will not send or show."""
import socket
import struct

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15


def varint(n):
    out = b""
    while True:
        byte, n = n & 127, n >> 7
        out += bytes([byte | (128 if n else 0)])
        if not n:
            return out


def text(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack(">H", len(s)) + s


def packet(kind, body=b"", flags=None):
    if flags is None:
        flags = 2 if kind in (PUBREL, SUBSCRIBE, UNSUBSCRIBE) else 0
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def connect(client="raw", clean=True, keepalive=60, level=4, name="MQTT", will=None, props=b"", will_props=b"", user=None,
            password=None):
    """will: (topic, payload, qos, retain)."""
    flags = 2 if clean else 0
    tail = text(client)
    if will:
        flags |= 4 | will[2] << 3 | will[3] << 5
        tail += (varint(len(will_props)) + will_props if level == 5 else b"") + text(will[0]) + text(will[1])
    if user is not None:
        flags |= 128
        tail += text(user)
    if password is not None:
        flags |= 64
        tail += text(password)
    head = text(name) + bytes([level, flags]) + struct.pack(">H", keepalive)
    return packet(CONNECT, head + (varint(len(props)) + props if level == 5 else b"") + tail)


def publish(topic, payload=b"", qos=0, pid=None, retain=False, dup=False, props=None):
    body = text(topic) + (struct.pack(">H", pid) if qos else b"")
    if props is not None:
        body += varint(len(props)) + props
    payload = payload.encode() if isinstance(payload, str) else payload
    return packet(PUBLISH, body + payload, (8 if dup else 0) | qos << 1 | (1 if retain else 0))


def ack(kind, pid):
    return packet(kind, struct.pack(">H", pid))


def subscribe(pid, *filters, v5=False):
    body = struct.pack(">H", pid) + (b"\0" if v5 else b"")
    for f in filters:
        topic, qos = f if isinstance(f, tuple) else (f, 0)
        body += text(topic) + bytes([qos])
    return packet(SUBSCRIBE, body)


def unsubscribe(pid, *filters):
    return packet(UNSUBSCRIBE, struct.pack(">H", pid) + b"".join(text(f) for f in filters))


class Packet:
    def __init__(self, first, body, v5=False):
        self.kind, self.flags, self.body = first >> 4, first & 15, body
        self.dup, self.qos, self.retain = bool(first & 8), first >> 1 & 3, bool(first & 1)
        if self.kind == PUBLISH:
            size = struct.unpack(">H", body[:2])[0]
            self.topic, rest = body[2:2 + size].decode(), body[2 + size:]
            self.pid = None
            if self.qos:
                self.pid, rest = struct.unpack(">H", rest[:2])[0], rest[2:]
            if v5:
                size, rest = rest[0], rest[1:]  # short properties are all that the tests use
                self.props, rest = rest[:size], rest[size:]
            self.payload = rest
        elif self.kind in (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK):
            self.pid = struct.unpack(">H", body[:2])[0]

    def __repr__(self):
        return f"<packet {self.kind} flags {self.flags} {self.body[:40]!r}>"


class Raw:
    """A connection. Closed: read() gives None."""

    def __init__(self, port, *first, timeout=10, v5=False, sock=None):
        self.sock = sock or socket.create_connection(("127.0.0.1", port), timeout)
        self.sock.settimeout(timeout)
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.v5 = v5
        self.kept = b""
        for p in first:
            self.send(p)

    def send(self, *packets):
        self.sock.sendall(b"".join(packets))

    def take(self, n):
        while len(self.kept) < n:
            try:
                more = self.sock.recv(65536)
            except ConnectionResetError:
                return None
            if not more:
                return None
            self.kept += more
        out, self.kept = self.kept[:n], self.kept[n:]
        return out

    def read(self):
        first = self.take(1)
        if first is None:
            return None
        size, shift = 0, 0
        while True:
            byte = self.take(1)
            if byte is None:
                return None
            byte = byte[0]
            size |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
        body = self.take(size) if size else b""
        return None if body is None else Packet(first[0], body, self.v5)

    def expect(self, kind):
        p = self.read()
        assert p is not None and p.kind == kind, f"expected packet {kind}, got {p}"
        return p

    def closed(self):
        """True when the peer closes without another packet."""
        return self.read() is None

    def nothing_before(self, probe, answer):
        """The next packet after probe is answer: nothing else was on its way."""
        self.send(probe)
        return self.expect(answer)

    def quiet(self):
        """Nothing is on its way: a PINGREQ is answered first."""
        self.nothing_before(packet(PINGREQ), PINGRESP)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


def client(port, name="raw", clean=True, **more):
    """A connected client: CONNACK read, 0 expected."""
    v5 = more.get("level") == 5
    c = Raw(port, connect(name, clean, **more), v5=v5)
    c.connack = c.expect(CONNACK)
    assert c.connack.body[1] == 0, c.connack
    c.session_present = bool(c.connack.body[0] & 1)
    return c

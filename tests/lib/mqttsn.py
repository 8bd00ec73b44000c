# SPDX-License-Identifier: Apache-2.0
"""A client of MQTT-SN 1.2 for tests, after the text of the standard; shares nothing with the daemon. Messages are
named tuples by their names there; a Mote speaks from one UDP socket and never answers by itself."""
import contextlib
import socket
import struct
import time
from types import SimpleNamespace

ACCEPTED, CONGESTION, INVALID_TOPIC_ID, NOT_SUPPORTED = range(4)
NORMAL, PREDEFINED, SHORT = range(3)
DUP, RETAIN, WILL, CLEAN = 0x80, 0x10, 0x08, 0x04

TYPES = {
    "ADVERTISE": (0x00, "gw:B duration:H"),
    "SEARCHGW": (0x01, "radius:B"),
    "GWINFO": (0x02, "gw:B text"),
    "CONNECT": (0x04, "flags:B protocol:B duration:H text"),
    "CONNACK": (0x05, "code:B"),
    "WILLTOPICREQ": (0x06, ""),
    "WILLTOPIC": (0x07, "flags:B text"),
    "WILLMSGREQ": (0x08, ""),
    "WILLMSG": (0x09, "text"),
    "REGISTER": (0x0A, "topic:H id:H text"),
    "REGACK": (0x0B, "topic:H id:H code:B"),
    "PUBLISH": (0x0C, "flags:B topic:H id:H text"),
    "PUBACK": (0x0D, "topic:H id:H code:B"),
    "PUBCOMP": (0x0E, "id:H"),
    "PUBREC": (0x0F, "id:H"),
    "PUBREL": (0x10, "id:H"),
    "SUBSCRIBE": (0x12, "flags:B id:H text"),
    "SUBACK": (0x13, "flags:B topic:H id:H code:B"),
    "UNSUBSCRIBE": (0x14, "flags:B id:H text"),
    "UNSUBACK": (0x15, "id:H"),
    "PINGREQ": (0x16, "text"),
    "PINGRESP": (0x17, ""),
    "DISCONNECT": (0x18, "duration:H"),
    "WILLTOPICUPD": (0x1A, "flags:B text"),
    "WILLTOPICRESP": (0x1B, "code:B"),
    "WILLMSGUPD": (0x1C, "text"),
    "WILLMSGRESP": (0x1D, "code:B"),
}
NAMES = {number: name for name, (number, _) in TYPES.items()}
MAY_BE_BARE = {"WILLTOPIC", "DISCONNECT", "WILLTOPICUPD"}


def length_of(rest):
    """The length field for what follows it."""
    return bytes([len(rest) + 1]) if len(rest) < 255 else b"\x01" + struct.pack(">H", len(rest) + 3)


def encode(name, bare=False, **fields):
    number, layout = TYPES[name]
    body = bytes([number])
    for field in layout.split() if not bare else []:
        key, _, form = field.partition(":")
        value = fields.pop(key, 0 if form else b"")
        body += struct.pack(">" + form, value) if form else (value.encode() if isinstance(value, str) else value)
    assert not fields or bare, fields
    return length_of(body) + body


def decode(data):
    """Raises when it is not exactly one message."""
    if data[0] == 1:
        total, body = struct.unpack(">H", data[1:3])[0], data[3:]
        assert total > 255, "three octets of length where one would do"
    else:
        total, body = data[0], data[1:]
    assert total == len(data), (total, data)
    name = NAMES[body[0]]
    out, at = SimpleNamespace(name=name, raw=data, bare=False), 1
    if name in MAY_BE_BARE and len(body) == 1:
        out.bare = True
        return out
    for field in TYPES[name][1].split():
        key, _, form = field.partition(":")
        if form:
            size = struct.calcsize(">" + form)
            setattr(out, key, struct.unpack(">" + form, body[at:at + size])[0])
            at += size
        else:
            setattr(out, key, body[at:])
            at = len(body)
    assert at == len(body), data
    if hasattr(out, "flags"):
        out.qos, out.dup, out.retain = out.flags >> 5 & 3, bool(out.flags & DUP), bool(out.flags & RETAIN)
        out.kind = out.flags & 3
    return out


def wrap(node, data, control=0):
    """In a forwarder's envelope."""
    return bytes([3 + len(node), 0xFE, control]) + node + data


def short(name):
    return struct.unpack(">H", name.encode())[0]


class Mote:
    def __init__(self, port, name="mote", host="127.0.0.1", node=None, timeout=20):
        self.name, self.node, self.timeout, self.host = name, node, timeout, host
        self.to = (host, port)
        self.socket = None
        self.move()
        self.next = 0

    def move(self):
        """Speaks from another port from now on."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        old, self.socket = self.socket, socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        if old:
            old.close()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def id(self):
        self.next = self.next % 65535 + 1
        return self.next

    def raw(self, data):
        self.socket.sendto(wrap(self.node, data, 5) if self.node is not None else data, self.to)

    def send(self, name, **fields):
        self.raw(encode(name, **fields))

    def bytes(self, timeout=None):
        self.socket.settimeout(self.timeout if timeout is None else timeout)
        data = self.socket.recv(70000)
        if self.node is not None:
            head = wrap(self.node, b"", 5)
            assert data.startswith(head), data
            data = data[len(head):]
        return data

    def receive(self, name=None, timeout=None):
        """The next message, which must be of this name."""
        message = decode(self.bytes(timeout))
        assert name is None or message.name == name, message
        return message

    def silent(self, seconds=0.3):
        """Nothing comes."""
        with contextlib.suppress(TimeoutError):
            raise AssertionError(f"{decode(self.bytes(seconds))} came")

    def ask(self, name, answer, **fields):
        self.send(name, **fields)
        return self.receive(answer)

    # What motes do.
    def connect(self, clean=True, will=None, keepalive=60, code=ACCEPTED, qos=0, retain=False):
        flags = CLEAN * clean | WILL * (will is not None)
        self.send("CONNECT", flags=flags, protocol=1, duration=keepalive, text=self.name)
        if will is not None and code == ACCEPTED:
            self.receive("WILLTOPICREQ")
            self.send("WILLTOPIC", flags=qos << 5 | RETAIN * retain, text=will[0])
            self.receive("WILLMSGREQ")
            self.send("WILLMSG", text=will[1])
        answer = self.receive("CONNACK")
        assert answer.code == code, answer
        return self

    def disconnect(self, duration=None):
        fields = {"bare": True} if duration is None else {"duration": duration}
        assert self.ask("DISCONNECT", "DISCONNECT", **fields).bare

    def register(self, topic, code=ACCEPTED):
        id = self.id()
        answer = self.ask("REGISTER", "REGACK", id=id, text=topic)
        assert (answer.id, answer.code) == (id, code), answer
        return answer.topic

    def subscribe(self, topic, qos=0, kind=NORMAL, code=ACCEPTED):
        id = self.id()
        text = topic if isinstance(topic, (str, bytes)) else struct.pack(">H", topic)
        answer = self.ask("SUBSCRIBE", "SUBACK", flags=qos << 5 | kind, id=id, text=text)
        assert (answer.id, answer.code) == (id, code), answer
        assert not answer.flags & ~0x60, answer
        return answer

    def unsubscribe(self, topic, kind=NORMAL):
        id = self.id()
        text = topic if isinstance(topic, (str, bytes)) else struct.pack(">H", topic)
        assert self.ask("UNSUBSCRIBE", "UNSUBACK", flags=kind, id=id, text=text).id == id

    def publish(self, topic, payload=b"x", qos=0, kind=NORMAL, retain=False, dup=False, id=None, code=ACCEPTED):
        id = id if id is not None else self.id() if qos in (1, 2) else 0
        self.send("PUBLISH", flags=(qos & 3) << 5 | kind | RETAIN * retain | DUP * dup, topic=topic, id=id, text=payload)
        if qos == 1 or (qos == 2 and code):
            answer = self.receive("PUBACK")
            assert (answer.topic, answer.id, answer.code) == (topic, id, code), answer
        elif qos == 2:
            assert self.receive("PUBREC").id == id
            assert self.ask("PUBREL", "PUBCOMP", id=id).id == id
        return id

    def take(self, payload=None):
        """The next PUBLISH, acknowledged; a REGISTER before it as well. Its topic is named in `told`."""
        message = self.receive()
        if message.name == "REGISTER":
            self.send("REGACK", topic=message.topic, id=message.id)
            self.told = message.text.decode()
            self.told_id = message.topic
            message = self.receive()
        assert message.name == "PUBLISH", message
        if payload is not None:
            assert message.text == (payload.encode() if isinstance(payload, str) else payload), message
        if message.qos == 1:
            self.send("PUBACK", topic=message.topic, id=message.id)
        elif message.qos == 2:
            assert self.ask("PUBREC", "PUBREL", id=message.id).id == message.id
            self.send("PUBCOMP", id=message.id)
        return message

    def wake(self):
        """All that waits for a sleeper."""
        self.send("PINGREQ", text=self.name)
        got = []
        while True:
            message = self.receive()
            if message.name == "PINGRESP":
                return got
            if message.name == "REGISTER":
                self.send("REGACK", topic=message.topic, id=message.id)
                continue
            if message.name == "PUBREL":  # of before
                self.send("PUBCOMP", id=message.id)
                continue
            assert message.name == "PUBLISH", message
            got.append(message)
            if message.qos == 1:
                self.send("PUBACK", topic=message.topic, id=message.id)
            elif message.qos == 2:
                assert self.ask("PUBREC", "PUBREL", id=message.id).id == message.id
                self.send("PUBCOMP", id=message.id)


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(condition, seconds=20, what="condition"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain for {what}")

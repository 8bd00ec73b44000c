# SPDX-License-Identifier: Apache-2.0
"""A small MQTT-SN 1.2 gateway for tests of the simulated motes: it takes packets from wherever they come and says what a
gateway would, unless told otherwise. It knows nothing of ours. `heard` has (address, type, body) of all that came."""
import os
import select
import socket
import threading
import time

(ADVERTISE, SEARCHGW, GWINFO, CONNECT, CONNACK, WILLTOPICREQ, WILLTOPIC, WILLMSGREQ, WILLMSG, REGISTER, REGACK, PUBLISH, PUBACK,
 PUBCOMP, PUBREC, PUBREL, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT) = (
     0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23, 24)


def packet(kind, body=b""):
    """With its length, of one octet or three."""
    size = 2 + len(body)
    return bytes([size, kind]) + body if size < 256 else b"\x01" + (size + 2).to_bytes(2, "big") + bytes([kind]) + body


def parse(data):
    """(type, body), or None when the length is not that of data."""
    head = 3 if data[:1] == b"\x01" else 1
    said = int.from_bytes(data[1:3], "big") if head == 3 else data[0] if data else 0
    return (data[head], data[head + 1:]) if said == len(data) and said > head else None


class Mote:
    """What the gateway knows of one."""

    def __init__(self, name):
        self.name, self.topics, self.will, self.filters = name, {}, [None, None], []
        self.asleep = False
        self.waiting = []  # packets for when it wakes


class Gateway:
    def __init__(self):
        self.heard, self.broken = [], []
        self.motes, self.at = {}, {}  # by id; by address
        self.published = []  # (id, qos, topic, data), repeats too
        self.deaf = lambda kind, count: False  # whether not to answer
        self.counts = {}

    def hear(self, address, data):
        """Returns packets for that address."""
        got = parse(data)
        if not got:
            self.broken.append(data)
            return []
        kind, body = got
        self.heard.append((address, kind, body))
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.deaf(kind, self.counts[kind]):
            return []
        handler = getattr(self, f"on_{kind}", None)
        return handler(address, body) if handler else []

    def on_4(self, address, body):
        flags, protocol, name = body[0], body[1], body[4:]
        assert protocol == 1 and name
        mote = self.motes.setdefault(name, Mote(name))
        if flags & 4:
            mote.topics.clear()
        mote.asleep, self.at[address] = False, mote
        out = [] if flags & 8 else [packet(CONNACK, b"\0")]
        waiting, mote.waiting = mote.waiting, []
        return [packet(WILLTOPICREQ)] if flags & 8 else out + waiting

    def on_7(self, address, body):
        self.at[address].will[0] = body
        return [packet(WILLMSGREQ)]

    def on_9(self, address, body):
        self.at[address].will[1] = body
        return [packet(CONNACK, b"\0")]

    def on_10(self, address, body):
        topics, name = self.at[address].topics, body[4:]
        topic = next((n for n, t in topics.items() if t == name), None) or 256 + len(topics)
        topics[topic] = name
        return [packet(REGACK, topic.to_bytes(2, "big") + body[2:4] + b"\0")]

    def on_12(self, address, body):
        qos, kind, mote = body[0] >> 5 & 3, body[0] & 3, self.at.get(address)
        topic, ident = body[1:3], body[3:5]
        if qos == 3:
            self.published.append((None, -1, topic, body[5:]))
            return []
        if not mote:
            return [packet(DISCONNECT)]
        name = topic if kind else mote.topics.get(int.from_bytes(topic, "big"))
        if name is None:
            return [packet(PUBACK, topic + ident + b"\x02")]
        self.published.append((mote.name, qos, name, body[5:]))
        return [[], [packet(PUBACK, topic + ident + b"\0")], [packet(PUBREC, ident)]][qos]

    def on_16(self, address, body):
        return [packet(PUBCOMP, body)]

    def on_18(self, address, body):
        mote = self.at[address]
        mote.filters.append(body[3:])
        return [packet(SUBACK, body[:1] + b"\0\0" + body[1:3] + b"\0")]

    def on_22(self, address, body):
        if not body:
            return [packet(PINGRESP)]
        mote = self.motes[body]
        self.at[address] = mote
        waiting, mote.waiting = mote.waiting, []
        return waiting + [packet(PINGRESP)]

    def on_24(self, address, body):
        mote = self.at.get(address)
        if mote and body:
            mote.asleep = True
        return [packet(DISCONNECT)]


class Udp:
    """A gateway on a UDP port of loopback."""

    def __init__(self, gateway):
        self.gateway, self.over = gateway, False
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over:
            if select.select([self.socket], [], [], 0.1)[0]:
                data, address = self.socket.recvfrom(65536)
                for out in self.gateway.hear(address, data):
                    self.socket.sendto(out, address)

    def close(self):
        self.over = True
        self.thread.join()
        self.socket.close()


class Tty:
    """A gateway on a tty, by a framing: (unframe, frame)."""

    def __init__(self, gateway, path, framing, baud=None):
        self.gateway, self.framing, self.over, self.baud = gateway, framing, False, baud
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        have = b""
        while not self.over:
            if not select.select([self.fd], [], [], 0.1)[0]:
                continue
            have += os.read(self.fd, 4096)
            packets, have = self.framing.unframe(have)
            for node, data in packets:
                for out in self.gateway.hear(node, data):
                    frame = self.framing.frame(node, out)
                    os.write(self.fd, frame)
                    if self.baud:
                        time.sleep(len(frame) * 10 / self.baud)

    def close(self):
        self.over = True
        self.thread.join()
        os.close(self.fd)

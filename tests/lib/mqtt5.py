# SPDX-License-Identifier: Apache-2.0
"""MQTT 5.0 by hand: properties as pairs of identifier and value, and answers taken apart. Every packet that is read is
judged as far as it can be alone: properties and reason codes that belong into it, bytes left over."""
import struct

import raw
from raw import (AUTH, CONNACK, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, Raw,
                 packet, text, varint)

(FORMAT, EXPIRY, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION, SUBSCRIPTION_ID, SESSION_EXPIRY, ASSIGNED_ID, SERVER_KEEP_ALIVE,
 AUTH_METHOD, AUTH_DATA, PROBLEM_INFO, WILL_DELAY, REQUEST_RESPONSE, RESPONSE_INFO, SERVER_REFERENCE, REASON, RECEIVE_MAXIMUM,
 ALIAS_MAXIMUM, ALIAS, MAXIMUM_QOS, RETAIN_AVAILABLE, USER, MAXIMUM_PACKET, WILDCARD_AVAILABLE, SUBSCRIPTION_ID_AVAILABLE,
 SHARED_AVAILABLE) = (1, 2, 3, 8, 9, 11, 17, 18, 19, 21, 22, 23, 24, 25, 26, 28, 31, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42)
SIZES = {1: 1, 2: 4, 17: 4, 19: 2, 23: 1, 24: 4, 25: 1, 33: 2, 34: 2, 35: 2, 36: 1, 37: 1, 39: 4, 40: 1, 41: 1, 42: 1}

# What a server may send: properties and reason codes of each packet (tables 2-4 and 2-6).
ACK_CODES = {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
FROM_SERVER = {
    CONNACK: ({17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 38, 39, 40, 41, 42},
              {0, *range(0x80, 0x8b), 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f}),
    PUBLISH: ({1, 2, 3, 8, 9, 11, 35, 38}, {0}),
    PUBACK: ({31, 38}, ACK_CODES), PUBREC: ({31, 38}, ACK_CODES),
    PUBREL: ({31, 38}, {0, 0x92}), PUBCOMP: ({31, 38}, {0, 0x92}),
    SUBACK: ({31, 38}, {0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2}),
    UNSUBACK: ({31, 38}, {0, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91}),
    DISCONNECT: ({28, 31, 38}, {0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, *range(0x8d, 0x91), *range(0x93, 0xa3)}),
    AUTH: ({21, 22, 31, 38}, {0, 0x18}),
}


def props(*pairs):
    """The properties without their length."""
    out = b""
    for ident, value in pairs:
        out += bytes([ident])
        if ident in SIZES:
            out += value.to_bytes(SIZES[ident], "big")
        elif ident == SUBSCRIPTION_ID:
            out += varint(value)
        elif ident == USER:
            out += text(value[0]) + text(value[1])
        else:
            out += text(value)
    return out


def block(pairs):
    out = props(*pairs)
    return varint(len(out)) + out


def take_varint(data):
    value = shift = 0
    for i, byte in enumerate(data[:4]):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            assert i == 0 or byte, "more bytes than the value needs"
            return value, data[i + 1:]
    raise AssertionError(f"no variable byte integer: {data[:5]}")


def take_text(data):
    size = struct.unpack(">H", data[:2])[0]
    assert len(data) >= 2 + size
    return data[2:2 + size], data[2 + size:]


def take_props(data):
    """(pairs, rest)"""
    size, data = take_varint(data)
    at, rest, out = data[:size], data[size:], []
    assert len(at) == size
    while at:
        ident, at = at[0], at[1:]
        if ident in SIZES:
            value, at = int.from_bytes(at[:SIZES[ident]], "big"), at[SIZES[ident]:]
        elif ident == SUBSCRIPTION_ID:
            value, at = take_varint(at)
        elif ident == USER:
            name, at = take_text(at)
            value, at = take_text(at)
            value = name.decode(), value.decode()
        else:
            value, at = take_text(at)
            value = value if ident in (CORRELATION, AUTH_DATA) else value.decode()
        out.append((ident, value))
    return out, rest


class Packet(raw.Packet):
    """reason, codes (SUBACK, UNSUBACK) and props: pairs."""

    def __init__(self, first, body):
        super().__init__(first, body)
        self.props, self.reason, self.codes, rest = [], 0, [], b""
        if self.kind == PUBLISH:
            self.props, self.payload = take_props(self.payload)
        elif self.kind == CONNACK:
            self.reason = body[1]
            self.props, rest = take_props(body[2:])
        elif self.kind in (SUBACK, UNSUBACK):
            self.props, codes = take_props(body[2:])
            self.codes = list(codes)
        else:
            rest = body[2:] if self.kind not in (DISCONNECT, AUTH) else body
            if rest:
                self.reason, rest = rest[0], rest[1:]
            if rest:
                self.props, rest = take_props(rest)
        assert not rest, f"bytes left over: {rest}"
        allowed, codes = FROM_SERVER.get(self.kind, (set(), {0}))
        assert {ident for ident, _ in self.props} <= allowed, self
        assert self.reason in codes and set(self.codes) <= codes, self

    def get(self, ident):
        """The first value, or None."""
        return next((value for i, value in self.props if i == ident), None)

    def all(self, ident):
        return [value for i, value in self.props if i == ident]


class Client(Raw):
    passed = []  # PUBLISHes that came while another packet was waited for

    def read(self):
        if self.passed:
            p, *self.passed = self.passed
            return p
        p = super().read()
        return p and Packet(p.kind << 4 | p.flags, p.body)

    def answer(self, kind):
        """The next packet but PUBLISH; what is passed over comes next."""
        passed = []
        while (p := self.read()) and p.kind == PUBLISH:
            passed.append(p)
        self.passed = passed + self.passed
        assert p and p.kind == kind, p
        return p

    def subscribed(self, *filters, pid=1, pairs=()):
        """SUBSCRIBE; the codes of its SUBACK."""
        self.send(subscribe(pid, *filters, pairs=pairs))
        p = self.answer(SUBACK)
        assert p.pid == pid, p
        return p.codes

    def published(self, *args, qos=1, pid=1, **more):
        """PUBLISH; its PUBACK or PUBREC."""
        self.send(publish(*args, qos=qos, pid=pid, **more))
        return self.answer(PUBACK if qos == 1 else PUBREC)

    def received(self):
        """The next PUBLISH, acknowledged to its end."""
        p = self.expect(PUBLISH)
        if p.qos == 1:
            self.send(ack(PUBACK, p.pid))
        elif p.qos == 2:
            self.send(ack(PUBREC, p.pid))
            assert self.answer(PUBREL).pid == p.pid
            self.send(ack(PUBCOMP, p.pid))
        return p

    def refused(self, *reasons):
        """DISCONNECT with one of the reasons, and closed."""
        p = self.expect(DISCONNECT)
        assert p.reason in reasons, p
        assert self.closed(), "a packet after DISCONNECT"
        return p


def connect(name="c", clean=True, pairs=(), will_pairs=(), **more):
    return raw.connect(name, clean, level=5, props=props(*pairs), will_props=props(*will_pairs), **more)


def client(port, name="c", clean=True, pairs=(), **more):
    """Connected: CONNACK read, 0 expected."""
    c = Client(port, connect(name, clean, pairs, **more))
    c.connack = c.expect(CONNACK)
    assert c.connack.reason == 0, c.connack
    c.session_present = bool(c.connack.body[0] & 1)
    return c


def lasting(port, name, clean=False, expiry=1000, pairs=(), **more):
    """With a session that outlives its connection."""
    return client(port, name, clean, [(SESSION_EXPIRY, expiry), *pairs], **more)


def publish(topic, payload=b"", qos=0, pid=None, pairs=(), **more):
    return raw.publish(topic, payload, qos, pid, props=props(*pairs), **more)


def ack(kind, pid, reason=None, pairs=None):
    body = struct.pack(">H", pid) + (bytes([reason]) if reason is not None else b"")
    return packet(kind, body + (block(pairs) if pairs is not None else b""))


def subscribe(pid, *filters, pairs=()):
    """filters: text, or (text, options)."""
    pairs_of = [f if isinstance(f, tuple) else (f, 0) for f in filters]
    return packet(SUBSCRIBE, struct.pack(">H", pid) + block(pairs) + b"".join(text(f) + bytes([o]) for f, o in pairs_of))


def unsubscribe(pid, *filters, pairs=()):
    return packet(UNSUBSCRIBE, struct.pack(">H", pid) + block(pairs) + b"".join(text(f) for f in filters))


def disconnect(reason=None, pairs=None):
    body = bytes([reason]) if reason is not None else b""
    return packet(DISCONNECT, body + (block(pairs) if pairs is not None else b""))


def auth(reason=None, pairs=()):
    return packet(AUTH, bytes([reason]) + block(pairs) if reason is not None else b"")

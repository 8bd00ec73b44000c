# SPDX-License-Identifier: Apache-2.0
"""The framings of docs/serial-motes.md, written from that page. frame and unframe are the gateway's side, up and down that of the
motes; unframe(octets) and down(octets) give [(node, packet)] and what is left."""


class Alike:
    """Both sides are the same."""

    @classmethod
    def up(cls, node, packet):
        return cls.frame(node, packet)

    @classmethod
    def down(cls, data):
        return cls.unframe(data)


class Plain(Alike):
    @staticmethod
    def frame(node, packet):
        return packet

    @staticmethod
    def unframe(data):
        out = []
        while data:
            size = int.from_bytes(data[1:3], "big") if data[0] == 1 else data[0]
            if len(data) < 3 - 2 * (data[0] != 1) or len(data) < size or size < 2:
                break
            out.append((0, data[:size]))
            data = data[size:]
        return out, data


def fcs(data):
    crc = 0xFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ 0x8408 if crc & 1 else crc >> 1
    return crc ^ 0xFFFF


class SlipCrc(Alike):
    @staticmethod
    def frame(node, packet):
        inside = node.to_bytes(2, "big") + packet
        inside += fcs(inside).to_bytes(2, "little")
        return b"\xc0" + inside.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"

    @staticmethod
    def unframe(data):
        out = []
        *frames, rest = data.split(b"\xc0")
        for frame in frames:
            inside = frame.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
            if len(inside) > 4 and fcs(inside[:-2]) == int.from_bytes(inside[-2:], "little"):
                out.append((int.from_bytes(inside[:2], "big"), inside[2:-2]))
        return out, rest


class Xbee:
    """The gateway reads frames 90 and writes frames 10; its radio says 8B of each."""
    escapes = b""

    @classmethod
    def up(cls, node, packet):
        return cls.wrap(b"\x90" + node.to_bytes(8, "big") + b"\xff\xfe\1" + packet)

    @classmethod
    def down(cls, data):
        out = []
        for inside, data in cls.frames(data):
            if inside[:1] == b"\x10":
                out.append((int.from_bytes(inside[2:10], "big"), inside[14:]))
        return out, data

    @classmethod
    def frame(cls, node, packet):
        inside = b"\x10\x01" + node.to_bytes(8, "big") + b"\xff\xfe\0\0" + packet
        return cls.wrap(inside)

    @classmethod
    def wrap(cls, inside):
        raw = len(inside).to_bytes(2, "big") + inside + bytes([0xFF - sum(inside) % 256])
        return b"\x7e" + b"".join(bytes([0x7D, o ^ 0x20]) if o in cls.escapes else bytes([o]) for o in raw)

    @classmethod
    def unframe(cls, data):
        out = []
        for inside, data in cls.frames(data):
            if inside[:1] == b"\x90":
                out.append((int.from_bytes(inside[1:9], "big"), inside[12:]))
        return out, data

    @classmethod
    def frames(cls, data):
        """(what is inside, what is left) of each whole frame, and at last (b"", what is left)."""
        while True:
            start = data.find(b"\x7e")
            data = data[start:] if start >= 0 else b""
            inside, at = bytearray(), 1
            while at < len(data) and (len(inside) < 2 or len(inside) < 3 + int.from_bytes(inside[:2], "big")):
                octet = data[at]
                if cls.escapes and octet == 0x7D:
                    at += 1
                    if at == len(data):
                        break
                    octet = data[at] ^ 0x20
                inside.append(octet)
                at += 1
            if len(inside) < 3 or len(inside) < 3 + int.from_bytes(inside[:2], "big"):
                yield b"", data
                return
            good = sum(inside[2:]) % 256 == 0xFF
            data = data[at if good else 1:]
            yield bytes(inside[2:-1]) if good else b"", data


class XbeeEscaped(Xbee):
    escapes = b"\x7e\x7d\x11\x13"


FRAMINGS = {"plain": Plain, "slip-crc": SlipCrc, "xbee": Xbee, "xbee-escaped": XbeeEscaped}

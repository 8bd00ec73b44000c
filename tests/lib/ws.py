# SPDX-License-Identifier: Apache-2.0
"""WebSocket by hand: the opening request and frames as bytes, and a socket whose bytes travel in them."""
import base64
import os
import socket
import ssl
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = base64.b64encode(b"sixteen bytes ok").decode()


def request(path="/mqtt", protocol="mqtt", host="localhost", method="GET", version="1.1", **more):
    """more: further fields or others than the usual, None leaves one out; "_" stands for "-"."""
    fields = {"Host": host, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": KEY,
              "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": protocol,
              **{name.replace("_", "-"): value for name, value in more.items()}}
    lines = [f"{method} {path} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode()


def frame(opcode, data=b"", fin=True, mask=True, rsv=0, length=None):
    """length: what the head claims."""
    length = len(data) if length is None else length
    head = bytes([fin << 7 | rsv << 4 | opcode])
    flag = 128 if mask else 0
    if length < 126:
        head += bytes([flag | length])
    elif length < 65536:
        head += bytes([flag | 126]) + struct.pack(">H", length)
    else:
        head += bytes([flag | 127]) + struct.pack(">Q", length)
    if not mask:
        return head + data
    key = os.urandom(4)
    whole = (key * (len(data) // 4 + 1))[:len(data)]
    return head + key + (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(data), "big")


def close_body(code):
    return struct.pack(">H", code)


class WebSocket:
    """Looks like a socket to tests/lib/raw.py: what is sent goes in masked binary frames of at most self.most bytes; what
    is received is the content of binary frames. Control frames are kept in self.control as (opcode, body)."""

    def __init__(self, port, before=b"", tls=None, most=None, **more):
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.kept, self.most = b"", most
        self.control, self.lengths = [], []
        self.sock.sendall(before + request(**more))
        self.status, self.fields, self.body = self.answer()

    def fill(self):
        more = self.sock.recv(65536)
        self.kept += more
        return bool(more)

    def answer(self):
        while b"\r\n\r\n" not in self.kept:
            assert self.fill(), f"no answer but {self.kept!r}"
        head, self.kept = self.kept.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        size = int(fields.get("content-length", 0))
        while len(self.kept) < size:
            assert self.fill(), "the answer is cut"
        body, self.kept = self.kept[:size], self.kept[size:]
        return int(first.split()[1]), fields, body.decode()

    def take(self, n):
        while len(self.kept) < n:
            try:
                if not self.fill():
                    return None
            except (ConnectionResetError, ssl.SSLError):
                return None
        out, self.kept = self.kept[:n], self.kept[n:]
        return out

    def next_frame(self):
        """(opcode, body), or None at the end."""
        head = self.take(2)
        if head is None:
            return None
        assert head[0] & 0xf0 == 0x80, "we send whole frames without extensions"
        assert not head[1] & 128, "a server does not mask"
        length = head[1]
        if length > 125:
            length = int.from_bytes(self.take(2 if length == 126 else 8), "big")
        return head[0] & 15, self.take(length)

    def recv(self, size):
        while True:
            got = self.next_frame()
            if got is None:
                return b""
            if got[0] == BINARY:
                self.lengths.append(len(got[1]))
                return got[1]
            assert got[0] in (CLOSE, PING, PONG), f"a frame of opcode {got[0]}"
            self.control.append(got)

    def sendall(self, data):
        most = self.most or len(data)
        for at in range(0, len(data), most or 1):
            self.sock.sendall(frame(BINARY, data[at:at + most]))

    def send_frames(self, *frames):
        self.sock.sendall(b"".join(frames))

    def closed_with(self):
        """Reads to the end; the code of the Close frame, None when there was none."""
        while self.recv(1):
            pass
        codes = [body for opcode, body in self.control if opcode == CLOSE]
        assert len(codes) < 2
        return struct.unpack(">H", codes[0])[0] if codes and codes[0] else None

    def __getattr__(self, name):
        return getattr(self.sock, name)

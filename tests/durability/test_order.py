# SPDX-License-Identifier: Apache-2.0
"""Acknowledged means on disk, seen from outside: in the daemon's own system calls no acknowledgement of a stored message
leaves before fdatasync has returned for it, and what nobody durable takes is not written at all."""
import re
import signal
import subprocess
import time

import raw
from daemon import Sluiced

SYNC = re.compile(r"(fdatasync|fsync)\(\d+\)\s+= 0|<\.\.\. (fdatasync|fsync) resumed>\)?\s+= 0")


class Strace:
    def __init__(self, d, path):
        self.path = path
        self.process = subprocess.Popen(
            ["strace", "-f", "-xx", "-s", "200", "-e", "trace=read,recvfrom,recvmsg,write,writev,sendmsg,sendto,pwrite64,fdatasync,fsync",
             "-o", str(path), "-p", str(d.pid)], stderr=subprocess.PIPE)
        line = self.process.stderr.readline()
        assert b"attached" in line, line

    def lines(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        return self.path.read_text().splitlines()


def hexed(data):
    return "".join(f"\\x{b:02x}" for b in data)


def find(lines, call, data, start):
    """The line after start in which call begins with these bytes in it."""
    for i in range(start, len(lines)):
        if re.search(rf"\b({call})\(", lines[i]) and hexed(data) in lines[i]:
            return i
    raise AssertionError(f"no {call} with {data!r} after line {start}")


def came_in(lines, data, start):
    """The line after start that shows that data was read: the call may have been interrupted in the trace."""
    for i in range(start, len(lines)):
        if re.search(r"\bread\(|recv|<\.\.\. read resumed>", lines[i]) and hexed(data) in lines[i]:
            return i
    raise AssertionError(f"{data!r} was never read after line {start}")


def synced_between(lines, first, last):
    return any(SYNC.search(line) for line in lines[first:last])


def test_no_acknowledgement_before_the_disk(tmp_path):
    d = Sluiced(tmp_path).start()
    s = raw.client(d.port, "s", clean=False)
    s.send(raw.subscribe(1, ("t", 2)))
    s.expect(raw.SUBACK)
    s.close()
    p = raw.client(d.port, "p", clean=False)
    trace = Strace(d, tmp_path / "trace")
    steps = []  # (what comes in, the answer that must wait)
    for i in range(20, 40):
        one = raw.publish("t", b"one-%d" % i, 1, i)
        two = raw.publish("t", b"two-%d" % i, 2, 1000 + i)
        for packet, kind, pid in ((one, raw.PUBACK, i), (two, raw.PUBREC, 1000 + i),
                                  (raw.ack(raw.PUBREL, 1000 + i), raw.PUBCOMP, 1000 + i)):
            p.send(packet)
            assert p.expect(kind).pid == pid
            steps.append((packet, raw.packet(kind, pid.to_bytes(2, "big"))))
    p.send(raw.subscribe(77, "x"))
    p.expect(raw.SUBACK)
    steps.append((raw.subscribe(77, "x"), b"\x90\x03\x00\x4d"))
    p.send(raw.publish("r", b"retained", 1, 99, retain=True))
    p.expect(raw.PUBACK)
    steps.append((raw.publish("r", b"retained", 1, 99, retain=True), raw.ack(raw.PUBACK, 99)))
    lines = trace.lines()
    at = 0
    for packet, answer in steps:
        read = came_in(lines, packet, at)
        at = find(lines, "write|writev|sendmsg|sendto", answer, read)
        assert synced_between(lines, read, at), f"{answer!r} left before the disk had {packet!r}"
    # CONNACK that creates a durable session
    trace = Strace(d, tmp_path / "trace2")
    raw.client(d.port, "fresh", clean=False).close()
    lines = trace.lines()
    read = came_in(lines, raw.connect("fresh", clean=False), 0)
    at = find(lines, "write|writev|sendmsg|sendto", b"\x20\x02\x00\x00", read)
    assert synced_between(lines, read, at)
    assert d.stop() == 0


def test_delivery_of_a_durable_message_waits_too(tmp_path):
    d = Sluiced(tmp_path).start()
    s = raw.client(d.port, "s", clean=False)
    s.send(raw.subscribe(1, ("t", 1)))
    s.expect(raw.SUBACK)
    p = raw.client(d.port, "p")
    trace = Strace(d, tmp_path / "trace")
    p.send(raw.publish("t", b"payload-of-it", 1, 5))
    s.expect(raw.PUBLISH)
    lines = trace.lines()
    read = came_in(lines, b"payload-of-it", 0)
    at = find(lines, "write|writev|sendmsg|sendto", b"payload-of-it", read + 1)
    assert synced_between(lines, read, at)
    assert d.stop() == 0


def test_what_nobody_durable_takes_is_not_written(tmp_path):
    d = Sluiced(tmp_path).start()
    s, p = raw.client(d.port, "s"), raw.client(d.port, "p")
    s.send(raw.subscribe(1, ("t", 2)))
    s.expect(raw.SUBACK)
    time.sleep(1.5)  # what the start wrote is done
    trace = Strace(d, tmp_path / "trace")
    for i in range(1, 50):
        p.send(raw.publish("t", b"x", 1, i), raw.publish("other", b"x", 1, 1000 + i), raw.publish("t", b"x", 2, 2000 + i))
        assert [p.read().kind for _ in range(3)] == [raw.PUBACK, raw.PUBACK, raw.PUBREC]
        seen = 0
        while seen < 2:
            got = s.read()
            seen += got.kind == raw.PUBLISH
            s.send(raw.ack(raw.PUBCOMP if got.kind == raw.PUBREL else raw.PUBACK if got.qos == 1 else raw.PUBREC, got.pid))
    time.sleep(0.5)
    lines = trace.lines()
    assert came_in(lines, raw.publish("t", b"x", 1, 49), 0)
    assert not [x for x in lines if "pwrite64(" in x or SYNC.search(x)]
    assert d.stop() == 0


def test_one_batch_for_many(tmp_path):
    """Group commit: acknowledgements of a burst share transactions (at most one sync for two, here far fewer)."""
    d = Sluiced(tmp_path).start()
    s = raw.client(d.port, "s", clean=False)
    s.send(raw.subscribe(1, ("t", 1)))
    s.expect(raw.SUBACK)
    s.close()
    p = raw.client(d.port, "p")
    trace = Strace(d, tmp_path / "trace")
    p.send(*[raw.publish("t", b"x" * 50, 1, i) for i in range(1, 1001)])
    for i in range(1, 1001):
        assert p.expect(raw.PUBACK).pid == i
    syncs = sum(bool(SYNC.search(x)) for x in trace.lines())
    assert syncs <= 100, syncs
    assert d.stop() == 0

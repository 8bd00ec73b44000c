# SPDX-License-Identifier: Apache-2.0
"""Clients that mean ill, or mean well and are broken: the others still get their messages, memory stays within its limits, and
each is counted by its reason."""
import json
import os
import resource
import socket
import subprocess
import time

import pytest
import raw
from daemon import SLUICECTL, Sluiced, wait_for
from raw import (CONNACK, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, Raw, ack, client, connect, packet, publish,
                 subscribe)

SANITIZED = bool(os.environ.get("SLUICE_VARIANT"))  # they keep what was freed


def counts(daemon):
    done = subprocess.run([SLUICECTL, "-c", daemon.conf_path, "--json", "status"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["broker"]


class Others:
    """A publisher and a subscriber that do as they should; each round is a message of each QoS that arrives."""

    def __init__(self, port):
        self.s, self.p, self.n = client(port, "good-s"), client(port, "good-p"), 0
        self.s.send(subscribe(1, ("good/#", 2)))
        self.s.expect(SUBACK)

    def go_on(self, rounds=1):
        for _ in range(rounds):
            self.n += 1
            self.p.send(*[publish(f"good/{q}", f"{self.n}", q, 1 + q) for q in (0, 1, 2)], ack(PUBREL, 3))
            assert [self.p.read().kind for _ in range(3)] == [PUBACK, PUBREC, PUBCOMP]
            for q in (0, 1, 2):
                got = self.s.expect(PUBLISH)
                assert (got.qos, got.payload) == (q, b"%d" % self.n)
                if q:
                    self.s.send(ack(PUBACK if q == 1 else PUBREC, got.pid))
            self.s.expect(PUBREL)
            self.s.send(ack(PUBCOMP, got.pid))


def test_a_reader_that_does_not_read(tmp_path):
    """QoS 0 is dropped for it alone, at limits.reader_backlog."""
    d = Sluiced(tmp_path, 'limits = { reader_backlog = "256k"; };').start()
    others, lazy = Others(d.port), client(d.port, "lazy")
    lazy.send(subscribe(1, ("good/#", 0), ("big", 0)))
    lazy.expect(SUBACK)
    others.go_on()
    before = d.memory_kb()
    for _ in range(200):
        others.p.send(publish("big", b"z" * 100000))
        others.go_on()
    assert SANITIZED or d.memory_kb() - before < 4000
    assert counts(d)["slow_reader"] == counts(d)["dropped"] > 100
    lazy.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        while lazy.expect(PUBLISH):
            pass
    lazy.send(publish("good/x", "now it reads"))
    assert lazy.expect(PUBLISH).payload == b"now it reads"
    assert d.stop() == 0


def test_a_client_that_does_not_read_its_answers(tmp_path):
    """It is not read any more: a flood of PINGREQ, or of PUBLISH whose PUBACKs it lets lie, costs a bounded memory."""
    d = Sluiced(tmp_path, 'limits = { reader_backlog = "256k"; };').start()
    others = Others(d.port)
    others.go_on()
    before = d.memory_kb()
    floods = {"ping": packet(PINGREQ) * 50000, "publish": publish("x", "", 1, 7) * 10000, "pubrec": ack(PUBREC, 9) * 10000,
              "subscribe": subscribe(3, "y") * 5000}
    for name, flood in floods.items():
        c = client(d.port, name)
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.sock.settimeout(0.5)
        held = list(floods).index(name) + 1
        sent, stuck = 0, False
        while not (stuck and counts(d)["unread_answers"] == held):
            try:
                sent += c.sock.send(flood)
                stuck = False
            except TimeoutError:
                stuck = True
            assert sent < 200 << 20
            others.go_on()
    assert SANITIZED or d.memory_kb() - before < 4 * 1000
    c = client(d.port, "reads-in-the-end")
    c.sock.settimeout(0.5)
    sent = 0
    with pytest.raises(TimeoutError):
        while True:
            sent += c.sock.send(packet(PINGREQ) * 50000)
    c.sock.settimeout(20)
    assert c.take(sent // 2 * 2) == packet(PINGRESP) * (sent // 2)
    if sent % 2:
        c.send(packet(PINGREQ)[1:])
        c.expect(PINGRESP)
    c.quiet()
    others.go_on()
    assert d.stop() == 0


def test_unread_answers_do_not_excuse_from_the_keepalive(tmp_path):
    d = Sluiced(tmp_path, 'limits = { reader_backlog = "64k"; };').start()
    c = client(d.port, "c", keepalive=1)
    c.sock.settimeout(0.3)
    with pytest.raises((TimeoutError, ConnectionError)):
        while True:
            c.sock.send(packet(PINGREQ) * 50000)
    wait_for(lambda: counts(d)["keepalive_timeouts"] == 1, what="its end")
    assert d.stop() == 0


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "kept"])
def test_a_client_that_never_acknowledges(tmp_path, clean):
    d = Sluiced(tmp_path, 'limits = { reader_backlog = "256k"; queue = "256k"; inflight = 10; };').start()
    others, mute = Others(d.port), client(d.port, "mute", clean)
    mute.send(subscribe(1, ("good/#", 2)))
    mute.expect(SUBACK)
    others.go_on(10)
    before = d.memory_kb()
    for i in range(1, 1001):
        others.p.send(publish("good/big", b"z" * 1000, 1, 9))
        others.p.expect(PUBACK)
        got = others.s.expect(PUBLISH)
        others.s.send(ack(PUBACK, got.pid))
    others.go_on(10)
    assert SANITIZED or d.memory_kb() - before < 4000
    seen = counts(d)
    assert seen["queue_full"] == seen["dropped"] > 700
    kinds = [mute.read() for _ in range(10 + 10)]  # its window, and QoS 0 beside it
    assert len([k for k in kinds if k.qos]) == 10
    assert d.stop() == 0


def test_acknowledgements_of_what_was_not_sent(tmp_path):
    """Harmless, whichever they are, and counted; what was sent to others with the same identifier stays theirs."""
    d = Sluiced(tmp_path).start()
    others, liar = Others(d.port), client(d.port, "liar")
    others.p.send(publish("good/x", "held", 2, 9))
    others.p.expect(PUBREC)
    held = others.s.expect(PUBLISH)
    for pid in (1, held.pid, 65535):
        liar.send(ack(PUBACK, pid), ack(PUBREC, pid), ack(PUBCOMP, pid), ack(PUBREL, pid))
        assert [liar.expect(kind).pid for kind in (PUBREL, PUBCOMP)] == [pid, pid]
    assert counts(d)["unknown_acks"] == 9
    others.s.send(ack(PUBREC, held.pid))
    assert others.s.expect(PUBREL).pid == held.pid
    others.s.send(ack(PUBCOMP, held.pid))
    others.go_on(3)
    liar.quiet()
    assert d.stop() == 0


def test_one_byte_a_second(tmp_path):
    """Bytes that never make a packet keep nobody alive, before CONNECT and after it."""
    d = Sluiced(tmp_path, 'limits = { connect_timeout = "2s"; };').start()
    others = Others(d.port)
    early, late = Raw(d.port), client(d.port, "late", keepalive=2)
    slow = {early: connect("early" * 1000), late: publish("t", b"x" * 100000)}
    ended, at = set(), 0
    while len(ended) < 2:
        for c in set(slow) - ended:
            try:
                c.send(slow[c][at:at + 1])
                c.sock.settimeout(0.01)
                if c.sock.recv(1) == b"":
                    ended.add(c)
            except TimeoutError:
                pass
            except OSError:
                ended.add(c)
        at += 1
        others.go_on()
        assert at < 200
        time.sleep(0.1)
    assert (counts(d)["connect_timeouts"], counts(d)["keepalive_timeouts"]) == (1, 1)
    assert d.stop() == 0


def test_ten_thousand_connections_that_say_nothing(tmp_path):
    count = 9950  # and some others: 10,000 is the most that is built in
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * count:
        pytest.skip(f"{hard} descriptors are all that is allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    silent = []
    try:
        d = Sluiced(tmp_path, 'limits = { clients = 10000; connect_timeout = "10m"; };').start()
        others = Others(d.port)
        others.go_on()
        before = d.memory_kb("VmRSS")
        for i in range(count):
            silent.append(socket.create_connection(("127.0.0.1", d.port)))
            if i % 500 == 0:
                others.go_on()
        wait_for(lambda: counts(d)["clients_most"] >= count, what="all of them")
        others.go_on(10)
        assert SANITIZED or (d.memory_kb("VmRSS") - before) / count < 1.5
        d.configure('limits = { clients = 10000; connect_timeout = "1s"; };')
        d.reload()
        wait_for(lambda: "configuration: in force" in d.log(), what="the reload")
        silent += [socket.create_connection(("127.0.0.1", d.port)) for _ in range(30)]
        wait_for(lambda: counts(d)["connect_timeouts"] == 30, 60, "the end of those that came last")
        others.go_on(10)
        while silent:
            silent.pop().close()
        wait_for(lambda: counts(d)["clients"] == 2, 60, "the others to be gone")
        others.go_on(10)
        assert d.stop() == 0
    finally:
        for s in silent:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_memory_before_connect(tmp_path):
    """What somebody who has not said CONNECT can make us keep is bounded, whatever length it announces."""
    d = Sluiced(tmp_path, 'limits = { packet = "64M"; };').start()
    others = Others(d.port)
    others.go_on()
    before = d.memory_kb()
    huge = Raw(d.port, b"\x10" + raw.varint(60 << 20))
    assert huge.closed()
    kept = [Raw(d.port, b"\x10" + raw.varint(80000) + b"\0\4MQTT\4\2\0\0\xff\xff" + b"a" * 65535) for _ in range(100)]
    others.go_on(10)
    assert SANITIZED or d.memory_kb() - before < 100 * 130
    for c in kept:
        c.send(b"b" * 20000)  # more than it announced: no client that can be understood
        assert c.closed()
    others.go_on()
    assert d.stop() == 0


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "kept"])
def test_a_flood_of_connects_with_one_name(tmp_path, clean):
    d = Sluiced(tmp_path).start()
    others = Others(d.port)
    others.go_on()
    before, sessions, flood = d.memory_kb(), counts(d)["sessions"], []
    for i in range(2000):
        flood.append(Raw(d.port, connect("same", clean, will=("good/will", "x", 0, False) if i == 0 else None)))
        if i % 100 == 0:
            if i == 100:
                assert others.s.expect(PUBLISH).topic == "good/will"
            others.go_on()
    last = flood[-1]
    last.expect(CONNACK)
    last.quiet()
    wait_for(lambda: counts(d)["clients"] == 3, what="the others to go")
    others.go_on(10)
    assert counts(d)["taken_over"] == 1999 and counts(d)["sessions"] == sessions + 1
    for c in flood[:-1]:  # closed after CONNACK, or before it was on disk
        got = c.read()
        assert got is None or (got.kind == CONNACK and got.body[1] == 0 and c.closed())
    assert SANITIZED or d.memory_kb() - before < 12000
    assert d.stop() == 0

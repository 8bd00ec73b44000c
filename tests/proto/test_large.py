# SPDX-License-Identifier: Apache-2.0
"""Large payloads: one copy in memory however many take it, whole and in order among small ones, also from the disk."""
import random
import ssl
import threading

import pytest
from daemon import SLUICED, TOP, Authority, Sluiced, free_port
from raw import CONNACK, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, Raw, ack, client, connect, publish, subscribe
from ws import WebSocket

pytestmark = pytest.mark.skipif(not SLUICED.exists(), reason="not built")

SIZE = 12_000_000
CONF = 'limits = { packet = "64M"; queue = "1G"; reader_backlog = "64M"; };\n'


@pytest.fixture
def d(tmp_path):
    daemon = Sluiced(tmp_path, CONF).start()
    yield daemon
    assert daemon.stop() == 0


def taker(d, name, qos, clean=True, **more):
    c = client(d.port, name, clean=clean, **more)
    c.send(subscribe(1, ("large/#", qos), v5=c.v5))
    c.expect(SUBACK)
    return c


def take_all(takers, work):
    """What work(taker) gives for each, at the same time."""
    results = [None] * len(takers)

    def run(i):
        results[i] = work(takers[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(takers))]
    for t in threads:
        t.start()
    return threads, results


@pytest.mark.parametrize("qos", [0, 1])
def test_one_copy_in_memory(d, qos):
    """A payload from one publisher to three, at QoS 1 through the disk: memory rises by little more than its size."""
    payload = random.Random(qos).randbytes(SIZE)
    takers = [taker(d, f"t{i}", qos, clean=not qos) for i in range(3)]
    sender = client(d.port, "sender")
    before = d.memory_kb("VmRSS")
    threads, got = take_all(takers, lambda c: c.expect(PUBLISH).payload == payload)
    sender.send(publish("large/1", payload, qos, 1))
    if qos:
        sender.expect(PUBACK)
    for t in threads:
        t.join()
    assert got == [True] * 3
    assert d.memory_kb("VmHWM") - before < SIZE * 1.1 / 1024 + 1000


def test_large_and_small_in_order(d):
    """Of every QoS, to receivers of 3.1.1 and 5.0."""
    takers = [taker(d, "a", 2), taker(d, "b", 2, level=5), taker(d, "c", 0)]
    sizes = [10, 200_000, 65_536, 65_537, 3, 300_000, 1_000_000, 0, 70_000, 5]
    sender = client(d.port, "sender")
    sender.sock.settimeout(30)

    def take(c):
        topics, releases = [], 0
        while len(topics) < len(sizes) or releases:
            p = c.read()
            if p.kind == PUBREL:
                c.send(ack(PUBCOMP, p.pid))
                releases -= 1
                continue
            assert p.kind == PUBLISH and p.payload == bytes([len(topics)]) * sizes[len(topics)]
            topics.append(p.topic)
            if p.qos:
                c.send(ack(PUBACK if p.qos == 1 else PUBREC, p.pid))
                releases += p.qos == 2
        return topics

    for qos in (0, 1, 2):
        threads, got = take_all(takers, take)
        for i, size in enumerate(sizes):
            sender.send(publish(f"large/{i}", bytes([i]) * size, qos, i + 1))
            if qos:
                sender.expect(PUBACK if qos == 1 else PUBREC)
            if qos == 2:
                sender.send(ack(PUBREL, i + 1))
                sender.expect(PUBCOMP)
        for t in threads:
            t.join()
        assert got == [[f"large/{i}" for i in range(len(sizes))]] * 3


def test_behind_a_large_packet(d):
    """What comes in one write with a large packet, and in the middle of the next."""
    t, sender = taker(d, "t", 0), client(d.port, "sender")
    body = b"x" * 500_000
    whole = b"".join(publish(f"large/{i}", body[:size]) for i, size in enumerate((9, 500_000, 7, 400_000, 100_000, 5)))
    for at in range(0, len(whole), 123_457):
        sender.send(whole[at:at + 123_457])
    for i, size in enumerate((9, 500_000, 7, 400_000, 100_000, 5)):
        p = t.expect(PUBLISH)
        assert (p.topic, len(p.payload)) == (f"large/{i}", size)


def test_nobody_takes_it(d):
    before = d.memory_kb("VmRSS")
    sender = client(d.port, "sender")
    for i in range(4):
        sender.send(publish("large/x", bytes(SIZE // 3), 1, i + 1))
        sender.expect(PUBACK)
    assert d.memory_kb("VmHWM") - before < SIZE / 3 * 1.1 / 1024 + 1000


def test_retained_and_kept_for_later(tmp_path):
    """Retained and queued at QoS 1, then kill -9: both come whole."""
    d = Sluiced(tmp_path, CONF).start()
    payload = random.Random(3).randbytes(3_000_000)
    taker(d, "later", 1, clean=False).close()
    sender = client(d.port, "sender")
    sender.send(publish("large/1", payload, 1, 1, retain=True))
    sender.expect(PUBACK)
    d.kill()
    d.start()
    later = client(d.port, "later", clean=False)
    assert later.expect(PUBLISH).payload == payload
    fresh = client(d.port, "fresh")
    fresh.send(subscribe(1, "large/#"))
    first, second = fresh.read(), fresh.read()  # SUBACK may come second
    assert (first if first.kind == PUBLISH else second).payload == payload
    assert d.stop() == 0


def test_the_receiver_goes(d):
    """In the middle of it: the memory comes back."""
    payload = bytes(SIZE)
    before = d.memory_kb("VmRSS")
    for i in range(4):
        t, sender = taker(d, "t", 0), client(d.port, "sender")
        sender.send(publish("large/1", payload))
        t.sock.recv(100_000)
        t.close()
        sender.close()
    assert d.memory_kb("VmHWM") - before < SIZE * 2.2 / 1024 + 1000


@pytest.mark.skipif("CONFIG_WEBSOCKET 1" not in (TOP / "build/generated/autoconf.h").read_text(), reason="no WebSocket")
def test_through_every_layer(tmp_path):
    """From and to TLS, and WebSocket over TLS."""
    ca = Authority(tmp_path / "ca")
    cert, key = ca.issue("localhost")
    context = ssl.create_default_context(cafile=ca.cert)
    d = Sluiced(tmp_path / "gw", listener="tls")
    web, tls = free_port(), f'tls = {{ cert = "{cert}"; key = "{key}"; }};'
    d.configure(CONF + f'listeners = ( {{ bind = "127.0.0.1:{d.port}"; anonymous = true; {tls} }},\n'
                f'  {{ bind = "127.0.0.1:{web}"; protocol = "http"; anonymous = true; {tls} }} );\n')
    d.start()

    def opened(name, sock):
        c = Raw(0, connect(name), sock=sock)
        c.expect(CONNACK)
        c.send(subscribe(1, "large/#"))
        c.expect(SUBACK)
        return c

    plain = Raw(d.port).sock
    ends = [opened("tls", context.wrap_socket(plain, server_hostname="localhost")),
            opened("web", WebSocket(web, tls=context, most=100_000))]
    for i, sender in enumerate(ends):
        payload = random.Random(i).randbytes(2_000_000)
        threads, got = take_all(ends, lambda c: c.expect(PUBLISH).payload == payload)
        sender.send(publish("large/x", payload))
        for t in threads:
            t.join()
        assert got == [True, True]
    assert d.stop() == 0

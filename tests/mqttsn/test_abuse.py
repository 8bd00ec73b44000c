# SPDX-License-Identifier: Apache-2.0
"""What is cut, lies, floods or comes in thousands: the daemon stays up, counts, and goes on."""
import os
import random
import socket
import time

import mqttsn
import pytest
import raw
from mqttsn import TYPES, encode, wrap
from test_flows import publish_qos

SAMPLES = [encode(name, **{key: value for key, value in (("text", b"a/b"), ("id", 7), ("topic", 1), ("duration", 9), ("protocol", 1),
                                                          ("flags", 0x20)) if key in layout}) for name, (_, layout) in TYPES.items()]


def counted(line):
    return sum(line[k] for k in ("malformed", "unknown_types", "misplaced", "strangers"))


@pytest.mark.parametrize("connected", [False, True])
def test_cut_at_every_byte(site, connected):
    """With the right length and with one that lies; by a stranger and by one who is connected."""
    s = site('retry = "300s";')
    m = s.mote()
    if connected:
        m.connect()
    sent = 0
    for sample in SAMPLES:
        for cut in range(len(sample)):
            m.raw(sample[:cut])
            sent += 1
            for length in {cut, 0, 1, 2, len(sample) + 1, 255} if cut else ():
                m.raw(bytes([length]) + sample[1:cut])
                sent += 1
            if sent > 50:
                mqttsn.until(lambda: s.line()["packets_in"] >= 1)
    mqttsn.until(lambda: s.line()["packets_in"] == sent + connected, what="all to be read")
    assert s.line()["malformed"] > len(SAMPLES)
    other = s.mote("other").connect()
    other.publish(other.register("a"), qos=1)


def test_noise(site):
    """Bytes by chance, some of which look like messages."""
    s = site('retry = "300s";')
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    motes = [s.mote(f"m{i}").connect() for i in range(3)]
    for i in range(6000):
        data = bytearray(chance.choice(SAMPLES))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            data = wrap(chance.randbytes(chance.randrange(40)), bytes(data))
        if chance.random() < 0.1:
            data = chance.randbytes(chance.randrange(300))
        chance.choice(motes).raw(bytes(data))
        if i % 200 == 0:
            assert s.line()["packets_in"]
    fresh = s.mote("fresh").connect()
    fresh.publish(fresh.register("a"), qos=1)


@pytest.mark.parametrize("packet", ["020a", "031220", "09160102", "0100021616", "01000216", "0018", "01", "", "02fe", "04fe0002ff"])
def test_small_packets_that_others_die_of(site, packet):
    s = site()
    m = s.mote().connect()
    m.raw(bytes.fromhex(packet))
    m.ask("PINGREQ", "PINGRESP")
    assert s.line()["malformed"] + s.line()["unknown_types"] == 1


def test_ten_thousand_that_come_and_go(site):
    """Nothing is left of them, and there is always room for the next; what is too many is told so."""
    s = site("motes = 5; presence = false;")
    m = s.mote()
    m.connect()
    m.disconnect()
    before = s.memory_kb("VmRSS")
    for i in range(10000):
        m.name = f"mote-{i}"
        m.connect()
        if i % 2:
            m.disconnect()
    assert len(s.motes()) <= 1
    if not os.environ.get("SLUICE_VARIANT"):  # sanitizers keep what was freed
        assert s.memory_kb("VmRSS") < before + 3000
    kept = [s.mote(f"kept-{i}").connect() for i in range(4 + 1 - len(s.motes()))]
    s.mote("more").connect(code=mqttsn.CONGESTION)
    kept[0].disconnect()
    s.mote("more").connect()


def test_strangers_are_told_at_a_bounded_rate(site):
    """A forged source address cannot have many answers sent to a victim, and each is shorter than what it answers."""
    s = site()
    m = s.mote()
    for _ in range(1000):
        m.send("PUBLISH", topic=1, id=1, flags=0x20, text=b"x")
    mqttsn.until(lambda: s.line()["packets_in"] == 1000)
    got = 0
    try:
        while True:
            assert m.bytes(0.5) == b"\x02\x18"
            got += 1
    except TimeoutError:
        pass
    assert 0 < got < 400 and s.line()["limited"] == 1000 - got


def test_rate_of_one_source(site):
    """Where a rate is given it holds for this box as well."""
    s = site("rate = 20;")
    m = s.mote().connect()
    for _ in range(200):
        m.send("PINGREQ")
    mqttsn.until(lambda: s.line()["packets_in"] == 201)
    assert 0 < s.line()["limited"] < 200
    time.sleep(1.5)
    m.ask("PINGREQ", "PINGRESP")
    while True:
        try:
            m.receive("PINGRESP", timeout=0.3)
        except TimeoutError:
            break


def test_a_flood_does_not_stop_others(site):
    s = site()
    noisy = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    m = s.mote(timeout=60).connect()
    topic = m.register("a")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        for _ in range(50):
            noisy.sendto(encode("PUBLISH", topic=1, text=b"x" * 100), ("127.0.0.1", s.sn))
        m.publish(topic, b"x", qos=1)
    noisy.close()


def test_kill_under_flood(site):
    """Nothing that was acknowledged is gone."""
    s = site()
    with raw.client(s.port, "reader", clean=False) as c:
        c.send(raw.subscribe(1, ("t/#", 1)))
        c.expect(raw.SUBACK)
    m = s.mote(timeout=30).connect(clean=False)
    topic = m.register("t/a")
    for n in range(3):
        for i in range(50):
            m.send("PUBLISH", flags=0x20, topic=topic, id=100 * n + i + 1, text=b"%d" % (100 * n + i + 1))
        acked = {m.receive("PUBACK").id for _ in range(20)}
        s.crash()
        try:
            while True:
                acked.add(m.receive("PUBACK", timeout=0.3).id)
        except TimeoutError:
            pass
        got = set()
        publish_qos(s.client("w"), "t/end", b"end", 1)
        with raw.client(s.port, "reader", clean=False) as c:
            while b"end" not in got:
                p = c.expect(raw.PUBLISH)
                got.add(p.payload)
                c.send(raw.ack(raw.PUBACK, p.pid))
            c.send(raw.packet(raw.DISCONNECT))
        assert {b"%d" % i for i in acked} <= got

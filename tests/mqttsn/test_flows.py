# SPDX-License-Identifier: Apache-2.0
"""MQTT-SN 1.2 over UDP: connecting, topics, publishing both ways, wills (§5.4, §6)."""
import mqttsn
import pytest
import raw
from mqttsn import CONGESTION, INVALID_TOPIC_ID, NOT_SUPPORTED, NORMAL, PREDEFINED, SHORT, short


def publish_qos(client, topic, payload, qos, pid=1):
    client.send(raw.publish(topic, payload, qos, pid if qos else None))
    if qos == 1:
        client.expect(raw.PUBACK)
    elif qos == 2:
        client.expect(raw.PUBREC)
        client.send(raw.ack(raw.PUBREL, pid))
        client.expect(raw.PUBCOMP)


def received(client):
    """The next PUBLISH; acknowledged."""
    p = client.expect(raw.PUBLISH)
    if p.qos == 1:
        client.send(raw.ack(raw.PUBACK, p.pid))
    elif p.qos == 2:
        client.send(raw.ack(raw.PUBREC, p.pid))
        client.expect(raw.PUBREL)
        client.send(raw.ack(raw.PUBCOMP, p.pid))
    return p


# ---- connecting

def test_connect_and_leave(shared, own):
    m = shared.mote(own).connect()
    m.ask("PINGREQ", "PINGRESP")
    m.disconnect()
    m.disconnect()  # the answer was lost: it is told again
    m.send("PUBLISH", flags=0x20, topic=1, id=1, text=b"x")
    assert m.receive("DISCONNECT").bare


@pytest.mark.parametrize("name", ["", "a", "x" * 23, "y" * 24, "z" * 250, "w" * 1024, "Grüße/+#"])
def test_identifiers(shared, own, name):
    m = shared.mote(name).connect()
    topic = m.register(f"{own}/t")
    m.publish(topic, qos=1)
    m.disconnect()


@pytest.mark.parametrize("name", ["v" * 1025, "bad\x00id", b"\xff\xfe"])
def test_refused_identifiers(shared, own, name):
    shared.mote(name).connect(code=NOT_SUPPORTED)


def test_prefixes_of_identifiers_are_others(shared, own):
    long, brief = shared.mote(own + "10").connect(), shared.mote(own + "1").connect()
    topic = long.register("a")
    long.publish(topic, qos=1)
    brief.publish(topic, qos=1, code=INVALID_TOPIC_ID)
    long.ask("PINGREQ", "PINGRESP")


def test_other_protocol(shared, own):
    m = shared.mote(own)
    assert m.ask("CONNECT", "CONNACK", protocol=2, text=own).code == NOT_SUPPORTED


def test_lost_connack(shared, own):
    """CONNECT again is answered again, and nothing is torn down."""
    m = shared.mote(own).connect(clean=False)
    m.connect(clean=False)
    topic = m.register("t")
    m.publish(topic, qos=1)
    m.connect(clean=False)  # a mote that has started anew, and wants its session
    m.publish(topic, qos=1)
    m.connect(clean=True)  # and one that does not
    m.publish(topic, qos=1, code=INVALID_TOPIC_ID)


def test_same_id_elsewhere(shared, own):
    old = shared.mote(own).connect(clean=False)
    old.subscribe(f"{own}/a", qos=1)
    new = shared.mote(own).connect(clean=False)
    assert old.receive("DISCONNECT").bare
    publish_qos(shared.client(own), f"{own}/a", b"here", 1)
    new.take("here")
    old.silent()


def test_other_id_at_the_same_place(shared, own):
    m = shared.mote(own + "-a").connect()
    topic = m.register("only/a")
    m.name = own + "-b"
    m.connect()
    m.publish(topic, qos=1, code=INVALID_TOPIC_ID)
    assert own + "-a" not in shared.motes() and own + "-b" in shared.motes()


def test_strangers_are_told(shared, own):
    m = shared.mote(own)
    for name, fields in (("PUBLISH", {"topic": 1, "flags": 0x20, "id": 1}), ("PINGREQ", {}), ("PINGREQ", {"text": own}),
                         ("REGISTER", {"id": 1, "text": "a"}), ("SUBSCRIBE", {"id": 1, "text": "a"}), ("WILLMSGUPD", {"text": "x"}),
                         ("DISCONNECT", {"bare": True}), ("PUBREL", {"id": 4}), ("WILLTOPIC", {"text": "x"})):
        m.send(name, **fields)
        assert m.receive("DISCONNECT").bare


def test_clients_and_motes_never_share_a_session(shared, own):
    """A mote has no password: it cannot take what an MQTT client of the same identifier has."""
    c = shared.watcher(f"{own}/#", name=own)
    m = shared.mote(own).connect()
    m.publish(m.register(f"{own}/a"), b"1", qos=1)
    assert received(c).payload == b"1"


# ---- topics

def test_register(shared, own):
    m = shared.mote(own).connect()
    a, b = m.register(f"{own}/a"), m.register(f"{own}/b")
    assert a != b and a not in (0, 0xFFFF) and a > 8, "ids stay apart from the predefined ones"
    assert m.register(f"{own}/a") == a
    answer = m.ask("REGISTER", "REGACK", topic=a, id=9, text=f"{own}/b")  # the number is not the mote's to choose
    assert answer.topic == b
    for bad in ("a/+", "#", "$SYS/x", b"\xff", "a\x00"):
        m.register(bad, code=NOT_SUPPORTED)


def test_ids_are_each_motes_own(shared, own):
    one, two = shared.mote(own + "1").connect(), shared.mote(own + "2").connect()
    seen = shared.watcher(f"{own}/#")
    one.publish(one.register(f"{own}/one"), b"1", qos=1)
    two.publish(two.register(f"{own}/two"), b"2", qos=1)
    assert [(received(seen).topic, received(seen).topic)] == [(f"{own}/one", f"{own}/two")]


def test_many_registers(site):
    s = site('topics = 5000;')
    m = s.mote().connect()
    ids = [m.register(f"t/{i}") for i in range(5000)]
    assert len(set(ids)) == 5000
    m.register("one/more", code=CONGESTION)
    assert m.register("t/17") == ids[17]


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("kind", [NORMAL, PREDEFINED, SHORT])
def test_publish(shared, own, kind, qos):
    m, name = shared.mote(own).connect(), {NORMAL: f"{own}/n", PREDEFINED: "yard/level", SHORT: "q7"}[kind]
    seen = shared.watcher(name)
    topic = {NORMAL: m.register(name) if kind == NORMAL else 0, PREDEFINED: 7, SHORT: short("q7")}[kind]
    m.publish(topic, b"21.5", qos=qos, kind=kind)
    p = received(seen)
    assert (p.topic, p.payload, p.qos, p.retain) == (name, b"21.5", qos, False)


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("kind", [NORMAL, PREDEFINED, SHORT])
def test_unknown_topic_id(shared, own, kind, qos):
    m = shared.mote(own).connect()
    topic, code = {NORMAL: (999, INVALID_TOPIC_ID), PREDEFINED: (999, INVALID_TOPIC_ID), SHORT: (short("a#"), INVALID_TOPIC_ID)}[kind]
    m.send("PUBLISH", flags=qos << 5 | kind, topic=topic, id=7 * bool(qos), text=b"x")
    answer = m.receive("PUBACK")
    assert (answer.topic, answer.id, answer.code) == (topic, 7 * bool(qos), code)


def test_message_id_0(shared, own):
    m = shared.mote(own).connect()
    topic = m.register("a")
    m.publish(topic, qos=1, id=0, code=NOT_SUPPORTED)
    m.publish(topic, qos=0, id=77)  # whatever stands there
    m.silent()


def test_minus_one(shared, own):
    seen = shared.watcher("yard/#", "q8", f"{own}/#")
    m = shared.mote(own)
    m.publish(7, b"1", qos=-1, kind=PREDEFINED)
    assert (received(seen).topic) == "yard/level"
    m.publish(short("q8"), b"2", qos=-1, kind=SHORT)
    assert received(seen).topic == "q8"
    m.publish(1, b"3", qos=-1, kind=NORMAL)  # it has no such ids
    m.publish(99, b"3", qos=-1, kind=PREDEFINED)
    m.silent()
    m.connect()
    m.publish(7, b"4", qos=-1, kind=PREDEFINED)
    assert received(seen).payload == b"4"


def test_minus_one_is_off_at_first(site):
    s = site()
    seen = s.watcher("#")
    s.mote().publish(short("ab"), b"1", qos=-1, kind=SHORT)
    mqttsn.until(lambda: s.line()["minus_one_refused"] == 1)
    publish_qos(s.client("c2"), "end", b"", 1)
    assert received(seen).topic == "end"


def test_prefix(site):
    """Motes see their own topics, the broker those with the prefix."""
    s = site('predefined = ( { id = 7; topic = "yard/level"; } );', prefix="")
    seen = s.watcher("#")
    m = s.mote().connect()
    m.subscribe("in/+", qos=1)
    m.publish(m.register("a/b"), b"1", qos=1)
    m.publish(7, b"2", qos=1, kind=PREDEFINED)
    m.publish(short("ab"), b"3", qos=1, kind=SHORT)
    got = [received(seen) for _ in range(4)]
    assert {p.topic for p in got} == {"sluice/test/mote/a/b", "sluice/test/mote/yard/level", "sluice/test/mote/ab",
                                      "sluice/test/mote/mote/state"}
    c = s.client("c2")
    publish_qos(c, "in/x", b"not for it", 1)
    publish_qos(c, "sluice/test/mote/in/x", b"for it", 1)
    m.take("for it")
    assert m.told == "in/x"


# ---- subscribing

def test_suback(shared, own):
    m = shared.mote(own).connect()
    named = m.subscribe(f"{own}/a", qos=1)
    assert named.topic == m.register(f"{own}/a") and named.qos == 1
    assert m.subscribe(f"{own}/+", qos=2).topic == 0
    assert m.subscribe(b"ab", qos=0, kind=SHORT).topic == 0
    assert m.subscribe(7, qos=1, kind=PREDEFINED).topic == 7
    assert m.subscribe("ab", qos=0).topic not in (0, short("ab")), "a plain name of two characters is a name"
    m.subscribe("a#", code=NOT_SUPPORTED)
    m.subscribe(99, kind=PREDEFINED, code=INVALID_TOPIC_ID)
    m.subscribe("a", qos=3, code=NOT_SUPPORTED)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_delivery(shared, own, qos):
    m, c = shared.mote(own).connect(), shared.client(own)
    topic = m.subscribe(f"{own}/a", qos=qos).topic
    publish_qos(c, f"{own}/a", b"hello", qos)
    p = m.take("hello")
    assert (p.topic, p.kind, p.qos, p.dup, p.retain) == (topic, NORMAL, qos, False, False)
    m.unsubscribe(f"{own}/a")
    publish_qos(c, f"{own}/a", b"more", qos)
    m.silent()


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_wildcard_registers_first(shared, own, qos):
    """PUBLISH is held until REGACK, also the second one, and QoS 0."""
    m, c = shared.mote(own).connect(), shared.client(own)
    m.subscribe(f"{own}/#", qos=qos)
    publish_qos(c, f"{own}/long/name", b"1", qos)
    publish_qos(c, f"{own}/long/name", b"2", qos)
    r = m.receive("REGISTER")
    assert r.text.decode() == f"{own}/long/name"
    m.silent(0.2)
    m.send("REGACK", topic=r.topic, id=r.id)
    assert m.take("1").topic == r.topic
    assert m.take("2").topic == r.topic


def test_known_topics_come_at_once(shared, own):
    m, c = shared.mote(own).connect(), shared.client(own)
    m.subscribe("yard/#", qos=1)
    m.subscribe(b"zz", qos=1, kind=SHORT)
    publish_qos(c, "yard/valve", b"1", 1)
    p = m.take("1")
    assert (p.kind, p.topic) == (PREDEFINED, 8)
    publish_qos(c, "zz", b"2", 1)
    p = m.take("2")
    assert (p.kind, p.topic) == (SHORT, short("zz"))


def test_retained(shared, own):
    m = shared.mote(own).connect()
    m.publish(m.register(f"{own}/r"), b"old", qos=1, retain=True)
    late = shared.mote(own + "2").connect()
    topic = late.subscribe(f"{own}/r", qos=1).topic  # SUBACK names the id before the message uses it
    p = late.take("old")
    assert p.retain and p.topic == topic
    m.publish(m.register(f"{own}/r"), b"", qos=1, retain=True)


def test_one_message_under_way(shared, own):
    m, c = shared.mote(own).connect(), shared.client(own)
    topic = m.subscribe(f"{own}/a", qos=1).topic
    for i in range(3):
        publish_qos(c, f"{own}/a", b"%d" % i, 1, pid=i + 1)
    first = m.receive("PUBLISH")
    m.silent(0.2)
    m.send("PUBACK", topic=topic, id=first.id)
    m.take("1")
    m.take("2")


def test_mote_that_lost_its_ids(shared, own):
    """PUBACK with "invalid topic id": it is told again, and gets the same message."""
    m, c = shared.mote(own).connect(), shared.client(own)
    topic = m.subscribe(f"{own}/a", qos=2).topic
    publish_qos(c, f"{own}/a", b"again", 2)
    p = m.receive("PUBLISH")
    m.send("PUBACK", topic=topic, id=p.id, code=INVALID_TOPIC_ID)
    r = m.receive("REGISTER")
    assert (r.topic, r.text.decode()) == (topic, f"{own}/a")
    m.send("REGACK", topic=r.topic, id=r.id)
    assert m.take("again").id == p.id


def test_refused_registration(shared, own):
    m, c = shared.mote(own).connect(), shared.client(own)
    m.subscribe(f"{own}/+", qos=1)
    publish_qos(c, f"{own}/bad", b"1", 1)
    publish_qos(c, f"{own}/good", b"2", 1)
    r = m.receive("REGISTER")
    m.send("REGACK", topic=r.topic, id=r.id, code=NOT_SUPPORTED)
    m.take("2")
    assert m.told == f"{own}/good"


def test_shared_subscription(shared, own):
    ones = [shared.mote(f"{own}-{i}").connect() for i in range(2)]
    for m in ones:
        m.subscribe(f"$share/g/{own}/a", qos=1)
    c = shared.client(own)
    for i in range(2):
        publish_qos(c, f"{own}/a", b"%d" % i, 1, pid=i + 1)
    for m in ones:
        m.take()
        m.silent(0.1)


def test_65535(shared, own):
    """The largest datagram there can be, and its way back."""
    m = shared.mote(own).connect()
    topic = m.subscribe(f"{own}/a", qos=1).topic
    big = bytes(range(256)) * 255
    m.send("PUBLISH", flags=0x20, topic=topic, id=1, text=big[:65507 - 9])
    names = sorted([m.receive(), m.receive()], key=lambda x: x.name)
    assert [n.name for n in names] == ["PUBACK", "PUBLISH"] and names[1].text == big[:65507 - 9]
    m.send("PUBACK", topic=topic, id=names[1].id)
    publish_qos(shared.client(own), f"{own}/a", b"x" * 65536, 1)  # larger than any: dropped and counted
    m.publish(m.register(f"{own}/b"), qos=1)
    assert shared.line()["too_large"] == 1


# ---- repeats

def test_repeated_publish(shared, own):
    """Of QoS 2 a repeat is not passed on; PUBREL of what is not known is answered."""
    m, seen = shared.mote(own).connect(), shared.watcher(f"{own}/#", qos=1)
    topic = m.register(f"{own}/a")
    for dup in (0, mqttsn.DUP):
        m.send("PUBLISH", flags=0x40 | dup, topic=topic, id=5, text=b"once")
        assert m.receive("PUBREC").id == 5
    for _ in range(2):
        assert m.ask("PUBREL", "PUBCOMP", id=5).id == 5
    m.publish(topic, b"end", qos=1)
    assert [received(seen).payload for _ in range(2)] == [b"once", b"end"]


@pytest.mark.parametrize("qos", [1, 2])
def test_unanswered_publish_comes_again(shared, own, qos):
    """Byte for byte but for DUP, three times, then not until the mote is heard."""
    m, c = shared.mote(own).connect(), shared.client(own)
    m.subscribe(f"{own}/a", qos=qos)
    publish_qos(c, f"{own}/a", b"1", qos)
    first = m.receive("PUBLISH")
    assert not first.dup
    again = [m.receive("PUBLISH").raw for _ in range(3)]
    assert set(again) == {first.raw[:2] + bytes([first.raw[2] | mqttsn.DUP]) + first.raw[3:]}
    m.silent(2.5)
    m.send("PINGREQ")
    got = {m.receive().name, m.receive().name}
    assert got == {"PINGRESP", "PUBLISH"}
    last = m.take("1") if qos == 1 else m.receive("PUBLISH")
    assert last.dup and last.id == first.id


def test_unanswered_register_and_pubrel(shared, own):
    m, c = shared.mote(own).connect(), shared.client(own)
    m.subscribe(f"{own}/#", qos=2)
    publish_qos(c, f"{own}/a", b"1", 2)
    r = m.receive("REGISTER")
    assert m.receive("REGISTER").raw == r.raw
    m.send("REGACK", topic=r.topic, id=r.id)
    p = m.receive("PUBLISH")
    m.send("PUBREC", id=p.id)
    rel = m.receive("PUBREL")
    assert m.receive("PUBREL").raw == rel.raw
    m.send("PUBREC", id=p.id)  # its PUBREC was lost, it thinks
    assert m.receive("PUBREL").raw == rel.raw
    m.send("PUBCOMP", id=p.id)
    m.silent(2.5)


# ---- wills

@pytest.mark.parametrize("qos,retain", [(0, False), (1, True), (2, False)])
def test_will(site, qos, retain):
    s = site()
    seen = s.watcher("w/#")
    m = s.mote().connect(will=("w/t", "gone"), keepalive=1, qos=qos, retain=retain)
    m.silent(0.5)
    p = received(seen)
    assert (p.topic, p.payload, p.qos) == ("w/t", b"gone", qos)
    assert s.line()["lost"] == 1


def test_no_will_after_disconnect(site):
    s = site()
    seen = s.watcher("w/#", "end")
    m = s.mote().connect(will=("w/t", "gone"), keepalive=1)
    m.disconnect()
    mqttsn.until(lambda: not s.motes())
    publish_qos(s.client("c2"), "end", b"", 1)
    assert received(seen).topic == "end"


def test_will_handshake_repeats(site):
    s = site('retry = "1s";')
    m = s.mote()
    m.send("CONNECT", flags=mqttsn.WILL | mqttsn.CLEAN, protocol=1, duration=60, text="mote")
    m.receive("WILLTOPICREQ")
    m.receive("WILLTOPICREQ")
    m.send("WILLTOPIC", flags=0, text="w")
    m.receive("WILLMSGREQ")
    m.send("WILLTOPIC", flags=0, text="w2")  # it did not hear us
    m.receive("WILLMSGREQ")
    m.receive("WILLMSGREQ")
    m.send("WILLMSG", text="gone")
    assert m.receive("CONNACK").code == 0
    assert m.ask("WILLMSG", "CONNACK", text="gone").code == 0  # it was lost
    m.connect(will=("w2", "gone"))


def test_empty_will_topic(shared, own):
    m = shared.mote(own)
    m.send("CONNECT", flags=mqttsn.WILL, protocol=1, duration=60, text=own)
    m.receive("WILLTOPICREQ")
    assert m.ask("WILLTOPIC", "CONNACK", bare=True).code == 0
    assert m.ask("WILLMSGUPD", "WILLMSGRESP", text="x").code == NOT_SUPPORTED


def test_bad_will_topic(shared, own):
    m = shared.mote(own)
    m.send("CONNECT", flags=mqttsn.WILL | mqttsn.CLEAN, protocol=1, duration=60, text=own)
    m.receive("WILLTOPICREQ")
    assert m.ask("WILLTOPIC", "CONNACK", text="a/#").code == NOT_SUPPORTED


def test_will_updates(site):
    s = site()
    seen = s.watcher("w/#")
    m = s.mote().connect(will=("w/1", "one"), keepalive=2)
    assert m.ask("WILLMSGUPD", "WILLMSGRESP", text="two").code == 0
    assert m.ask("WILLTOPICUPD", "WILLTOPICRESP", flags=0x20, text="w/2").code == 0
    assert m.ask("WILLTOPICUPD", "WILLTOPICRESP", flags=0x20, text="w/#").code == NOT_SUPPORTED
    p = received(seen)
    assert (p.topic, p.payload, p.qos) == ("w/2", b"two", 1)


def test_will_update_deletes(site):
    s = site()
    seen = s.watcher("w/#", "end")
    m = s.mote().connect(will=("w/1", "one"), keepalive=1)
    assert m.ask("WILLTOPICUPD", "WILLTOPICRESP", bare=True).code == 0
    mqttsn.until(lambda: s.line()["lost"])
    publish_qos(s.client("c2"), "end", b"", 1)
    assert received(seen).topic == "end"


def test_will_of_the_session(site):
    """Without the clean flag a will holds for the next connection too (§6.3)."""
    s = site()
    seen = s.watcher("w/#")
    m = s.mote().connect(clean=False, will=("w/1", "one"))
    m.disconnect()
    m.connect(clean=False, keepalive=1)
    assert received(seen).payload == b"one"


# ---- gateways

def test_searchgw(shared, own):
    m = shared.mote(own)
    assert m.ask("SEARCHGW", "GWINFO", radius=1).gw == 1


def test_keepalive(site):
    s = site('keepalive = "1s";')
    quick, none = s.mote("quick").connect(keepalive=2), s.mote("none").connect(keepalive=0)
    for _ in range(4):
        quick.silent(0.8)
        quick.ask("PINGREQ", "PINGRESP")
    assert "quick" in s.motes() and "none" not in s.motes()
    none.send("PINGREQ")
    none.receive("DISCONNECT")

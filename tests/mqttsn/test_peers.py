# SPDX-License-Identifier: Apache-2.0
"""What others make of the messages: scapy's MQTT-SN layer reads and writes the same, tshark's dissector finds nothing
malformed."""
import subprocess
import time

import mqttsn
import pytest
from mqttsn import PREDEFINED, SHORT, short
from test_flows import publish_qos
from test_sleep import asleep


@pytest.fixture(scope="module")
def scapy():
    from scapy.contrib import mqttsn as layer
    return layer


def by_scapy(layer, m):
    """The next message, as scapy reads it."""
    return layer.MQTTSN(m.bytes())


def test_scapy_as_a_mote(site, scapy):
    """Its bytes are taken, and ours say to it what they should."""
    s = site('predefined = ( { id = 7; topic = "yard/level"; } );')
    m, sn = s.mote(), scapy

    def ask(type, body):
        m.raw(bytes(sn.MQTTSN(type=type) / body))
        return by_scapy(sn, m)

    answer = ask(sn.CONNECT, sn.MQTTSNConnect(will=1, cleansess=1, prot_id=1, duration=60, client_id=b"scapy"))
    assert answer.type == sn.WILLTOPICREQ
    answer = ask(sn.WILLTOPIC, sn.MQTTSNWillTopic(qos=1, retain=0, will_topic=b"w/t"))
    assert answer.type == sn.WILLMSGREQ
    answer = ask(sn.WILLMSG, sn.MQTTSNWillMsg(will_msg=b"gone"))
    assert answer.type == sn.CONNACK and answer.return_code == sn.ACCEPTED
    answer = ask(sn.REGISTER, sn.MQTTSNRegister(mid=1, topic_name=b"a/b"))
    assert answer.type == sn.REGACK and (answer.mid, answer.return_code) == (1, sn.ACCEPTED)
    topic = answer.tid
    answer = ask(sn.PUBLISH, sn.MQTTSNPublish(qos=1, tid=topic, mid=2, data=b"1"))
    assert answer.type == sn.PUBACK and (answer.tid, answer.mid, answer.return_code) == (topic, 2, sn.ACCEPTED)
    answer = ask(sn.PUBLISH, sn.MQTTSNPublish(qos=2, tid_type=1, tid=7, mid=3, data=b"2"))
    assert answer.type == sn.PUBREC and answer.mid == 3
    answer = ask(sn.PUBREL, sn.MQTTSNPubrel(mid=3))
    assert answer.type == sn.PUBCOMP and answer.mid == 3
    answer = ask(sn.SUBSCRIBE, sn.MQTTSNSubscribe(qos=2, mid=4, tid_type=0, topic_name=b"in/#"))
    assert answer.type == sn.SUBACK and (answer.qos, answer.tid, answer.mid) == (2, 0, 4)
    publish_qos(s.client(), "in/x", b"hello", 1)
    got = by_scapy(sn, m)
    assert got.type == sn.REGISTER and got.topic_name == b"in/x"
    got = ask(sn.REGACK, sn.MQTTSNRegack(tid=got.tid, mid=got.mid))
    assert got.type == sn.PUBLISH and (got.qos, got.data) == (1, b"hello")
    m.raw(bytes(sn.MQTTSN(type=sn.PUBACK) / sn.MQTTSNPuback(tid=got.tid, mid=got.mid)))
    answer = ask(sn.UNSUBSCRIBE, sn.MQTTSNUnsubscribe(mid=5, tid_type=0, topic_name=b"in/#"))
    assert answer.type == sn.UNSUBACK and answer.mid == 5
    assert ask(sn.PINGREQ, sn.MQTTSNPingReq()).type == sn.PINGRESP
    assert ask(sn.DISCONNECT, sn.MQTTSNDisconnect(duration=60)).type == sn.DISCONNECT
    assert ask(sn.SEARCHGW, sn.MQTTSNSearchGW(radius=1)).gw_id == 1


def record(tmp_path, port):
    """A capture on loopback that has begun."""
    path = tmp_path / "motes.pcapng"
    shark = subprocess.Popen(["tshark", "-q", "-i", "lo", "-f", f"udp port {port}", "-w", str(path)], stderr=subprocess.PIPE, text=True)
    mqttsn.until(lambda: path.exists() and path.stat().st_size > 0, what="tshark to begin")
    return shark, path


def test_nothing_is_malformed(site, tmp_path):
    s = site('predefined = ( { id = 7; topic = "yard/level"; } ); qos_minus_one = true; retry = "1s";')
    shark, path = record(tmp_path, s.sn)
    time.sleep(0.5)
    try:
        m = s.mote(node=b"\x0a\x0b").connect(will=("w/t", "gone"), clean=False)
        m.publish(m.register("a/b"), b"1", qos=2)
        m.publish(7, b"2", qos=1, kind=PREDEFINED)
        m.publish(short("ab"), b"3", qos=-1, kind=SHORT)
        m.publish(99, qos=1, code=mqttsn.INVALID_TOPIC_ID)
        m.subscribe("in/#", qos=2)
        m.ask("WILLMSGUPD", "WILLMSGRESP", text="x")
        m.ask("WILLTOPICUPD", "WILLTOPICRESP", text="x")
        m.ask("SEARCHGW", "GWINFO", radius=1)
        c = s.client()
        for qos in range(3):
            publish_qos(c, f"in/{qos}", b"x" * 300, qos)
            m.take()
        m.disconnect(60)
        assert m.wake() == []
        asleep(s, "second").wake()
        packets = s.line()["packets_out"]
        s.mote("third").send("PINGREQ")
    finally:
        time.sleep(1)
        shark.terminate()
        shark.wait(20)
    out = subprocess.run(["tshark", "-r", path, "-d", f"udp.port=={s.sn},mqttsn", "-T", "fields", "-e", "_ws.malformed", "-e",
                          "mqttsn.msg.type", "-Y", f"udp.srcport=={s.sn}"], capture_output=True, text=True, timeout=60).stdout
    rows = out.splitlines()
    assert len(rows) >= packets and not [r for r in rows if r.split("\t")[0]], out
    assert all(r.split("\t")[1] for r in rows), out

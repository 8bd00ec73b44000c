# SPDX-License-Identifier: Apache-2.0
"""mosquitto_pub, mosquitto_sub and mosquitto_rr, as scripts use them."""
import json
import subprocess

import pytest
from daemon import Process, wait_for

VERSIONS = ["mqttv31", "mqttv311", "mqttv5"]


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def run(house, version):
    """run(command, …): what it wrote, once it has ended well; code None: not well."""
    def go(command, *args, port=None, code=0, wait=20):
        argv = [command, "-h", "localhost", "-p", port or house.port, "-V", version, *args]
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=wait)
        assert done.returncode == code or code is None and done.returncode, (argv, done)
        return done.stdout
    return go


@pytest.fixture
def sub(house, version, tmp_path):
    """sub(topic, …): a mosquitto_sub that has subscribed; log() is what it has printed."""
    started = []

    def start(topic, *args, port=None):
        argv = ["mosquitto_sub", "-h", "localhost", "-p", port or house.port, "-V", version, "-t", topic, "-d", *args]
        p = Process(["stdbuf", "-oL", *argv], tmp_path / f"sub-{len(started)}").start()
        started.append(p)
        wait_for(lambda: "Subscribed (mid" in p.log() or not p.running(), what="mosquitto_sub to subscribe")
        assert p.running(), p.log()
        return p
    return start


def printed(p, count):
    """What came, without what -d tells."""
    def lines():
        found = [x for x in p.log().splitlines() if not x.startswith(("Client ", "Subscribed "))]
        return len(found) >= count and found
    return wait_for(lines, what=f"{count} lines of\n{p.log()}")


def test_qos_and_retained(house, version, run, sub):
    t = f"commands/{version}"
    seen = sub(f"{t}/#", "-q", 2, "-F", "%q %r %p")
    for qos in range(3):
        run("mosquitto_pub", "-t", f"{t}/{qos}", "-q", qos, "-m", f"m{qos}", "-r")
    assert printed(seen, 3) == ["0 0 m0", "1 0 m1", "2 0 m2"]
    kept = run("mosquitto_sub", "-t", f"{t}/#", "-q", 2, "-C", 3, "-W", 10, "-F", "%q %r %p")
    assert sorted(kept.split("\n")) == ["", "0 1 m0", "1 1 m1", "2 1 m2"]
    run("mosquitto_sub", "-t", f"{t}/#", "--remove-retained", "-W", 1, code=27)  # it ends by its time
    assert run("mosquitto_sub", "-t", f"{t}/#", "--retained-only", "-W", 1, code=27) == ""


def test_many_lines_and_a_file(version, run, sub, house, tmp_path):
    """-l: a message for each line; -f: a file of binary."""
    t = f"lines/{version}"
    seen = sub(t, "-q", 1, "-N", "-F", "%l ")
    words = "".join(f"line {i}\n" for i in range(200))
    subprocess.run(["mosquitto_pub", "-p", str(house.port), "-V", version, "-t", t, "-q", "1", "-l"], input=words, text=True,
                   check=True, timeout=20)
    sizes = lambda: [int(x) for x in seen.log().split() if x.isdigit()]  # noqa: E731
    wait_for(lambda: len([x for x in sizes() if 6 <= x <= 8]) >= 200, what="all lines")
    whole = tmp_path / "whole"
    whole.write_bytes(bytes(range(256)) * 8000)
    run("mosquitto_pub", "-t", t, "-q", 2, "-f", whole)
    wait_for(lambda: 2048000 in sizes(), what="the file")


def test_session_and_will(house, version, run, sub):
    """A session that mosquitto_sub leaves and takes up again after kill -9 of the daemon; a will that mosquitto_sub leaves."""
    t, name = f"session/{version}", f"sub-{version}"
    lasting = ["-i", name, "-q", 2, "-c", *(["-x", 1000] if version == "mqttv5" else [])]
    run("mosquitto_sub", "-t", t, *lasting, "-E")
    for i in range(5):
        run("mosquitto_pub", "-t", t, "-q", 2, "-m", i)
    house.crash()
    assert run("mosquitto_sub", "-t", t, *lasting, "-C", 5, "-W", 10).split() == list("01234")
    watching = sub(f"{t}/will", "-q", 1)
    lost = sub(t, "--will-topic", f"{t}/will", "--will-payload", "gone", "--will-qos", 1, "--will-retain")
    lost.kill()
    assert printed(watching, 1) == ["gone"]
    assert run("mosquitto_sub", "-t", f"{t}/will", "-C", 1, "-W", 10) == "gone\n"
    run("mosquitto_pub", "-t", f"{t}/will", "-n", "-r")


def test_unsubscribe(version, run):
    t, name = f"unsubscribe/{version}", f"unsub-{version}"
    lasting = ["-i", name, "-q", 1, "-c", *(["-x", 1000] if version == "mqttv5" else [])]
    run("mosquitto_sub", "-t", f"{t}/#", *lasting, "-E")
    run("mosquitto_sub", "-t", f"{t}/still", "-U", f"{t}/#", *lasting, "-E")
    for name in ("gone", "still"):
        run("mosquitto_pub", "-t", f"{t}/{name}", "-q", 1, "-m", name)
    assert run("mosquitto_sub", "-t", f"{t}/still", *lasting, "-W", 1, code=27) == "still\n"


def test_tls(house, version, run, sub):
    t = f"tls/{version}"
    tls = ["--cafile", house.authority.cert, "--cert", house.cert, "--key", house.key]
    seen = sub(f"{t}/#", "-q", 1, "-F", "%t %p", *tls, port=house.tls_port)
    run("mosquitto_pub", "-t", f"{t}/x", "-q", 1, "-m", "safe", *tls, port=house.tls_port)
    assert printed(seen, 1) == [f"{t}/x safe"]
    run("mosquitto_pub", "-t", t, "-m", "no", *tls[:2], port=house.tls_port, code=None)


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"], indirect=True)
def test_request_and_response(house, version, run, sub, tmp_path):
    """mosquitto_rr asks; a script answers at the response topic, which MQTT 5 carries with the request (3.1.1: as agreed)."""
    t = f"rr/{version}"
    v5 = version == "mqttv5"
    done = Process(["mosquitto_rr", "-h", "localhost", "-p", house.port, "-V", version, "-t", f"{t}/ask", "-e", f"{t}/answer", "-q", 1,
                    "-m", "how warm", "-F", "%p %D" if v5 else "%p", "-W", 15, *(["-D", "publish", "correlation-data", "c7"] if v5 else [])],
                   tmp_path / "rr")
    asked = sub(f"{t}/ask", "-q", 1, "-F", "%j" if v5 else "%p")
    done.start()
    request = printed(asked, 1)[0]
    more = []
    if v5:
        props = json.loads(request)["properties"]
        assert (props["response-topic"], props["correlation-data"]) == (f"{t}/answer", "c7")
        more = ["-D", "publish", "correlation-data", props["correlation-data"], "-D", "publish", "user-property", "by", "script"]
    run("mosquitto_pub", "-t", f"{t}/answer", "-q", 1, "-m", "21.5", *more)
    assert done.process.wait(20) == 0 and done.log().split()[0] == "21.5", done.log()


@pytest.mark.parametrize("version", ["mqttv5"], indirect=True)
def test_properties(house, version, run, sub):
    """What a publisher says about its message, its subscriber reads."""
    t = "properties"
    seen = sub(t, "-q", 1, "-F", "%j", "-D", "subscribe", "subscription-identifier", 77)
    said = {"payload-format-indicator": 1, "content-type": "text/plain", "response-topic": "a/b", "correlation-data": "c7",
            "message-expiry-interval": 3600}
    words = [x for name, value in said.items() for x in ("-D", "publish", name, value)]
    run("mosquitto_pub", "-t", t, "-q", 1, "-m", "m", *words, "-D", "publish", "user-property", "k", "v")
    props = json.loads(printed(seen, 1)[0])["properties"]
    assert 3590 <= props.pop("message-expiry-interval") <= said.pop("message-expiry-interval")
    assert props.pop("user-properties") in ([{"k": "v"}], {"k": "v"})
    assert props == {**said, "subscription-identifier": 77}


def test_wire(house):
    """All that this file has said: to tshark no packet is malformed."""
    house.wire.judge(*range(1, 11), 14)

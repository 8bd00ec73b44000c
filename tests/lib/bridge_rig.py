# SPDX-License-Identifier: Apache-2.0
"""What tests of bridges share: a site with a bridge, MQTT clients that remember, a link that can be cut, frozen and
mended, and an upstream made by hand that says only what the test wants."""
import json
import os
import random
import selectors
import signal
import socket
import subprocess
import threading
import time

import paho.mqtt.client as mqtt
import pytest
from daemon import SLUICECTL, Sluiced, free_port, wait_for
from raw import CONNECT, Raw

QUICK = 'backoff = { min = "50ms"; max = "200ms"; };'


@pytest.fixture
def cleanup():
    """cleanup(x) gives x back and ends it after the test, last first. A site must end in order."""
    things = []
    yield lambda x: things.append(x) or x
    for x in reversed(things):
        if not isinstance(x, Site):
            x.close() if hasattr(x, "close") else x.kill()
        elif x.running():
            assert x.stop(3) == 0, x.log()


def status_of(site, name="cloud"):
    done = subprocess.run([SLUICECTL, "-c", site.conf_path, "--json", "status"], capture_output=True, text=True,
                          timeout=30)
    assert done.returncode == 0, done.stderr
    return next((b for b in json.loads(done.stdout)["bridges"] if b["name"] == name), None)


def online(site, name="cloud", seconds=20):
    return wait_for(lambda: (s := status_of(site, name)) and s["state"] == "online" and s, seconds,
                    f"bridge {name} to connect:\n{site.log()[-3000:]}")


def offline(site, name="cloud", seconds=20):
    return wait_for(lambda: (s := status_of(site, name)) and s["state"] == "offline" and s, seconds,
                    f"bridge {name} to be lost")


def drained(site, name="cloud", seconds=30):
    return wait_for(lambda: (s := status_of(site, name)) and s["state"] == "online" and not s["backlog"] and s, seconds,
                    f"bridge {name} to drain: {status_of(site, name)}")


class Site(Sluiced):
    """A daemon with bridges; bridges: texts of list elements."""

    def __init__(self, folder, *bridges, conf="", **more):
        super().__init__(folder, self.text(bridges) + conf, **more)

    @staticmethod
    def text(bridges):
        return "bridges = (\n" + ",\n".join(bridges) + "\n);\n"

    def change(self, *bridges, conf=""):
        """Reloads with other bridges; returns when they are in force (or refused)."""
        done = self.log().count("configuration: ")
        self.configure(self.text(bridges) + conf)
        self.reload()
        wait_for(lambda: self.log().count("configuration: ") > done, what="the reload")


def bridge(port_or_url, rules, name="cloud", more=QUICK):
    url = port_or_url if isinstance(port_or_url, str) else f'"mqtt://127.0.0.1:{port_or_url}"'
    return f'{{ name = "{name}"; url = {url}; {rules} {more} }}'


OUT = 'out = ( { match = "s/#"; qos = 1; } );'


class Client:
    """A paho client that remembers what it gets: (topic, payload text, qos, retain)."""

    def __init__(self, port, name=None, clean=True, filters=(), version=mqtt.MQTTv311, **connect):
        v5 = version == mqtt.MQTTv5
        kind = {} if v5 else {"clean_session": clean}
        self.mqtt = mqtt.Client(name or f"t{random.getrandbits(40)}", protocol=version, **kind)
        self.mqtt.max_inflight_messages_set(1000)
        self.got, self.packets, self.subscribed, self.acked = [], [], threading.Event(), set()
        self.connected = threading.Event()
        self.mqtt.on_message = self._message
        self.mqtt.on_connect = lambda *_: self.connected.set()
        self.mqtt.on_subscribe = lambda *_: self.subscribed.set()
        self.mqtt.on_publish = lambda c, u, mid: self.acked.add(mid)
        self.mqtt.connect("127.0.0.1", port, **connect)
        self.mqtt.loop_start()
        assert self.connected.wait(10)
        for f in filters:
            self.subscribe(f)

    def _message(self, client, userdata, m):
        self.packets.append(m)
        self.got.append((m.topic, m.payload.decode(errors="replace"), m.qos, bool(m.retain)))

    def subscribe(self, filter, qos=2):
        self.subscribed.clear()
        self.mqtt.subscribe(filter, qos)
        assert self.subscribed.wait(10)

    def publish(self, topic, payload="x", qos=1, retain=False, **more):
        """Returns when it is acknowledged (QoS 0: written)."""
        self.mqtt.publish(topic, payload, qos, retain, **more).wait_for_publish(20)

    def send(self, topic, payloads, qos=1):
        """Publishes all of them and returns when the last one is acknowledged."""
        for info in [self.mqtt.publish(topic, p, qos) for p in payloads]:
            info.wait_for_publish(30)

    def wait(self, count, seconds=20, topic=None):
        def enough():
            return len(self.of(topic)) >= count and self.of(topic)
        return wait_for(enough, seconds, f"{count} messages of {topic}: {len(self.of(topic))} came")

    def of(self, topic=None):
        return [m for m in list(self.got) if topic is None or m[0] == topic]

    def payloads(self, topic=None):
        return [m[1] for m in self.of(topic)]

    def close(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


class Link(threading.Thread):
    """A cable to an upstream's port: cut() ends all and refuses, freeze() swallows silently, mend() heals."""

    def __init__(self, target, up=True):
        super().__init__(daemon=True)
        self.port, self.target, self.frozen, self.ended = free_port(), target, False, False
        self.pairs, self.lock, self.listener = [], threading.Lock(), None
        self.selector, self.done = selectors.DefaultSelector(), set()
        if up:
            self.mend()
        self.start()

    def mend(self):
        with self.lock:
            self.frozen = False
            if self.listener is None:
                self.listener = socket.create_server(("127.0.0.1", self.port))
                self.listener.settimeout(0)
                self.selector.register(self.listener, selectors.EVENT_READ, None)

    def cut(self):
        with self.lock:
            if self.listener:
                self.selector.unregister(self.listener)
                self.listener.close()
                self.listener = None
            for a, b in list(self.pairs):
                self._drop(a, b)

    def freeze(self):
        with self.lock:
            self.frozen = True

    def close(self):
        self.cut()
        self.ended = True
        self.join(5)

    def _drop(self, a, b, reset=True):
        self.pairs.remove((a, b))
        for s in (a, b):
            if s in self.selector.get_map():
                self.selector.unregister(s)
            self.done.discard(s)
            if reset:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.close()

    def _accept(self):
        try:
            a, _ = self.listener.accept()
            b = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            return
        self.pairs.append((a, b))
        self.selector.register(a, selectors.EVENT_READ, (a, b))
        self.selector.register(b, selectors.EVENT_READ, (a, b))

    def _forward(self, s, pair):
        other = pair[pair[0] is s]
        try:
            data = s.recv(65536)
            if data:
                other.sendall(data)
                return
            # one side has said all: the other may still answer
            self.selector.unregister(s)
            other.shutdown(socket.SHUT_WR)
            self.done.add(s)
            if other in self.done:
                self._drop(*pair, reset=False)
        except OSError:
            self._drop(*pair)

    def run(self):
        while not self.ended:
            if self.frozen:
                time.sleep(0.01)
                continue
            for key, _ in self.selector.select(0.02) if self.selector.get_map() else []:
                with self.lock:
                    if self.frozen or key.fileobj.fileno() < 0:
                        continue
                    if key.data is None:
                        self._accept()
                    else:
                        self._forward(key.fileobj, key.data)
            if not self.selector.get_map():
                time.sleep(0.01)


class HandUpstream:
    """Listens as an upstream that does only what the test says."""

    def __init__(self, v5=False):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.port, self.v5 = self.listener.getsockname()[1], v5

    def accept(self, connack=b"\x20\2\0\0"):
        """The bridge's next connection; its CONNECT is in hello."""
        peer = Raw(0, sock=self.listener.accept()[0], timeout=20, v5=self.v5)
        peer.hello = peer.expect(CONNECT)
        peer.send(connack)
        return peer

    def nobody_comes(self, seconds):
        """True when the bridge does not try for so long."""
        self.listener.settimeout(seconds)
        try:
            self.listener.accept()[0].close()
            return False
        except TimeoutError:
            return True
        finally:
            self.listener.settimeout(20)

    def close(self):
        self.listener.close()


def stop_cold(process):
    os.kill(process.pid, signal.SIGSTOP)


def go_on(process):
    os.kill(process.pid, signal.SIGCONT)

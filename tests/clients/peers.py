# SPDX-License-Identifier: Apache-2.0
"""Clients that are not ours, all driven in one way: paho-mqtt, and programs around C libraries (see driver.h)."""
import collections
import contextlib
import functools
import queue
import socket
import subprocess
import threading
from pathlib import Path

import mqttjs_install
import paho.mqtt.client as paho
from daemon import wait_for
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

HERE = Path(__file__).parent
LIBRARIES = {"paho_sync": "paho-mqtt3cs", "paho_async": "paho-mqtt3as", "mosquitto": "mosquitto"}
Message = collections.namedtuple("Message", "topic payload qos retain")


class Refused(Exception):
    pass


@functools.cache
def program(name, folder):
    path = folder / name
    subprocess.run(["gcc", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-o", path, HERE / f"client_{name}.c",
                    HERE / "driver.c", f"-l{LIBRARIES[name]}"], check=True)
    return path


def command(name, folder):
    """What starts a program: one of C, which is compiled into folder, or MQTT.js in Node."""
    if not name.startswith("mqttjs"):
        return [program(name, folder)]
    return ["node", HERE / "mqttjs" / "client.js", mqttjs_install.installed(), "ws" if name == "mqttjs-ws" else "mqtt"]


class Peer:
    """name: of the library; a version is 3, 4 (3.1.1) or 5. What arrives is in messages, in that order."""

    def __init__(self, port, ident, version, clean=True, will=None, tls=None):
        self.ident, self.messages, self.reason = ident, [], None
        self.open(port, version, clean, will, tls)

    def wait(self, count, seconds=20):
        wait_for(lambda: len(self.messages) >= count, seconds, f"{count} messages of {self.ident}; it has {self.messages}")
        return self.messages

    def lost(self):
        """Waits until the connection is lost; the reason as the library says it."""
        wait_for(lambda: self.reason is not None, what=f"{self.ident} to lose its connection")
        return self.reason


class Program(Peer):
    """command: its words before those of driver.h."""

    def __init__(self, command, folder, *args, **more):
        self.command, self.folder, self.answers = command, folder, queue.Queue()
        super().__init__(*args, **more)

    def open(self, port, version, clean, will, tls):
        folder = self.folder / self.ident
        folder.mkdir(exist_ok=True)
        argv = [*self.command, port, self.ident, version, int(clean), 0 if clean else 1000, will or "-", *(tls or ["-"] * 3), folder]
        self.errors = (folder / "errors").open("ab")
        self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True, bufsize=1)
        threading.Thread(target=self.listen, daemon=True).start()
        answer = self.answer()
        if answer[0] != "connected":
            self.drop()
            raise Refused(answer)
        self.session_present = answer[1] == "1"

    def listen(self):
        for line in self.process.stdout:
            kind, *rest = line.rstrip("\n").split(" ", 4)
            if kind == "message":
                payload = rest[3]
                payload = (Path(payload[1:]).read_bytes() if payload[:1] == "@" else payload.encode()) if payload != "-" else b""
                self.messages.append(Message(rest[2], payload, int(rest[0]), rest[1] == "1"))
            elif kind == "lost":
                self.reason = " ".join(rest)
            else:
                self.answers.put((kind, *rest))

    def answer(self):
        return self.answers.get(timeout=30)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        answer = self.answer()
        assert answer[0] == "done", (line, answer)
        return int(answer[1])

    def subscribe(self, topic, qos):
        return self.ask(f"sub {qos} {topic}")

    def unsubscribe(self, topic):
        self.ask(f"unsub {topic}")

    def publish(self, topic, payload=b"", qos=0, retain=False):
        words = payload.decode() if 0 < len(payload) < 200 else "-"
        if len(payload) >= 200:
            path = self.folder / self.ident / "payload"
            path.write_bytes(payload)
            words = f"@{path}"
        self.ask(f"pub {qos} {int(retain)} {topic} {words}")

    def disconnect(self):
        self.process.stdin.write("bye\n")
        self.lost()
        self.drop()

    def drop(self):
        """Without a word."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.errors.close()


class Paho(Peer):
    """paho-mqtt."""

    def __init__(self, *args, transport="tcp", **more):
        self.transport = transport
        super().__init__(*args, **more)

    def open(self, port, version, clean, will, tls):
        self.codes = queue.Queue()
        self.client = paho.Client(self.ident, protocol=version, transport=self.transport,
                                  **({} if version == 5 else {"clean_session": clean}))
        self.client.on_connect = lambda c, u, flags, code, *more: self.codes.put((int(getattr(code, "value", code)),
                                                                                  flags["session present"]))
        self.client.on_disconnect = self.note_lost
        self.client.on_message = lambda c, u, m: self.messages.append(Message(m.topic, m.payload, m.qos, bool(m.retain)))
        self.client.on_subscribe = lambda c, u, mid, codes, *more: self.codes.put([int(getattr(x, "value", x)) for x in codes])
        self.client.on_unsubscribe = lambda *unused: self.codes.put(None)
        if will:
            self.client.will_set(will, b"gone", 1)
        if tls:
            ca, cert, key = tls
            self.client.tls_set(str(ca), cert and str(cert), key and str(key))
        more = {"clean_start": clean, "properties": self.lasting(clean)} if version == 5 else {}
        self.client.connect("localhost", port, **more)
        self.client.loop_start()
        code, present = self.take()
        if code:
            raise Refused(code)
        self.session_present = bool(present)

    @staticmethod
    def lasting(clean):
        props = Properties(PacketTypes.CONNECT)
        if not clean:
            props.SessionExpiryInterval = 1000
        return props

    def note_lost(self, client, userdata, code, *more):
        self.reason = str(getattr(code, "value", code))
        self.codes.put(("lost", self.reason))
        client.disconnect()  # or it would connect again

    def take(self):
        answer = self.codes.get(timeout=30)
        if isinstance(answer, tuple) and answer[0] == "lost":
            raise Refused(answer)
        return answer

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        return self.take()[0]

    def unsubscribe(self, topic):
        self.client.unsubscribe(topic)
        self.take()

    def publish(self, topic, payload=b"", qos=0, retain=False):
        info = self.client.publish(topic, payload, qos, retain)
        info.wait_for_publish(30)
        assert info.is_published()

    def disconnect(self):
        self.client.disconnect()
        self.lost()
        self.client.loop_stop()

    def drop(self):
        if self.reason is None:
            with contextlib.suppress(OSError, AttributeError):  # gone meanwhile
                over = self.client.socket()  # it may be a wrapper of WebSocket
                getattr(over, "_socket", over).shutdown(socket.SHUT_RDWR)
            self.lost()
        self.client.loop_stop()

# SPDX-License-Identifier: Apache-2.0
"""Dashboards made for mosquitto: the same traffic through a mosquitto and through us, and the $SYS topics of both beside each
other."""
import raw
from daemon import Mosquitto, Sluiced, wait_for
from raw import PUBACK, PUBLISH, SUBACK

OURS_ALONE = {"store/written"}
LEFT_OUT = {"heap/maximum"}  # needs a count of every allocation


class Watcher:
    """A client that sees $SYS, and one whose traffic is counted there."""

    def __init__(self, port):
        self.values = {}
        self.c, self.p = raw.client(port, "watcher"), raw.client(port, "publisher")
        self.p.send(*[raw.publish("t", b"x" * 100, 1, i, i == 10) for i in range(1, 11)])
        for _ in range(10):
            self.p.expect(PUBACK)
        self.p.send(raw.subscribe(11, "t/#", "$share/g/t"))
        kinds = {self.p.read().kind, self.p.read().kind}
        assert kinds == {SUBACK, PUBLISH}  # what is retained at t
        self.c.sock.settimeout(1)
        self.c.send(raw.subscribe(1, "$SYS/#"))

    def look(self):
        """Takes what is told in about a second."""
        try:
            while p := self.c.read():
                if p.kind == PUBLISH:
                    self.values[p.topic.removeprefix("$SYS/broker/")] = p.payload.decode()
        except TimeoutError:
            pass
        return self.values

    def settled(self):
        return len(self.look()) > 40 and self.values.get("messages/received") == "14" and float(
            self.values["load/messages/received/1min"]) > 0


def test_names_and_values(tmp_path):
    theirs = Mosquitto(tmp_path / "mosquitto", "sys_interval 2\n").start()
    ours = Sluiced(tmp_path / "sluice", 'sys = { every = "2s"; };').start()
    a, b = Watcher(theirs.port), Watcher(ours.port)
    for w in (a, b):
        wait_for(w.settled, 30, "the counts")
    names = {n for n in a.values if not n.startswith("connection/")}
    assert names - set(b.values) == LEFT_OUT
    assert set(b.values) - names == OURS_ALONE
    for name in ("clients/active", "clients/connected", "clients/disconnected", "clients/inactive", "clients/expired", "clients/maximum",
                 "clients/total", "messages/received", "bytes/received", "publish/bytes/received", "publish/messages/dropped",
                 "shared_subscriptions/count"):
        assert a.values[name] == b.values[name], name
    # the drivers listen for commands
    assert int(b.values["subscriptions/count"]) == int(a.values["subscriptions/count"]) + 1
    # theirs does not count the retained one
    assert (a.values["publish/messages/received"], b.values["publish/messages/received"]) in (("9", "10"), ("10", "10"))
    for name in sorted(names - LEFT_OUT - {"version"}):
        number = float(b.values[name].removesuffix(" seconds"))
        assert number >= 0 and ("." in a.values[name]) == ("." in b.values[name]), (name, a.values[name], b.values[name])
    for window in ("1min", "5min", "15min"):
        for count in ("messages/received", "bytes/received", "connections", "sockets"):
            name = f"load/{count}/{window}"
            assert 0.3 < float(b.values[name]) / float(a.values[name]) < 3, (name, a.values[name], b.values[name])
    assert int(b.values["retained messages/count"]) == len(b.values) + 1
    theirs.stop()
    assert ours.stop() == 0

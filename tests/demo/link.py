# SPDX-License-Identifier: Apache-2.0
"""The link between site and cloud: a TCP relay that can lose what comes back, be cut, swallow, and heal."""
import contextlib
import selectors
import socket
import threading

RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER: on, 0 s


class Link(threading.Thread):
    """Sites connect to port and reach target, a port of 127.0.0.1, while the link is up."""

    def __init__(self, target):
        super().__init__(daemon=True)
        self.target = target
        self.lock = threading.Lock()
        self.selector = selectors.DefaultSelector()
        self.one_way, self.silent, self.ended = False, False, False
        self.pairs = {}  # socket: (the other end, it leads to the cloud)
        self.held = []  # connections that lead nowhere
        # Keeps the port ours while nobody listens on it.
        self.place = socket.socket()
        self.place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.place.bind(("127.0.0.1", 0))
        self.port = self.place.getsockname()[1]
        self.listener = None
        self._listen(True)
        self.start()

    def lose_answers(self):
        """What the cloud sends vanishes on the way; what the site sends still gets there."""
        with self.lock:
            self.one_way = True

    def cut(self):
        """Connections die, new ones are refused."""
        with self.lock:
            self._drop_all()
            self._listen(False)

    def swallow(self):
        """New connections are taken, and nothing ever comes of them."""
        with self.lock:
            self.silent = True
            self._drop_all()
            self._listen(True)

    def heal(self):
        with self.lock:
            self._drop_all()
            self.one_way = self.silent = False
            self._listen(True)

    def close(self):
        self.cut()
        self.ended = True
        self.join(5)
        self.place.close()

    def _listen(self, on):
        if on and self.listener is None:
            self.listener = socket.create_server(("127.0.0.1", self.port))
            self.selector.register(self.listener, selectors.EVENT_READ)
        elif not on and self.listener is not None:
            self.selector.unregister(self.listener)
            self.listener.close()
            self.listener = None

    def _reset(self, s):
        with contextlib.suppress(OSError, KeyError):
            self.selector.unregister(s)
        with contextlib.suppress(OSError):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        s.close()

    def _drop_all(self):
        for s in [*self.pairs, *self.held]:
            self._reset(s)
        self.pairs.clear()
        self.held.clear()

    def _accept(self):
        near, _ = self.listener.accept()
        if self.silent:
            self.held.append(near)
            return
        try:
            far = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            self._reset(near)
            return
        for s, other, up in ((near, far, True), (far, near, False)):
            s.settimeout(5)
            self.pairs[s] = (other, up)
            self.selector.register(s, selectors.EVENT_READ)

    def _forward(self, s):
        other, up = self.pairs[s]
        try:
            data = s.recv(65536)
            if data:
                if up or not self.one_way:
                    other.sendall(data)
                return
        except OSError:
            pass
        for end in (s, other):
            self.pairs.pop(end)
            self._reset(end)

    def run(self):
        while not self.ended:
            ready = self.selector.select(0.02)
            with self.lock:
                for key, _ in ready:
                    if key.fileobj is self.listener:
                        self._accept()
                    elif key.fileobj in self.pairs:
                        self._forward(key.fileobj)

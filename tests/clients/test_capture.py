# SPDX-License-Identifier: Apache-2.0
"""The judge of our packets is one: what is malformed, and what is missing, does not pass."""
import socket
import threading

import pytest
from capture import Capture
from daemon import free_port


@pytest.mark.parametrize("answer, well", [(b"\x20\x02\0\0", True), (b"\x20\x01\0", False)], ids=["whole", "malformed"])
def test_judges(tmp_path, answer, well):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        def serve():
            c, _ = server.accept()
            with c:
                c.recv(100)
                c.sendall(answer)

        threading.Thread(target=serve).start()
        with Capture(tmp_path / "wire.pcapng", port) as wire, socket.create_connection(("127.0.0.1", port)) as c:
            c.sendall(b"\x10\x0d\0\4MQTT\4\2\0\x3c\0\1x")
            assert c.recv(100) == answer
        if well:
            wire.judge(1, 2)
        else:
            with pytest.raises(AssertionError, match="alformed"):
                wire.judge()
        with pytest.raises(AssertionError):
            wire.judge(3)

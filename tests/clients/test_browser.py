# SPDX-License-Identifier: Apache-2.0
"""MQTT.js in a page that headless Chromium loads: MQTT over WebSocket as a browser does it, its Origin included."""
import http.server
import json
import queue
import subprocess
import threading
from urllib.parse import urlencode

import pytest
from daemon import Authority, Process, Sluiced, free_port
from mqttjs_install import HERE, installed

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--ignore-certificate-errors")
ALL = [[True, 0, "zero"], [True, 1, "one"], [True, 1, True], [True, 2, "two"]]


class Pages(http.server.ThreadingHTTPServer):
    """Serves the page and the library; what the page posts is in results."""

    def __init__(self, library):
        self.files = {"/page.html": ("text/html", (HERE / "page.html").read_bytes()),
                      "/mqtt.min.js": ("text/javascript", library.read_bytes())}
        self.results = queue.Queue()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kind, body = self.server.files.get(self.path.split("?")[0], ("text/plain", b""))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.server.results.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *unused):
        pass


@pytest.fixture(scope="module")
def pages():
    server = Pages(installed() / "mqtt" / "dist" / "mqtt.min.js")
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, pages):
    """ws and wss, to pages of the test's server; and ws with no list of origins."""
    folder = tmp_path_factory.mktemp("browser")
    cert, key = Authority(folder / "ca").issue("localhost")
    d = Sluiced(folder, listener="three")
    d.safe, d.strict = free_port(), free_port()
    common = f'protocol = "http"; anonymous = true; origins = "http://127.0.0.1:{pages.server_port}";'
    d.configure(f"""
listeners = ( {{ bind = "127.0.0.1:{d.port}"; {common} }},
  {{ bind = "127.0.0.1:{d.safe}"; {common} tls = {{ cert = "{cert}"; key = "{key}"; }}; }},
  {{ bind = "127.0.0.1:{d.strict}"; protocol = "http"; anonymous = true; }} );
""")
    d.start()
    Process.started.remove(d)  # it outlives a test
    yield d
    assert d.stop() == 0, d.log()


@pytest.fixture
def browse(pages, tmp_path):
    """browse(url, version, host): what the page posts that was loaded from host and connects to url."""
    running = []

    def load(url, version, host="127.0.0.1"):
        where = f"http://{host}:{pages.server_port}/page.html?" + urlencode({"url": url, "version": version})
        with open(tmp_path / "chromium.log", "ab") as log:
            running.append(subprocess.Popen(["chromium", *FLAGS, f"--user-data-dir={tmp_path}/profile", where], stdout=log, stderr=log))
        return pages.results.get(timeout=60)

    yield load
    for p in running:
        p.terminate()
        p.wait(30)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_page_publishes_and_receives(browse, daemon, scheme, version):
    """5.0 [MQTT-6.0.0-4]: a browser ends a connection whose subprotocol is not the one that it asked for."""
    port = daemon.safe if scheme == "wss" else daemon.port
    result = browse(f"{scheme}://127.0.0.1:{port}/mqtt", version)
    assert result.get("seen") == ALL, (result, daemon.log())


def test_a_page_from_elsewhere_is_not_let_in(browse, daemon):
    """localhost is another origin than 127.0.0.1, in a list and without one."""
    assert "error" in browse(f"ws://127.0.0.1:{daemon.port}/mqtt", 4, host="localhost")


def test_without_origins_only_pages_of_the_host_itself(browse, daemon):
    assert "error" in browse(f"ws://127.0.0.1:{daemon.strict}/mqtt", 4)

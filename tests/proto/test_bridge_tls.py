# SPDX-License-Identifier: Apache-2.0
"""Bridges over TLS and with credentials: who is let in, who is not, and what the box says about it."""
import subprocess

import pytest
from bridge_rig import OUT, Client, Site, bridge, cleanup, drained, offline, online, status_of  # noqa: F401
from daemon import SLUICECTL, SLUICED, Authority, Mosquitto, free_port, openssl, wait_for

pytestmark = pytest.mark.skipif(not SLUICED.exists() or not SLUICECTL.exists(), reason="not built")


@pytest.fixture
def ca(tmp_path):
    return Authority(tmp_path / "ca")


class Cloud:
    """mosquitto with TLS, client certificates required, and a plain port to watch it."""

    def __init__(self, folder, ca, cert, key):
        self.port = free_port()
        self.mosquitto = Mosquitto(folder, f"allow_anonymous true\nlistener {self.port} 127.0.0.1\ncafile {ca.cert}\n"
                                   f"certfile {cert}\nkeyfile {key}\nrequire_certificate true\n").start()
        self.far = Client(self.mosquitto.port, filters=["#"])

    def log(self):
        return self.mosquitto.log()

    def close(self):
        self.far.close()
        self.mosquitto.kill()


@pytest.fixture
def cloud(tmp_path, ca, cleanup):
    return cleanup(Cloud(tmp_path / "cloud", ca, *ca.issue("cloud", "DNS:localhost,IP:127.0.0.1")))


def tls(ca, cert, key, more=""):
    return f'tls = {{ ca = "{ca.cert}"; cert = "{cert}"; key = "{key}"; {more} }};'


def start(tmp_path, cleanup, *bridges):
    return cleanup(Site(tmp_path / "site", *bridges).start())


def refused(site, *words):
    """The bridge fails, says why in status and log, tells it once, and the site goes on."""
    s = wait_for(lambda: (s := status_of(site)).get("last_error") and s, what="a fault")
    for word in words:
        assert word in s["last_error"].lower(), s["last_error"]
    assert s["state"] == "offline" and s["connects"] == 0
    near = Client(site.port)
    near.publish("s/1", "kept")
    assert status_of(site)["backlog"] == 1
    near.close()
    wait_for(lambda: status_of(site)["backlog"] == 1 and site.log().count("bridge cloud: ") >= 1, what="the log")
    told = [line for line in site.log().splitlines() if "bridge cloud: " in line]
    assert len(told) == 1, "\n".join(told)
    return s


def test_mutual_tls(tmp_path, cleanup, ca, cloud):
    cert, key = ca.issue("site-7")
    site = start(tmp_path, cleanup, bridge(f'"mqtts://localhost:{cloud.port}"', OUT + tls(ca, cert, key)))
    s = online(site)
    assert s["tls"].startswith("TLSv1."), s["tls"]
    near = cleanup(Client(site.port))
    near.send("s/n", [str(i) for i in range(500)])
    drained(site)
    cloud.far.wait(500, topic="s/n")
    assert cloud.far.payloads("s/n") == [str(i) for i in range(500)]
    assert "connected to mqtts://localhost" in site.log() and s["tls"] in site.log()


def test_address_is_checked_too(tmp_path, cleanup, ca, cloud):
    """A url with an address: the certificate must name it."""
    cert, key = ca.issue("site-7")
    site = start(tmp_path, cleanup, bridge(f'"mqtts://127.0.0.1:{cloud.port}"', OUT + tls(ca, cert, key)))
    online(site)


def test_wrong_ca(tmp_path, cleanup, ca, cloud):
    other = Authority(tmp_path / "other", "other-ca")
    cert, key = ca.issue("site-7")
    site = start(tmp_path, cleanup, bridge(f'"mqtts://localhost:{cloud.port}"', OUT + tls(other, cert, key)))
    refused(site, "certificate", "not signed by")


def test_wrong_host_name(tmp_path, cleanup, ca, cloud):
    cert, key = ca.issue("site-7")
    site = start(tmp_path, cleanup, bridge(f'"mqtts://localhost:{cloud.port}"',
                                           OUT + tls(ca, cert, key, 'server_name = "mq.example.com";')))
    refused(site, "certificate", "not mq.example.com")


def test_server_name_instead_of_host(tmp_path, cleanup, ca):
    cert, key = ca.issue("cloud", "DNS:mq.example.com")
    cloud = cleanup(Cloud(tmp_path / "cloud", ca, cert, key))
    mine = ca.issue("site-7")
    site = start(tmp_path, cleanup,
                 bridge(f'"mqtts://127.0.0.1:{cloud.port}"', OUT + tls(ca, *mine, 'server_name = "mq.example.com";')))
    online(site)


def expired(ca, tmp_path, name):
    """A certificate whose time ended in 2021."""
    cert, key = ca.issue(name)
    request = ca.folder / f"{name}.csr"
    index, serial = tmp_path / "index.txt", tmp_path / "serial"
    index.write_text("")
    serial.write_text("77\n")
    conf = tmp_path / "ca.conf"
    conf.write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={index}\nserial={serial}\nnew_certs_dir={tmp_path}\n"
                    "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
    openssl("ca", "-batch", "-config", conf, "-in", request, "-out", cert, "-cert", ca.cert, "-keyfile", ca.key,
            "-startdate", "20200101000000Z", "-enddate", "20210101000000Z", "-extfile", ca.folder / f"{name}.ext",
            "-notext")
    return cert, key


def test_expired_certificate(tmp_path, cleanup, ca):
    cloud = cleanup(Cloud(tmp_path / "cloud", ca, *expired(ca, tmp_path, "cloud")))
    mine = ca.issue("site-7")
    site = start(tmp_path, cleanup, bridge(f'"mqtts://localhost:{cloud.port}"', OUT + tls(ca, *mine)))
    refused(site, "certificate", "expired")


def test_our_certificate_is_refused(tmp_path, cleanup, ca, cloud):
    """The upstream does not know who signed ours."""
    other = Authority(tmp_path / "other", "other-ca")
    mine = other.issue("site-7")
    site = start(tmp_path, cleanup, bridge(f'"mqtts://localhost:{cloud.port}"', OUT + tls(ca, *mine)))
    wait_for(lambda: status_of(site).get("last_error"), what="a fault")
    assert status_of(site)["connects"] == 0


def test_plain_port_where_tls_is_expected(tmp_path, cleanup, ca, cloud):
    mine = ca.issue("site-7")
    site = start(tmp_path, cleanup, bridge(f'"mqtts://localhost:{cloud.mosquitto.port}"',
                                           OUT + tls(ca, *mine) + 'connect_timeout = "2s";'))
    wait_for(lambda: status_of(site).get("last_error"), what="a fault")
    assert status_of(site)["connects"] == 0


def test_renewed_certificate_needs_no_reconnect(tmp_path, cleanup, ca, cloud):
    """A reload with the same configuration keeps the connection; the next one shows the new certificate."""
    cert, key = ca.issue("site-old", stem="mine")
    text = bridge(f'"mqtts://localhost:{cloud.port}"', OUT + tls(ca, cert, key))
    site = start(tmp_path, cleanup, text)
    online(site)
    ca.issue("site-new", stem="mine")
    site.change(text)
    s = status_of(site)
    assert s["connects"] == 1 and s["state"] == "online"
    cloud.mosquitto.stop()
    offline(site)
    # a certificate that is gone refuses the configuration and leaves what runs
    key.rename(tmp_path / "away.key")
    site.change(text)
    assert "mine.key" in site.log() and "refused" in site.log()
    cloud.mosquitto.start()
    online(site)


def test_missing_certificate_is_a_mistake_at_its_line(tmp_path):
    site = Site(tmp_path / "site", bridge('"mqtts://localhost"', OUT + 'tls = { ca = "nowhere.pem"; };'))
    done = subprocess.run([SLUICED, "--check", site.conf_path], capture_output=True, text=True)
    assert done.returncode != 0
    assert "sluice.conf:5:" in done.stdout + done.stderr and "nowhere.pem" in done.stdout + done.stderr


# ---- user and password ----


@pytest.fixture
def strict(tmp_path, cleanup):
    """mosquitto that knows one user."""
    words = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", words, "gw", "sesame"], check=True)
    port = free_port()
    return cleanup(Mosquitto(tmp_path / "strict", f"listener {port} 127.0.0.1\npassword_file {words}\n"
                             "allow_anonymous false\n", port=port, default_listener=False).start())


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_refused_credentials(tmp_path, cleanup, strict, version):
    """Told once, tried slowly; the new password comes from its file without a restart."""
    word = tmp_path / "word"
    word.write_text("wrong\n")
    site = start(tmp_path, cleanup, bridge(strict.port, OUT + f'version = "{version}"; user = "gw"; '
                                           f'password_file = "{word}";'))
    refused(site, "not authorized")
    before = strict.log().count("New connection")
    word.write_text("sesame\n")
    online(site)
    drained(site)
    assert strict.log().count("New connection") >= before
    assert "sesame" not in site.log() and "wrong" not in site.log()


def test_password_in_the_configuration(tmp_path, cleanup, strict):
    site = start(tmp_path, cleanup, bridge(strict.port, OUT + 'user = "gw"; password = "sesame";'))
    online(site)
    assert "sesame" not in site.log()


def test_refusal_is_tried_slowly(tmp_path, cleanup, strict):
    """backoff.min is 50 ms, max 3 s: after a refusal it waits for half of max at least."""
    site = start(tmp_path, cleanup, bridge(strict.port, OUT + 'user = "gw"; password = "wrong";',
                                           more='backoff = { min = "50ms"; max = "60s"; };'))
    refused(site, "not authorized")
    line = next(l for l in site.log().splitlines() if "next try in" in l)
    assert float(line.split("next try in ")[1].split(" s")[0]) >= 30

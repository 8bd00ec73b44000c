# SPDX-License-Identifier: Apache-2.0
"""MQTT 5.0, chapter 4.11: clients are sent to another server when the operator says so."""
import pytest
import raw
from daemon import Sluiced, free_port, listens, wait_for
from mqtt5 import MAXIMUM_PACKET, SERVER_REFERENCE, Client, client, connect, lasting
from raw import CONNACK


class Site(Sluiced):
    """One listener as usual, one whose clients may be sent away."""

    def __init__(self, folder, redirect=""):
        self.other = free_port()
        super().__init__(folder, redirect, listener=False)

    def configure(self, redirect):
        super().configure(f'''listeners = (
            {{ bind = "127.0.0.1:{self.port}"; anonymous = true; }},
            {{ bind = "127.0.0.1:{self.other}"; anonymous = true; {redirect} }} );''')


@pytest.fixture
def site(tmp_path):
    d = Site(tmp_path).start()
    wait_for(lambda: listens(d.port) and listens(d.other), what="both listeners")
    yield d
    assert d.stop() == 0, d.log()


@pytest.mark.parametrize("for_good, reason", [(False, 0x9c), (True, 0x9d)])
def test_redirect(site, for_good, reason):
    """[MQTT-3.2.2-7], [MQTT-3.2.2-8], [MQTT-3.14.2-1]: who is there is told and closed; who comes is told where to go; others stay"""
    stays, goes = client(site.port, "stays"), lasting(site.other, "goes")
    goes.subscribed(("t", 1))
    site.configure(f'redirect = {{ to = "b.example:1883 c.example"; for_good = {str(for_good).lower()}; }};')
    site.reload()
    assert goes.refused(reason).get(SERVER_REFERENCE) == "b.example:1883 c.example"
    c = Client(site.other, connect("new"))
    p = c.expect(CONNACK)
    assert (p.reason, p.body[0], p.get(SERVER_REFERENCE)) == (reason, 0, "b.example:1883 c.example")
    assert c.closed()
    p = Client(site.other, connect("new", pairs=[(MAXIMUM_PACKET, 30)])).expect(CONNACK)
    assert p.reason == reason and p.get(SERVER_REFERENCE) is None
    assert raw.Raw(site.other, raw.connect("old")).expect(CONNACK).body == b"\0\3"
    stays.published("t", "x")
    site.configure("")
    site.reload()
    wait_for(lambda: Client(site.other, connect("probe")).expect(CONNACK).reason == 0, what="the listener to be open again")
    back = lasting(site.other, "goes")
    assert back.session_present and back.received().payload == b"x"

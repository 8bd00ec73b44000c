# SPDX-License-Identifier: Apache-2.0
"""What a restart of the daemon must not change, nor keep. Found by the model (tests/model). Statements: MQTT 5.0."""
import mqtt5
import raw
from daemon import Sluiced
from raw import PUBACK, PUBLISH, SUBACK


def test_retained_below_dollar(tmp_path):
    """Only what the box says of itself is not kept: other topics that begin with $ are as good as any."""
    d = Sluiced(tmp_path).start()
    with raw.client(d.port, "p") as p:
        p.send(raw.publish("$plant/x", "kept", 1, 1, True))
        p.expect(PUBACK)
        d.kill()
    d.start()
    with raw.client(d.port, "s") as s:
        s.send(raw.subscribe(1, "$plant/#"))
        got = {x.kind: x for x in (s.read(), s.read())}
        assert got[PUBLISH].payload == b"kept" and got[PUBLISH].retain
    d.kill()
    d.start()
    with raw.client(d.port, "p") as p:  # and forgotten for good
        p.send(raw.publish("$plant/x", "", 1, 1, True))
        p.expect(PUBACK)
        d.kill()
    d.start()
    with raw.client(d.port, "s") as s:
        s.send(raw.subscribe(1, "$plant/#"))
        s.expect(SUBACK)
        s.quiet()
    assert d.stop() == 0


def test_session_that_was_to_end_with_its_connection(tmp_path):
    """[MQTT-3.1.2-23]: with expiry 0 from its last CONNECT on, the session ends with the daemon that was killed; its will is
    published by the next one ([MQTT-3.1.2-8]), before anybody can ask for what is retained, and not as a repeat
    ([MQTT-3.3.1-1])."""
    d = Sluiced(tmp_path).start()
    watch = mqtt5.lasting(d.port, "watch")
    watch.send(mqtt5.subscribe(1, ("will", 1)))
    watch.expect(SUBACK)
    mqtt5.lasting(d.port, "c").send(mqtt5.disconnect())
    c = mqtt5.client(d.port, "c", clean=False, will=("will", b"gone", 1, True))
    assert c.session_present
    d.kill()
    d.start()
    with mqtt5.client(d.port, "c", clean=False) as c:
        assert not c.session_present
    with raw.client(d.port, "late") as late:
        late.send(raw.subscribe(1, "will"))
        got = {x.kind: x for x in (late.read(), late.read())}
        assert got[PUBLISH].retain
    with mqtt5.lasting(d.port, "watch") as watch:
        p = watch.expect(PUBLISH)
        assert (p.payload, p.dup) == (b"gone", False)
    assert d.stop() == 0

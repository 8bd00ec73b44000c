# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, folders that cannot be written, databases that are none: a clear message, and nothing else lost."""
import os
import socket
import subprocess

import pytest
import raw
from daemon import Sluiced, wait_for

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system, which needs root")


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "state"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(port, most):
    """Publishes until acknowledgements stay away; returns how many came."""
    p = raw.client(port, "p")
    p.sock.settimeout(1.5)
    done = 0
    try:
        while done < most:
            p.send(*[raw.publish("t", b"%08d" % i + b"." * 1000, 1, i % 65535 + 1) for i in range(done, done + 50)])
            for _ in range(50):
                if p.expect(raw.PUBACK):
                    done += 1
    except (socket.timeout, AssertionError):
        pass
    p.close()
    return done


@root_only
def test_full_disk(tmp_path, small_disk):
    d = Sluiced(tmp_path, 'store = { ballast = "256k"; fail_after = "2s"; batch_max = "256k"; };').start()
    s = raw.client(d.port, "s", clean=False)
    s.send(raw.subscribe(1, ("t", 1)))
    s.expect(raw.SUBACK)
    s.close()
    live, held = raw.client(d.port, "live"), raw.client(d.port, "held")
    live.send(raw.subscribe(1, ("other", 1)))
    live.expect(raw.SUBACK)
    acked = fill(d.port, 20000)
    assert 500 < acked < 20000
    wait_for(lambda: "commits fail" in d.log(), 10, "the store to say so")
    # what nobody durable takes goes on
    live.send(raw.publish("other", "x", 1, 9))
    kinds = {live.read().kind, live.read().kind}
    assert kinds == {raw.PUBLISH, raw.PUBACK}
    # who waits for the disk is let go after fail_after, without an acknowledgement
    held.send(raw.publish("t", b"never", 1, 3))
    assert held.closed()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    wait_for(lambda: "commits work again" in d.log(), 20, "the store to recover")
    assert fill(d.port, 50) == 50
    s = raw.client(d.port, "s", clean=False)
    seen = set()
    while len(seen) < acked:
        p = s.expect(raw.PUBLISH)
        s.send(raw.ack(raw.PUBACK, p.pid))
        if p.payload[:8].isdigit():
            seen.add(int(p.payload[:8]))
    assert seen >= set(range(acked))
    d.kill()
    d.start()
    assert d.stop() == 0


def test_unwritable_state_dir(tmp_path):
    (tmp_path / "state").write_text("a file where a folder should be")
    d = Sluiced(tmp_path)
    with pytest.raises(AssertionError):
        d.start()
    assert d.process.returncode == 1
    assert str(tmp_path / "state") in d.log() and "error" in d.log()


@pytest.mark.parametrize("content", [b"\0" * 100000, b"garbage" * 9999, b""], ids=["zeroes", "garbage", "empty"])
def test_database_that_is_none(tmp_path, content):
    """The box comes up; the bad file is kept aside."""
    d = Sluiced(tmp_path).start()
    d.stop()
    files = [f for f in (tmp_path / "state").iterdir() if f.suffix in (".db", ".sqlite") or "db" in f.name]
    assert files, list((tmp_path / "state").iterdir())
    main = min(files, key=lambda f: len(f.name))
    for f in (tmp_path / "state").iterdir():
        if f.name.startswith(main.name) and f != main:
            f.unlink()
    main.write_bytes(content)
    d.start()
    raw.client(d.port, "x", clean=False).quiet()
    assert d.stop() == 0
    kept = [f for f in (tmp_path / "state").iterdir() if f.read_bytes() == content]
    assert not content or kept, list((tmp_path / "state").iterdir())


def test_second_daemon_on_the_same_state(tmp_path):
    d = Sluiced(tmp_path).start()
    other = Sluiced(tmp_path / "other")
    text = other.conf_path.read_text().replace(str(tmp_path / "other" / "state"), str(tmp_path / "state"))
    other.conf_path.write_text(text)
    with pytest.raises(AssertionError):
        other.start()
    assert "another" in other.log() or "in use" in other.log() or "busy" in other.log().lower(), other.log()
    raw.client(d.port, "x", clean=False).quiet()
    assert d.stop() == 0


def test_port_in_use(tmp_path):
    d = Sluiced(tmp_path).start()
    other = Sluiced(tmp_path / "other", listener=False)
    other.configure(f'listeners = ( {{ bind = "127.0.0.1:{d.port}"; anonymous = true; }} );')
    other.start()
    wait_for(lambda: not other.running(), 10, "the second to give up")
    assert other.process.returncode == 1 and f"127.0.0.1:{d.port}" in other.log()
    assert d.stop() == 0

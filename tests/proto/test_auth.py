# SPDX-License-Identifier: Apache-2.0
"""Who gets in: users, certificates, nobody; what a flood of wrong passwords does to others; and sluicectl user."""
import json
import os
import pty
import re
import select
import shutil
import socket
import ssl
import subprocess

import mqtt5
import pytest
import raw
from daemon import SLUICECTL, Authority, Sluiced, free_port, wait_for
from raw import CONNACK, PUBLISH, SUBACK, Raw
from users import ANYTHING, check, ctl, daemon, from_address, reload, status, user, users

SLOW = 100000  # a count that takes long enough for others to come meanwhile
ANN = users(user("ann", "sesame")) + ANYTHING


@pytest.fixture
def site(tmp_path):
    d = daemon(tmp_path, ANN).start()
    yield d
    assert d.stop() == 0, d.log()


def code(port, level=4, client="c", sock=None, timeout=10, **who):
    """What CONNECT is answered with; all but 0 also closes."""
    c = Raw(port, raw.connect(client, level=level, name="MQIsdp" if level == 3 else "MQTT", **who), sock=sock, timeout=timeout)
    answer = c.expect(CONNACK).body[1]
    assert not answer or c.closed()
    c.close()
    return answer


# ---- passwords ----

@pytest.mark.parametrize("level,wrong,nobody", [(3, 4, 5), (4, 4, 5), (5, 0x86, 0x87)])
def test_user_and_password(site, level, wrong, nobody):
    """3.1.1 §3.2.2.3, 5.0 §3.2.2.2: and it is not told whether the name or the password was wrong."""
    assert code(site.port, level, user="ann", password="sesame") == 0
    assert code(site.port, level, user="ann", password="Sesame") == wrong
    assert code(site.port, level, user="ann", password="") == wrong
    assert code(site.port, level, user="bob", password="sesame") == wrong
    assert code(site.port, level, user="ann") == wrong
    assert code(site.port, level) == nobody


def test_password_alone_is_nobodys(site):
    """5.0 §3.1.2.9 allows a password without a user name; nobody here can judge one."""
    assert code(site.port, 5, password="sesame") == 0x86


def test_mosquittos_entry(tmp_path):
    path = tmp_path / "passwd"
    subprocess.run(["mosquitto_passwd", "-b", "-c", path, "old", "from there"], check=True)
    name, made = path.read_text().strip().split(":", 1)
    assert made.startswith("$7$")
    d = daemon(tmp_path / "d", f'users = ( {{ name = "{name}"; password = "{made}"; }} );' + ANYTHING).start()
    assert code(d.port, user="old", password="from there") == 0
    assert code(d.port, user="old", password="from here") == 4
    assert d.stop() == 0, d.log()


def test_anonymous_only_where_the_listener_says_so(tmp_path):
    d = daemon(tmp_path, ANN, anonymous=True).start()
    assert code(d.port) == 0
    assert code(d.port, user="ann", password="sesame") == 0
    assert code(d.port, user="ann", password="wrong") == 4, "whoever gives a name has to prove it"
    reload(d, ANN)
    assert code(d.port) == 5
    assert d.stop() == 0, d.log()


def test_packets_that_follow_connect_wait_for_the_answer(tmp_path):
    """5.0 [MQTT-3.1.4-5] lets a client send on before CONNACK; a right password loses none of it."""
    d = daemon(tmp_path, users(user("ann", "sesame", count=SLOW)) + ANYTHING).start()
    c = Raw(d.port, raw.connect("c", user="ann", password="sesame") + raw.subscribe(1, "t") + raw.publish("t", "early"))
    assert c.expect(CONNACK).body[1] == 0
    c.expect(SUBACK)
    assert c.expect(PUBLISH).payload == b"early"
    c = Raw(d.port, raw.connect("d", user="ann", password="wrong") + raw.publish("t", "never"))
    assert c.expect(CONNACK).body[1] == 4 and c.closed()
    assert d.stop() == 0, d.log()


def test_leaving_while_the_password_is_checked(tmp_path):
    d = daemon(tmp_path, users(user("ann", "sesame", count=SLOW)) + ANYTHING).start()
    for i in range(6):
        Raw(d.port, raw.connect(f"c{i}", user="ann", password=f"wrong{i}")).close()
    assert code(d.port, user="ann", password="sesame", timeout=60) == 0
    keep = [Raw(d.port, raw.connect(f"d{i}", user="ann", password=f"w{i}")) for i in range(4)]
    assert d.stop() == 0, d.log()  # also while the pool is busy
    for c in keep:
        answer = c.read()
        assert answer is None or answer.body[1] in (3, 4)  # 3: so many failures in a minute that it is not looked at


def test_two_of_one_name_while_passwords_are_checked(tmp_path):
    """The later one takes the session over, as without passwords."""
    d = daemon(tmp_path, users(user("ann", "sesame", count=SLOW)) + ANYTHING).start()
    both = [Raw(d.port, raw.connect("same", user="ann", password="sesame")) for _ in range(2)]
    assert [c.expect(CONNACK).body[1] for c in both] == [0, 0]
    alive = [c for c in both if (c.send(raw.packet(raw.PINGREQ)), c.read())[1]]
    assert len(alive) == 1
    assert d.stop() == 0, d.log()


# ---- many at once ----

def test_ten_thousand_return_at_once(tmp_path):
    """Each has shown its password before: none waits for the pool, none is refused."""
    d = daemon(tmp_path, users(user("ann", "sesame", count=SLOW), user("bob", "lamp", count=SLOW)) +
               ANYTHING + 'logins = { waiting = 4; };').start()
    who = [{"user": "ann", "password": "sesame"}, {"user": "bob", "password": "lamp"}]
    for w in who:
        assert code(d.port, **w) == 0
    assert status(d)["cached"] == 0
    for begin in range(0, 10000, 500):
        wave = [Raw(d.port, raw.connect(f"c{i}", **who[i % 2]), timeout=30) for i in range(begin, begin + 500)]
        assert all(c.expect(CONNACK).body[1] == 0 for c in wave)
        for c in wave:
            c.close()
    s = status(d)
    assert s["cached"] == 10000 and s["busy"] == 0 and s["refused"] == 0
    changed = users(user("ann", "other"), user("bob", "lamp")) + ANYTHING
    reload(d, changed)
    assert code(d.port, user="ann", password="sesame") == 4, "a password that was right once"
    assert code(d.port, user="ann", password="other") == 0
    assert d.stop() == 0, d.log()


def test_many_of_one_user_at_once_after_a_start(tmp_path):
    """Nothing is remembered yet: those who wait with the same password share one check, however few may wait."""
    d = daemon(tmp_path, users(user("ann", "sesame", count=SLOW)) + ANYTHING + "logins = { waiting = 2; };").start()
    wave = [Raw(d.port, raw.connect(f"c{i}", user="ann", password="sesame"), timeout=60) for i in range(1000)]
    assert all(c.expect(CONNACK).body[1] == 0 for c in wave)
    s = status(d)
    assert s["cached"] == 999 and s["admitted"] == 1000 and s["busy"] == 0
    wave = [Raw(d.port, raw.connect(f"c{i}", user="ann", password="guess"), timeout=60) for i in range(50)]
    assert all(c.expect(CONNACK).body[1] in (3, 4) for c in wave), "and one result when it is wrong"
    assert d.stop() == 0, d.log()


def test_who_leaves_hands_its_place_on(tmp_path):
    """Several wait with one password; the listener of the first goes, and the others get their answer still."""
    d = daemon(tmp_path, "")
    people = users(user("ann", "sesame", count=3 * SLOW)) + ANYTHING
    gone = free_port()
    both = f'listeners = ( {{ bind = "127.0.0.1:{gone}"; }}, {{ bind = "127.0.0.1:{d.port}"; }} );\n' + people
    d.listener = False
    d.configure(both)
    d.listener = "own"
    d.start()
    blocking = [Raw(d.port, raw.connect(f"b{i}", user="ann", password=f"guess {i}"), timeout=60) for i in range(3)]
    first = Raw(gone, raw.connect("first", user="ann", password="sesame"))
    wait_for(lambda: status(d)["waiting"] >= 2, what="the first to wait")
    rest = [Raw(d.port, raw.connect(f"r{i}", user="ann", password="sesame"), timeout=60) for i in range(3)]
    with Raw(d.port) as probe:  # accepted after them
        reload(d, people)
        assert first.closed()
        assert [c.expect(CONNACK).body[1] for c in rest] == [0] * 3
        probe.close()
    assert [c.expect(CONNACK).body[1] for c in blocking] == [4] * 3
    assert d.stop() == 0, d.log()


def test_a_flood_of_wrong_passwords_slows_nobody_else(tmp_path):
    """One address tries passwords: somebody from another one waits for those on the pool at most, not for the queue."""
    d = daemon(tmp_path, users(user("ann", "sesame", count=SLOW)) + ANYTHING + "logins = { failures = 1000; };").start()
    flood = [Raw(d.port, raw.connect(f"f{i}", user="ann", password=f"guess {i}"), sock=from_address("127.0.0.66", d.port), timeout=60)
             for i in range(40)]
    wait_for(lambda: status(d)["waiting"] > 25, what="the queue")
    assert code(d.port, user="ann", password="sesame") == 0
    assert status(d)["waiting"] > 10, "and the queue was still there"
    for c in flood:
        assert c.expect(CONNACK).body[1] == 4
    assert d.stop() == 0, d.log()


def test_guessing_ends(tmp_path):
    """After some failures the passwords of an address are not looked at, except those that were right before."""
    d = daemon(tmp_path, users(user("ann", "sesame"), user("bob", "lamp")) + ANYTHING + "logins = { failures = 5; };").start()
    bad = "127.0.0.66"
    assert code(d.port, user="ann", password="sesame", sock=from_address(bad, d.port)) == 0
    codes = [code(d.port, 5, user="ann", password=f"guess {i}", sock=from_address(bad, d.port)) for i in range(8)]
    assert codes == [0x86] * 5 + [0x9f] * 3
    assert code(d.port, 5, user="bob", password="lamp", sock=from_address(bad, d.port)) == 0x9f
    assert code(d.port, 5, user="ann", password="sesame", sock=from_address(bad, d.port)) == 0
    assert code(d.port, 5, user="bob", password="lamp", sock=from_address("127.0.0.67", d.port)) == 0
    s = status(d)
    assert s["limited"] == 4 and s["refused"] == 9
    assert "9 refused, 4 of addresses that failed too often" in ctl(d, "status", "clients").stdout
    lines = [line for line in d.log().splitlines() if " refused" in line]
    assert len(lines) == 9 and all("security: client at " in line for line in lines), "each is told of once, and within bounds"
    assert "passwords" in (said := ctl(d, "status").stdout) and f"guessing: {bad}:" in said
    assert d.stop() == 0, d.log()


def test_an_event_tells_of_guessing(tmp_path):
    d = daemon(tmp_path, ANN + 'logins = { failures = 2; }; health = { every = "1s"; };').start()
    c = mqtt5.client(d.port, "watcher", user="ann", password="sesame")
    c.send(mqtt5.subscribe(1, "sluice/test/health", "sluice/test/event/security"))
    c.expect(SUBACK)
    assert json.loads(c.expect(PUBLISH).payload)["auth"]["state"] == "ok"
    for i in range(3):
        code(d.port, user="ann", password=f"guess {i}", sock=from_address("127.0.0.66", d.port))
    while (p := c.expect(PUBLISH)).topic != "sluice/test/event/security":
        pass
    event = json.loads(p.payload)
    assert event["state"] == "guessing" and event["error"].startswith("127.0.0.66:")
    assert d.stop() == 0, d.log()


def test_busy(tmp_path):
    """What waits is bounded, and one address gets half of it."""
    d = daemon(tmp_path, users(user("ann", "sesame", count=5 * SLOW)) + ANYTHING + "logins = { waiting = 10; };").start()
    wave = [Raw(d.port, raw.connect(f"c{i}", user="ann", password=f"w{i}", level=5), timeout=60) for i in range(12)]
    codes = [c.expect(CONNACK).body[1] for c in wave]
    assert set(codes) == {0x86, 0x89} and codes.count(0x89) >= 5
    assert status(d)["busy"] == codes.count(0x89)
    assert d.stop() == 0, d.log()


# ---- before it is known who it is ----

@pytest.mark.parametrize("size", [79 * 1024, 82 * 1024])
def test_first_packet_is_bounded(tmp_path, size):
    d = Sluiced(tmp_path, "limits = { packet = \"4M\"; };").start()
    c = Raw(d.port, raw.connect("c", will=("t", b"", 0, 0), props=mqtt5.props(*[(mqtt5.USER, ("k", "v" * 1000))] * (size // 1006)), level=5))
    assert c.expect(CONNACK).body[1] == (0 if size < 80 * 1024 else 0x95)
    assert d.stop() == 0, d.log()


@pytest.mark.skipif("SLUICE_VARIANT" in os.environ, reason="sanitizers have memory of their own")
def test_memory_before_connect_is_bounded(tmp_path):
    """Each of 300 sends as much of a CONNECT as is taken, and no more."""
    d = Sluiced(tmp_path).start()
    before = d.memory_kb("RssAnon")
    part = raw.connect("c", will=("t", b"x" * 60000, 0, 0))[:-1]
    waiting = [Raw(d.port, part) for _ in range(300)]
    with raw.client(d.port, "probe") as probe:
        probe.quiet()
    assert status(d, "broker")["clients"] == 300
    assert d.memory_kb("RssAnon") - before < 300 * 160
    for c in waiting:
        c.close()
    assert d.stop() == 0, d.log()


# ---- certificates ----

def tls_client(port, ca, pair=None, **who):
    context = ssl.create_default_context(cafile=ca.cert)
    if pair:
        context.load_cert_chain(*pair)
    sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname="localhost")
    return Raw(port, raw.connect("c", **who), sock=sock)


def test_the_name_in_a_certificate_is_the_user(tmp_path):
    ca = Authority(tmp_path)
    cert, key = ca.issue("server")
    d = Sluiced(tmp_path / "d", listener="own")
    d.configure(f'listeners = ( {{ bind = "127.0.0.1:{d.port}"; tls = {{ cert = "{cert}"; key = "{key}"; client_ca = "{ca.cert}"; }}; }} );'
                'acl = ( { allow = "all"; topic = "of/%u/#"; } );' + users(user("bob", "lamp")))
    d.start()
    c = tls_client(d.port, ca, ca.issue("meter-7"))
    assert c.expect(CONNACK).body[1] == 0
    c.send(raw.subscribe(1, "of/meter-7/#", "of/bob/#"))
    assert c.expect(SUBACK).body[2:] == b"\x00\x80"
    c = tls_client(d.port, ca, ca.issue("meter-8"), user="bob", password="lamp")
    assert c.expect(CONNACK).body[1] == 0, "a user and a password on top of it count more"
    c.send(raw.subscribe(1, "of/meter-8/#", "of/bob/#"))
    assert c.expect(SUBACK).body[2:] == b"\x80\x00"
    assert tls_client(d.port, ca, ca.issue("meter-9"), user="bob", password="wrong").expect(CONNACK).body[1] == 4
    hostile = tls_client(d.port, ca, ca.issue("$meter", stem="hostile"))
    assert hostile.expect(CONNACK).body[1] == 5 and hostile.closed()
    with pytest.raises(OSError):
        tls_client(d.port, ca).expect(CONNACK)
    assert d.stop() == 0, d.log()


# ---- what --check refuses ----

LISTENER = 'listeners = ( {{ bind = "{}:18999"; {} }} );\n'
REFUSED = {
    "anonymous from outside": (LISTENER.format("0.0.0.0", "anonymous = true;"), "everybody = true"),
    "nobody is asked": (LISTENER.format("0.0.0.0", ""), "add users"),
    "nobody gets in": (LISTENER.format("127.0.0.1", ""), "would refuse everybody"),
    "everybody alone": (LISTENER.format("127.0.0.1", "everybody = true;") + ANN, "goes with anonymous"),
    "entry of nothing": (users('{ name = "a"; password = "secret"; }'), "a password itself never stands"),
    "damaged entry": (users('{ name = "a"; password = "$7$101$AAAA$AAAA"; }'), "is damaged"),
    "damaged verifier": (users('{ name = "a"; scram = "SCRAM-SHA-256$1:AA$AA:AA"; }'), "is damaged"),
    "verifier of another kind": (users('{ name = "a"; scram = "SCRAM-MD5$4096:AA$AA:AA"; }'), "SCRAM-SHA-256"),
    "twice": (users(user("a", "x"), user("a", "y")), "is there already"),
    "no name": (users('{ password = "x"; }'), "name"),
    "rule without a word": ('acl = ( { topic = "a"; } );', "either allow or deny"),
    "no users file": ('users_file = "/nowhere/users.conf";', "users file"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_check_refuses(tmp_path, what):
    conf, words = REFUSED[what]
    result, text = check(tmp_path, conf)
    assert result == 1 and words in text and re.search(r"sluice\.conf:\d+: |users\.conf", text), text
    assert "$7$101$AAAA" not in text, "entries are secrets"


def test_check_takes(tmp_path):
    for conf in (LISTENER.format("0.0.0.0", "anonymous = true; everybody = true;"), LISTENER.format("0.0.0.0", "") + ANN,
                 LISTENER.format("127.0.0.1", "anonymous = true;")):
        result, text = check(tmp_path, conf)
        assert result == 0, text


def test_check_warns_of_entries_that_are_soon_guessed(tmp_path):
    weak, strong = users(user("a", "x", count=101, scram=["SCRAM-SHA-1"])), users(user("a", "x", count=10000, scram=["SCRAM-SHA-1"]))
    result, text = check(tmp_path, weak + ANYTHING)
    assert result == 0 and "sluice.conf:3: warning: " in text and "with 101 rounds" in text, text
    result, text = check(tmp_path, strong + ANYTHING)
    assert result == 0 and "rounds" not in text, text


BROKEN = {"empty": "", "cut off": 'users = ( { name = "a"; password = "', "damaged entry": 'users = ( { name = "a"; password = "x"; } );',
          "something else": "site = 1;"}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_users_file_refuses_to_start(tmp_path, what):
    d = daemon(tmp_path, ANN)
    path = tmp_path / "state" / "users.conf"
    path.parent.mkdir()
    path.touch(0o600)
    path.write_text(BROKEN[what])
    with pytest.raises(AssertionError, match="users file"):
        d.start()
    path.write_text("users = ( );")
    d.start()
    path.write_text(BROKEN[what])  # and is refused whole at a reload
    done = ctl(d, "reload")
    assert done.returncode == 1 and "users.conf" in done.stderr
    assert code(d.port, user="ann", password="sesame") == 0
    path.write_text("users = ( );")
    path.chmod(0o644)
    done = ctl(d, "reload")
    assert done.returncode == 1 and "chmod 600" in done.stderr
    assert d.stop() == 0, d.log()


# ---- what changes at a reload ----

def test_reload_ends_who_would_not_get_in_any_more(tmp_path):
    carl = user("carl", "open")
    d = daemon(tmp_path, users(user("ann", "sesame"), user("bob", "lamp"), carl) + ANYTHING, anonymous=True).start()
    ann = mqtt5.client(d.port, "a", user="ann", password="sesame")
    bob = raw.client(d.port, "b", user="bob", password="lamp")
    staying = mqtt5.client(d.port, "c", user="carl", password="open")
    nobody = mqtt5.client(d.port, "n")
    reload(d, users(user("ann", "changed"), carl) + ANYTHING)
    ann.refused(0x87)
    assert bob.closed()
    nobody.refused(0x87)
    staying.quiet()
    assert d.stop() == 0, d.log()


# ---- sluicectl user ----

def on_terminal(d, words, *lines):
    """Runs sluicectl on a terminal of its own and answers each question with a line. (exit status, what was shown)"""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(SLUICECTL, [str(SLUICECTL), "-c", str(d.conf_path), *words])
    shown, left = b"", list(lines)
    while select.select([fd], [], [], 30)[0]:
        try:
            more = os.read(fd, 1000)
        except OSError:
            break
        if not more:
            break
        shown += more
        if left and shown.endswith(b": "):
            os.write(fd, left.pop(0).encode() + b"\n")
    os.close(fd)  # hangs up, should it still wait
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_user_commands(tmp_path):
    d = daemon(tmp_path, ANYTHING + "users = ( );").start()
    path = tmp_path / "state" / "users.conf"
    result, shown = on_terminal(d, ["user", "add", "ann", "--role", "operator"], "open sesame", "open sesame")
    assert result == 0 and "in force" in shown and "sesame" not in shown, shown
    assert code(d.port, user="ann", password="open sesame") == 0
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600 and "sesame" not in text
    assert "$pbkdf2-sha512$" in text and "SCRAM-SHA-256$" in text and "SCRAM-SHA-1$" not in text and "operator" in text
    assert int(re.search(r"\$pbkdf2-sha512\$(\d+)", text)[1]) >= 10000

    result, shown = on_terminal(d, ["user", "passwd", "ann"], "lamp", "lump")
    assert result == 1 and "differ" in shown and path.read_text() == text
    c = raw.client(d.port, "stays", user="ann", password="open sesame")
    result, shown = on_terminal(d, ["user", "passwd", "ann"], "lamp", "lamp")
    assert result == 0 and c.closed(), "it came with the old password"
    assert code(d.port, user="ann", password="open sesame") == 4
    assert code(d.port, user="ann", password="lamp") == 0
    assert "operator" in path.read_text()

    done = ctl(d, "user", "add", "bob", "--scram-sha-1", input="of bob\n")  # a script's way
    assert done.returncode == 0, done.stderr
    assert "SCRAM-SHA-1$" in path.read_text()
    assert ctl(d, "user", "passwd", "bob", input="of bob too\n").returncode == 0
    assert path.read_text().count("SCRAM-SHA-1$") == 1, "what it had it has again"
    listed = ctl(d, "user", "list").stdout
    assert "ann\tpassword, SCRAM-SHA-256\troles operator" in listed and "bob\tpassword, SCRAM-SHA-256, SCRAM-SHA-1" in listed
    assert "pbkdf2" not in listed

    text = path.read_text()
    c = raw.client(d.port, "stays", user="ann", password="lamp")
    assert ctl(d, "user", "roles", "ann", "--role", "a", "--role", "b").returncode == 0
    assert "roles a, b" in ctl(d, "user", "list").stdout
    assert path.read_text().replace('"a", "b"', '"operator"') == text, "and nothing else has changed"
    c.quiet()
    assert ctl(d, "user", "roles", "ann").returncode == 0
    assert "roles" not in ctl(d, "user", "list").stdout

    assert ctl(d, "user", "remove", "ann").returncode == 0
    assert code(d.port, user="ann", password="lamp") == 4
    assert code(d.port, user="bob", password="of bob too") == 0
    assert d.stop() == 0, d.log()
    done = ctl(d, "user", "add", "carl", input="without the daemon\n")
    assert done.returncode == 0 and "does not run" in done.stdout
    d.start()
    assert code(d.port, user="carl", password="without the daemon") == 0
    assert d.stop() == 0, d.log()


WRONG_USE = {
    "a password as argument": (["user", "add", "ann", "sesame"], 2, "too much"),
    "nobody": (["user", "add"], 2, "whose"),
    "no such command": (["user", "rename", "ann"], 2, "rename"),
    "there already, in the configuration": (["user", "add", "ann"], 1, "stands in"),
    "not there": (["user", "passwd", "bob"], 1, "is not there"),
    "not there to remove": (["user", "remove", "bob"], 1, "is not there"),
    "a name that is none": (["user", "add", "a\nb"], 1, "control characters"),
    "roles with a password": (["user", "passwd", "ann", "--role", "x"], 2, "does not go with"),
    "a mechanism with roles": (["user", "roles", "ann", "--scram-sha-1"], 2, "does not go with"),
    "roles of nobody": (["user", "roles", "bob", "--role", "x"], 1, "is not there"),
    "of the configuration": (["user", "remove", "ann"], 1, "is changed there"),
}


@pytest.mark.parametrize("what", WRONG_USE)
def test_wrong_use_of_user_commands(tmp_path, what):
    words, result, said = WRONG_USE[what]
    d = daemon(tmp_path, ANN)
    (tmp_path / "state").mkdir()
    done = ctl(d, *words, input="sesame\n")
    assert done.returncode == result and said in done.stderr, done.stderr
    assert not (tmp_path / "state" / "users.conf").exists()


def test_empty_password_is_none(tmp_path):
    d = daemon(tmp_path, ANN)
    (tmp_path / "state").mkdir()
    done = ctl(d, "user", "add", "bob", input="\n")
    assert done.returncode == 1 and "no password" in done.stderr
    done = ctl(d, "user", "add", "bob", input="x" * 2000 + "\n")
    assert done.returncode == 1 and "at most" in done.stderr
    assert not (tmp_path / "state" / "users.conf").exists()


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="as root without setpriv")
def test_users_file_that_may_not_be_changed(tmp_path):
    d = daemon(tmp_path, ANN)
    state = tmp_path / "state"
    state.mkdir()
    assert ctl(d, "user", "add", "bob", input="lamp\n").returncode == 0
    text = (state / "users.conf").read_text()
    state.chmod(0o555)
    as_other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    for folder in [tmp_path, *list(tmp_path.parents)[:3]]:
        folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run([*as_other, SLUICECTL, "-c", d.conf_path, "user", "remove", "bob"], capture_output=True, text=True)
    state.chmod(0o755)
    assert done.returncode == 1 and "only root" in done.stderr + done.stdout or "users file is wrong" in done.stderr, done.stderr
    assert (state / "users.conf").read_text() == text



# SPDX-License-Identifier: Apache-2.0
"""Users for tests: their entries as the standards say, computed by Python, and sluicectl."""
import base64
import hashlib
import hmac
import json
import os
import socket
import subprocess

from daemon import SLUICECTL, Sluiced, free_port, wait_for


def b64(data):
    return base64.b64encode(data).decode()


def entry(password, count=1000):
    salt = os.urandom(16)
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, count)
    return f"$pbkdf2-sha512${count}${b64(salt)}${b64(made)}"


def verifier(mechanism, password, count=4096):
    """RFC 5803."""
    name = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}[mechanism]
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac(name, password.encode(), salt, count)
    stored = hashlib.new(name, hmac.digest(salted, b"Client Key", name)).digest()
    return f"{mechanism}${count}:{b64(salt)}${b64(stored)}:{b64(hmac.digest(salted, b'Server Key', name))}"


def user(name, password=None, roles=(), scram=(), count=1000):
    out = f'{{ name = "{name}";'
    if password is not None:
        out += f' password = "{entry(password, count)}";'
    if roles:
        out += f" roles = [ {', '.join(json.dumps(r) for r in roles)} ];"
    if scram:
        out += f" scram = [ {', '.join(json.dumps(verifier(m, password)) for m in scram)} ];"
    return out + " }"


def users(*all_of_them):
    return f"users = ( {', '.join(all_of_them)} );\n"


ANYTHING = 'acl = ( { allow = "all"; topic = "#"; } );\n'


def daemon(folder, conf, anonymous=False):
    """Not started. With a listener on its port that takes anonymous clients or does not."""
    d = Sluiced(folder, conf, listener="own")
    configure(d, conf, anonymous)
    return d


def configure(d, conf, anonymous=False):
    d.configure(f'listeners = ( {{ bind = "127.0.0.1:{d.port}"; anonymous = {"true" if anonymous else "false"}; }} );\n' + conf)


def ctl(d, *args, **more):
    return subprocess.run([SLUICECTL, "-c", d.conf_path, *args], capture_output=True, text=True, timeout=60, **more)


def status(d, section="auth"):
    done = ctl(d, "--json", "status")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[section]


def reload(d, conf, anonymous=False):
    """In force when it returns."""
    configure(d, conf, anonymous)
    done = ctl(d, "reload")
    assert done.returncode == 0, done.stderr


def check(folder, conf):
    """What --check says of a configuration: (exit status, text)."""
    d = Sluiced(folder, conf, listener=False)
    done = subprocess.run([d.argv[0], "--check", d.conf_path], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr + done.stdout


def from_address(address, port):
    """A socket whose peer sees address, one of the loopback network's."""
    s = socket.socket()
    s.bind((address, 0))
    s.connect(("127.0.0.1", port))
    return s


__all__ = ["ANYTHING", "b64", "check", "configure", "ctl", "daemon", "entry", "free_port", "from_address", "reload", "status", "user",
           "users", "verifier", "wait_for"]

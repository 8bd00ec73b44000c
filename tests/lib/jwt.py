# SPDX-License-Identifier: Apache-2.0
"""Tokens (RFC 7515, RFC 7519) made with Python's hmac and openssl: right ones, and wrong ones of every kind."""
import base64
import hashlib
import hmac
import json
import subprocess
import time
from pathlib import Path

from daemon import openssl


def b64(data):
    return base64.urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()


def raw_of_der(der):
    """r and s of an ECDSA signature side by side, 32 bytes each."""
    assert der[0] == 0x30 and der[2] == 2
    size = der[3]
    r, s = der[4:4 + size], der[6 + size:6 + size + der[5 + size]]
    return b"".join(int.from_bytes(x, "big").to_bytes(32, "big") for x in (r, s))


class Issuer:
    """Signs with one key. alg: what tokens say; how: what is really done."""

    def __init__(self, folder, alg, name=None, curve="prime256v1", bits=2048):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / (name or alg)
        self.alg, self.secret, self.key, self.file = alg, None, stem.with_suffix(".key"), stem.with_suffix(".pem")
        if alg == "HS256":
            self.secret = openssl("rand", "-hex", 32).strip().encode()
            self.file.write_bytes(self.secret + b"\n")
            self.file.chmod(0o600)
        elif alg == "RS256":
            openssl("genrsa", "-out", self.key, bits)
            openssl("pkey", "-in", self.key, "-pubout", "-out", self.file)
        else:
            openssl("ecparam", "-name", curve, "-genkey", "-noout", "-out", self.key)
            openssl("pkey", "-in", self.key, "-pubout", "-out", self.file)

    def row(self, **more):
        rest = "".join(f' {k} = "{v}";' for k, v in more.items())
        return f'{{ alg = "{self.alg}"; file = "{self.file}";{rest} }}'

    def signature(self, data):
        if self.secret:
            return hmac.digest(self.secret, data, "sha256")
        done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=data, capture_output=True, check=True)
        return done.stdout if self.alg == "RS256" else raw_of_der(done.stdout)

    def token(self, header=None, **claims):
        """With the claims that are wanted, unless they are given otherwise; None leaves one out."""
        all_claims = {"sub": "ann", "aud": "plant", "exp": int(time.time()) + 600} | claims
        return self.of_text(json.dumps({"alg": self.alg, "typ": "JWT"} | (header or {})),
                            json.dumps({k: v for k, v in all_claims.items() if v is not None}))

    def of_text(self, header, claims):
        data = b64(header) + "." + b64(claims)
        return f"{data}.{b64(self.signature(data.encode()))}"


def hmac_with(key, header, claims):
    """Signed by HS256 with whatever key."""
    data = b64(json.dumps(header)) + "." + b64(json.dumps(claims))
    return f"{data}.{b64(hmac.new(key, data.encode(), hashlib.sha256).digest())}"

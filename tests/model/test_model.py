# SPDX-License-Identifier: Apache-2.0
"""Sequences of what several clients do, made at random, played to a daemon and judged by a model of the standard: what should
arrive does, what should not does not, in order, QoS 2 exactly once, through acknowledgements in any order, take-overs, wills and
kill -9. Each sequence has a seed; one that fails is made as short as it stays failing, and printed.

SLUICE_MODEL_SECONDS says how long (make soak: long), SLUICE_SEED=N repeats the sequence with that seed alone."""
import os
import random
import time

import actions
import pytest
from daemon import Process, Sluiced
from player import CONF, Player
from standard import Undecided

SECONDS = float(os.environ.get("SLUICE_MODEL_SECONDS", "30"))
SEED = os.environ.get("SLUICE_SEED")


def make(seed):
    return actions.sequence(random.Random(seed))


class House:
    """A daemon to play to; after a failure a new one, since what is left in the old one is in the way."""

    def __init__(self, folder, linger="0ms", **more):
        self.conf = CONF + f'store = {{ linger = "{linger}"; }};'
        self.folder, self.count, self.daemon, self.undecided, self.more = folder, 0, None, 0, more

    def play(self, sequence):
        """None, or what is wrong."""
        if not self.daemon:
            self.count += 1
            self.daemon = Sluiced(self.folder / str(self.count), self.conf).start()
            self.player = Player(self.daemon, actions.TOPICS, **self.more)
        try:
            self.player.play(sequence)
            return None
        except Undecided:
            self.undecided += 1
            self.end()
            return None
        except AssertionError as e:
            self.end()
            return f"at {self.player.at}: {e}"

    def end(self):
        if self.daemon:
            self.daemon.kill()
            Process.started[:] = [p for p in Process.started if p is not self.daemon]
        self.daemon = None


def shorten(house, sequence, rounds=150):
    """Leaves out what is not needed for the failure: halves first, then less."""
    size = len(sequence) // 2
    while size and rounds:
        at = 0
        while at < len(sequence) and rounds:
            rounds -= 1
            shorter = sequence[:at] + sequence[at + size:]
            if house.play(shorter):
                sequence = shorter
            else:
                at += size
        size //= 2
    return sequence


def tell(house, seed, wrong):
    short = shorten(house, make(seed))
    lines = "".join(f"\n  {i:3} {x!r}" for i, x in enumerate(short))
    return f"SLUICE_SEED={seed}: {wrong}\nshortest that fails ({house.play(short) or 'not always'}):{lines}"


@pytest.mark.parametrize("linger", ["0ms", "4ms"])
def test_sequences(fast_path, linger):
    """Half of the time with commits that take a while: much is held back then when the next thing happens."""
    first = int(SEED) if SEED else random.SystemRandom().randrange(1 << 32)
    print(f"\nsequences from SLUICE_SEED={first} on", end="", flush=True)
    house, end, count, steps = House(fast_path, linger), time.monotonic() + SECONDS / 2, 0, 0
    while not count or (time.monotonic() < end and not SEED):
        sequence = make(first + count)
        wrong = house.play(sequence)
        if wrong:
            pytest.fail(tell(House(fast_path / "short", linger, patience=2), first + count, wrong), pytrace=False)
        count, steps = count + 1, steps + len(sequence)
    print(f": {count} sequences ({house.undecided} of them left undecided), {steps} actions ", end="")
    assert not house.daemon or house.daemon.stop() == 0, house.daemon.log()


class Tamper:
    """Lets the clients see the number-th PUBLISH otherwise than it came, and its message from then on."""

    def __init__(self, number, how):
        self.number, self.how, self.payload = number, how, None

    def __call__(self, p):
        if p.topic and not p.topic.startswith("$sync/"):
            self.number -= 1
            if not self.number:
                self.payload = p.payload
            if p.payload == self.payload:
                return self.how(p)
        return [p]


def changed(p, **fields):
    vars(p).update(fields)
    return [p]


TAMPERINGS = {"lost": lambda p: [], "twice": lambda p: [p, p], "another payload": lambda p: changed(p, payload=p.payload + b"!"),
              "another flag": lambda p: changed(p, retain=not p.retain), "another topic": lambda p: changed(p, topic=p.topic + "/z")}


@pytest.mark.parametrize("how", TAMPERINGS)
def test_notices(fast_path, how):
    """The test of the test: of packets that clients see otherwise than the broker sent them the model notices nearly all. Not
    those that may or may not come, such as what is sent anew after kill -9."""
    tried = noticed = 0
    for seed in range(60):
        tamper = Tamper(1 + seed % 9, TAMPERINGS[how])
        house = House(fast_path / f"{how}{seed}", patience=0.5, tamper=tamper)
        wrong = house.play(make(seed))
        house.end()
        tried += tamper.payload is not None
        noticed += bool(wrong)
        assert tamper.payload is not None or not wrong, f"SLUICE_SEED={seed}: {wrong}"
    print(f"\n{how}: {noticed} of {tried} noticed", end=" ")
    assert tried > 20 and noticed >= tried * (0.6 if how == "lost" else 0.9)

# SPDX-License-Identifier: Apache-2.0
"""The demo: a short one passes, and its verdict finds whatever is done to what arrived."""
import os
import subprocess
import sys

import pytest
from daemon import SIM, SLUICECTL, SLUICED, TOP

pytestmark = pytest.mark.skipif(not all(p.exists() for p in (SLUICED, SLUICECTL, SIM)), reason="not built")


def demo(folder, *options, **env):
    return subprocess.run([sys.executable, TOP / "tests/demo/demo.py", *options], capture_output=True, text=True,
                          timeout=180, env={**os.environ, "DEMO_FOLDER": str(folder), **env})


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    done = demo(folder, "--quick")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    return folder, done.stdout


def test_shows_what_happens(played):
    _, out = played
    for words in ("falls silent", "boiler is dead", "boiler is online again", "cutting the link", "kill -9",
                  "the link is back", "an orderly stop", "nothing waits any more", "PASSED"):
        assert words in out
    assert "\033" not in out  # plain when it is not a terminal's
    assert all(len(line) <= 100 for line in out.splitlines())


def test_judges_the_same_again(played):
    folder, out = played
    again = demo(folder, "--judge")
    assert again.returncode == 0
    assert again.stdout.strip().splitlines()[-1] == out.strip().splitlines()[-1]


@pytest.mark.parametrize("how, found", [
    ("lose", "1 lost"),
    ("wrong", "the slave sent"),
    ("stale", "1 wrong"),
    ("time", "s from the end of the frame that brought it"),
    ("reorder", "1 out of order"),
    ("forget", "no reading tells it"),
    ("hush", "was never called dead"),
])
def test_finds_what_is_wrong(played, how, found):
    folder, _ = played
    done = demo(folder, "--judge", DEMO_SABOTAGE=how)
    assert done.returncode == 1, done.stdout + done.stderr
    verdict = done.stdout.split("FAILED", 1)[1]
    assert found in verdict

# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "lib"))

from daemon import Process, Sluiced  # noqa: E402


@pytest.fixture(autouse=True)
def nothing_left_running():
    yield
    while Process.started:
        Process.started.pop().kill()


@pytest.fixture
def sluiced(tmp_path):
    """A running daemon with a plain listener; ends cleanly, or the test fails."""
    d = Sluiced(tmp_path).start()
    yield d
    if d.running():
        assert d.stop() == 0, d.log()

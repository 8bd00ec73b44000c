# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "lib"))

from daemon import Sluiced  # noqa: E402


@pytest.fixture
def sluiced(tmp_path):
    """A running daemon with a plain listener; ends cleanly, or the test fails."""
    d = Sluiced(tmp_path).start()
    yield d
    if d.running():
        assert d.stop() == 0, d.log()

# SPDX-License-Identifier: Apache-2.0
import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def fast_path():
    """A folder in memory: the disk is not what is tested."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-model-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    yield folder
    shutil.rmtree(folder)

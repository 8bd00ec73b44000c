# SPDX-License-Identifier: Apache-2.0
import re

import pytest
from daemon import Process, Sluiced


@pytest.fixture(scope="session")
def shared_daemon(tmp_path_factory):
    """One daemon for all tests that need nothing of their own; it must be well at the end."""
    d = Sluiced(tmp_path_factory.mktemp("shared")).start()
    Process.started.remove(d)  # what is left after each test is killed
    yield d
    assert d.stop() == 0, d.log()


@pytest.fixture
def port(shared_daemon):
    yield shared_daemon.port
    assert shared_daemon.running(), shared_daemon.log()


@pytest.fixture
def own(request):
    """A name that is this test's alone, for clients and topics."""
    return re.sub(r"[^A-Za-z0-9]+", "-", request.node.path.stem.removeprefix("test_") + "-" + request.node.name)

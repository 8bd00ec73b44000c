# SPDX-License-Identifier: Apache-2.0
import re

import pytest
from daemon import Process
from sn_site import Site


@pytest.fixture
def site(tmp_path):
    """site(…) starts one; each must be well at the end."""
    made = []

    def start(line="", conf="", **more):
        made.append(Site(tmp_path / str(len(made)), line, conf, **more).start())
        return made[-1]

    yield start
    for s in made:
        for thing in s.open:
            thing.close()
        if s.running():
            assert s.stop() == 0, s.log()
        assert "ERROR: AddressSanitizer" not in s.log() and "runtime error" not in s.log(), s.log()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One site for tests that need nothing of their own."""
    s = Site(tmp_path_factory.mktemp("motes"), 'qos_minus_one = true; retry = "1s"; predefined = ( { id = 7; topic = "yard/level"; }, '
             '{ id = 8; topic = "yard/valve"; } );').start()
    Process.started.remove(s)
    yield s
    for thing in s.open:
        thing.close()
    assert s.stop() == 0, s.log()


@pytest.fixture
def own(request, shared):
    """A name that is this test's alone; the daemon is there before and after."""
    yield re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)
    assert shared.running(), shared.log()

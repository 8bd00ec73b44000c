# SPDX-License-Identifier: Apache-2.0
import pytest


@pytest.fixture
def ending():
    """ending(x) gives x back and ends it after the test."""
    things = []
    yield lambda x: things.append(x) or x
    for x in reversed(things):
        x.close() if hasattr(x, "close") else x.kill()

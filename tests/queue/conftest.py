"""For the tests of the queue only."""

from __future__ import annotations

import pytest

from ports import free_port


@pytest.fixture
def unused_port() -> int:
    """A port of this machine that nobody listens on."""
    return free_port()

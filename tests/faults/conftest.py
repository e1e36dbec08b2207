"""Workers as real processes and servers that may be crashed: what tests of faults ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import own_server as own_servers
from own_server import OwnServer
from worker_fixtures import call, ended, proxy, source, start_worker

__all__ = ["call", "ended", "own_server", "proxy", "source", "start_worker"]


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    """A PostgreSQL of the test's own, with a migrated database."""
    with own_servers.own_server() as server:
        yield server

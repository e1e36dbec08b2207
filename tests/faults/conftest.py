"""Workers as real processes and servers that may be crashed: what tests of faults ask for."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import own_server as own_servers
from effects import SOURCE, Effects
from own_server import OwnServer
from worker_fixtures import call, ended, proxy, source, start_worker

__all__ = ["call", "ended", "own_server", "proxy", "source", "start_worker"]


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    """A PostgreSQL of the test's own, with a migrated database."""
    with own_servers.own_server() as server:
        yield server


@pytest.fixture
def seed() -> int:
    """Of everything that is drawn; HALFSTEP_TEST_SEED repeats a run."""
    chosen = int(os.environ.get("HALFSTEP_TEST_SEED", 0)) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"HALFSTEP_TEST_SEED={chosen}")
    return chosen


@pytest.fixture
def effects(source: Path, tmp_path: Path) -> Effects:
    """The log of what bodies did; the module `noted` is in the source folder."""
    (source / "noted.py").write_text(SOURCE)
    return Effects(tmp_path / "effects")

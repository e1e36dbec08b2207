"""The bodies of the benchmark's tasks. Imported by workers."""

from __future__ import annotations

import time

from halfstep import task


@task
def noop() -> None:
    """Does nothing."""


@task
def started_at() -> float:
    """When the body began, seconds since 1970. Only to be compared with a clock of the same machine."""
    return time.time()

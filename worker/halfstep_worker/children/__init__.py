"""Warm, reusable, killable child processes: one task body at a time each, driven by one thread of the worker.

`Pool` (pool.py) is the worker's side. A zygote (zygote.py) imports user code once and forks children; each child runs
`runner.py`. Nothing else of the worker is reachable from a body.
"""

from __future__ import annotations

from halfstep_worker.children.messages import Ended, Event, Line, LoadFailed, Progress, TaskMessage, Unstarted
from halfstep_worker.children.pool import Pool
from halfstep_worker.children.settings import Account, PoolSettings, allowed_environment, environment_of

__all__ = [
    "Account",
    "Ended",
    "Event",
    "Line",
    "LoadFailed",
    "Pool",
    "PoolSettings",
    "Progress",
    "TaskMessage",
    "Unstarted",
    "allowed_environment",
    "environment_of",
]

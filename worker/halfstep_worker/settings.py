"""What a worker is told when it starts. Read from flags and the environment by the command; passed down from here."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from halfstep import limits
from halfstep_worker.children.settings import Account


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Times are seconds, sizes bytes."""

    database_url: str = field(repr=False)
    listen_url: str | None = field(default=None, repr=False)
    """A direct address for LISTEN where `database_url` goes through a pooler in transaction mode. Default: the same."""
    notify: bool = True
    """Whether to listen for notifications. Without them the worker polls; with them it polls too."""
    queues: Sequence[str] | None = None
    """Which queues to serve, by their weights. Default: all there are, also those that come later."""
    slots: int = 2
    """How many bodies run at once, each in a process of its own."""
    source: Path | None = None
    """Folder of the users' scripts and modules. The zygote starts afresh when it changes."""
    imports: Sequence[str] = ()
    """Modules to import before the first fork, so that their `@task` functions are known and their imports are shared."""
    allow: Sequence[str] = ()
    """Packages whose functions `python` tasks may call without `@task`."""
    connections: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Named connections of the `sql` and `http` operators: name to URL."""
    http_allow: Sequence[str] = ()
    """Hosts or networks that the http operator may reach although they are refused by default."""
    memory_bytes: int | None = None
    """What one body may use. Default: none, unless the container has a limit (then 80 % of it, shared by the slots)."""
    isolation: str = "shared"
    """`shared`: children run body after body, and are made as new between them. `fresh`: a new child for each body."""
    child_tasks: int = 100_000
    """Bodies after which a child is replaced."""
    run_as: Account | None = None
    """Another user that bodies run as. Only root can choose. Default: the worker's own."""
    grace: float = limits.STOP_GRACE_SECONDS
    """How long bodies may run on after a drain began, before they are stopped and released."""
    patience: float = 60.0
    """How long a worker that starts waits for a database that is away: whoever starts workers again waits longer each time."""
    linger: float = 0.0
    """How long a worker that was drained by SQL stays and does nothing, before it ends: its pod is about to be taken away, and a
    container that is started anew there would claim. A signal ends it at once."""
    stop_grace: float = 5.0
    """Between TERM and KILL, for a body that is stopped."""
    write_grace: float = 15.0
    """How long the last ends may take to reach a database that is away, once no body runs. What is not written is rescued."""
    lease_seconds: float = limits.LEASE_SECONDS
    renew_seconds: float = limits.RENEW_SECONDS
    poll_seconds: float = limits.POLL_SECONDS
    """How often an idle worker asks, when no notification comes."""
    placement: str = "worker"
    cluster: str = ""
    name: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    metrics: str | None = None
    """HOST:PORT where /metrics, /healthz and /readyz are served; ":9090" is every address, "9090" loopback. Default: nowhere."""
    parent: int | None = None
    """The process that started this worker, if the worker is to drain when that process is gone."""

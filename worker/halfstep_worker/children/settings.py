"""Settings of a pool, and which part of the worker's environment its children may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from halfstep.limits import RESULT_BYTES

SECRETS = frozenset({"PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE", "PGSSLPASSWORD"})


def allowed_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what is ours (HALFSTEP_*: database and connection URLs) and without PostgreSQL's secrets."""
    return {name: value for name, value in environment.items() if not name.startswith("HALFSTEP_") and name not in SECRETS}


def environment_of(environment: Mapping[str, str], account: Account | None) -> dict[str, str]:
    """What children may see of it; for bodies of another user with that user's home and name."""
    allowed = allowed_environment(environment)
    return allowed if account is None else allowed | {"HOME": account.home, "USER": account.name, "LOGNAME": account.name}


GROWTH_BYTES = 512 * 1024 * 1024
GROWTH_SHARE = 4


@dataclass(frozen=True, slots=True)
class Account:
    """Another user that bodies run as; numbers, as the kernel has them."""

    name: str
    user: int
    group: int
    groups: Sequence[int] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many children there are, what they run and when they are replaced."""

    loader: str = "halfstep_worker.operators:load"
    """`module:function`, called once in the zygote with `loader_settings`; what it returns has `run(operator, args)`."""
    loader_settings: Mapping[str, Any] = field(default_factory=dict)
    """Handed to the loader as JSON, so plain values only. Holds the named connections: they never are environment."""
    slots: int = 2
    """Children at any time, so bodies running at once."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The whole environment of zygote and children; pass `allowed_environment(os.environ)`."""
    result_bytes: int = RESULT_BYTES
    """Largest result as JSON text, bytes; more ends the attempt failed, reason `result`."""
    memory_bytes: int | None = None
    """Most memory that one body with all it starts may use, bytes; none: only the container's limit counts."""
    idle_bytes: int | None = None
    """An idle child that uses more than this is replaced, bytes; none: never for that reason."""
    sample_seconds: float = 0.5
    """How often memory is looked at, where a limit is set."""
    recycle_after: int = 100_000
    """Tasks after which a child is replaced, so that what user code leaks stays bounded; 1: each body has a child of its own."""
    run_as: Account | None = None
    """Whom the bodies run as. Only root can choose; None: the worker's own user."""
    sole: bool = False
    """Whether the calling process starts nothing but this pool, and adopts orphans: then what a killed zygote left is killed."""
    load_seconds: float = 60.0
    """How long `start` waits for user code to be imported."""

    @property
    def growth_bytes(self) -> int:
        """How much more memory than a new one a child may keep after a body, bytes: a quarter of the limit, or 512 MiB."""
        return self.memory_bytes // GROWTH_SHARE if self.memory_bytes else GROWTH_BYTES

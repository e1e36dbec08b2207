"""The table of polluting bodies."""

from __future__ import annotations

from isolation import (
    polluters_hostile,
    polluters_interpreter,
    polluters_lasting,
    polluters_process,
    polluters_programs,
    polluters_streams,
)
from isolation.polluting import TABLE, Polluter

__all__ = ["POLLUTERS", "Polluter"]

POLLUTERS: tuple[Polluter, ...] = tuple(TABLE)
_MODULES = (
    polluters_process,
    polluters_streams,
    polluters_interpreter,
    polluters_lasting,
    polluters_hostile,
    polluters_programs,
)

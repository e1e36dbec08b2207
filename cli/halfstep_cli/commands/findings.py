"""What doctor answers, and what it asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from halfstep.database import Database

Row = Any


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question. ok None: it could not be asked. advice: what to do if it is not ok."""

    name: str
    ok: bool | None
    detail: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """The database, and the address for LISTEN."""

    database: Database
    listen_url: str
    unserved_after: float = 60.0
    """Seconds that a task may wait where nobody serves it."""


Check = Callable[[Patient], Finding]

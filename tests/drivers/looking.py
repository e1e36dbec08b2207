"""What a test of a driver sees of its own queue, from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from halfstep.database import Database


@dataclass(frozen=True, slots=True)
class Look:
    """A queue of the test's own, and the connection that looks into it."""

    database: Database
    queue: str

    def ids(self) -> list[int]:
        """Of the committed tasks, in their order."""
        return [row["id"] for row in self._tasks()]

    def args(self) -> list[dict[str, Any]]:
        """Of the same."""
        return [row["args"] for row in self._tasks()]

    def task(self) -> dict[str, Any]:
        """The only one."""
        (task,) = self._tasks()
        return dict(task)

    def _tasks(self) -> list[Any]:
        return self.database.execute("SELECT * FROM halfstep.task WHERE queue = %(q)s ORDER BY id", {"q": self.queue})

"""What people read: tasks, one task, its log, queues, workers. Plain JSON-able dictionaries; times are ISO 8601 in UTC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from halfstep.database import Database, Row
from halfstep.errors import NotFound

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks to list, newest first. None: no restriction."""

    states: Sequence[str] | None = None
    queue: str | None = None
    operator: str | None = None
    label: str | None = None
    """key=value"""
    limit: int = 50
    cluster: str | None = None
    """Only pod tasks, for this cluster; `""` is the default one."""


class Reports:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def tasks(self, wanted: TaskFilter | None = None) -> list[Report]:
        """One short record a task: id, state, queue, operator, placement, cluster, attempt, times, error and more."""
        chosen = wanted or TaskFilter()
        key, _, value = (chosen.label or "").partition("=")
        rows = self.database.run(
            "list_tasks", states=None if chosen.states is None else list(chosen.states), queue=chosen.queue,
            operator=chosen.operator, cluster=chosen.cluster, label_key=key or None, label_value=value, limit=chosen.limit,
        )  # fmt: skip
        return [as_report(row) for row in rows]

    def show(self, task: int) -> Report:
        """Everything about one task, with its attempts in order. Raises NotFound."""
        rows = self.database.run("show_task", id=task)
        if not rows:
            raise NotFound(f"There is no task {task}.")
        report = as_report(rows[0])
        report["attempts"] = [as_report(row) for row in self.database.run("show_attempts", id=task)]
        return report

    def states(self, tasks: Sequence[int]) -> dict[int, str]:
        """The state of each of these tasks that exists."""
        return {row["id"]: row["state"] for row in self.database.run("task_states", ids=list(tasks))}

    def log(self, task: int, *, after: tuple[int, int] = (0, -1)) -> Iterator[tuple[tuple[int, int], Report]]:
        """Lines of the task's log after a position (attempt, chunk): pairs of the position and {attempt, at, stream, text}.

        With `goes_on`, true, where the body had not ended the line: the next one of this stream is the rest of it, or more of it.
        """
        for row in self.database.run("read_log", id=task, attempt=after[0], chunk=after[1]):
            for at, stream, text, *goes_on in row["lines"]:
                line = {"attempt": row["attempt"], "at": at, "stream": stream, "text": text}
                yield (row["attempt"], row["chunk"]), line | ({"goes_on": True} if goes_on else {})

    def queues(self, *, cap: int = 10_000) -> list[Report]:
        """One record a queue: name, weight, paused, operators, and its ready, scheduled and running tasks (up to `cap`)."""
        return [as_report(row) for row in self.database.run("list_queues", cap=cap)]

    def workers(self, *, everyone: bool = False) -> list[Report]:
        """One record a worker, the living ones first; `everyone`: also those that ended within the last day."""
        return [as_report(row) for row in self.database.run("list_workers", everyone=everyone)]

    def finished_since(self, moment: datetime) -> int:
        """How many tasks ended after `moment`."""
        return int(self.database.run("finished_since", moment=moment)[0]["finished"])


def as_report(row: Row) -> Report:
    """A row as plain JSON-able values."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value

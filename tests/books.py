"""The queue's books, read from SQL alone: what must hold whatever has happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from halfstep.database import Row

OVER = ("succeeded", "failed", "cancelled")
SNAPSHOT = """
SELECT (SELECT json_agg(json_build_array(id, state, attempt, failures, deaths, alone, cancel_requested_at IS NOT NULL,
                                         claim_token, worker_id) ORDER BY id) FROM halfstep.task) AS live,
       (SELECT json_agg(json_build_array(id, state, coalesce(reason, ''), attempt, claim_token IS NOT NULL) ORDER BY id)
        FROM halfstep.history) AS over,
       (SELECT json_agg(json_build_array(key, task_id) ORDER BY key) FROM halfstep.unique_key) AS keys,
       (SELECT json_agg(json_build_array(task_id, number, outcome)) FROM halfstep.attempt) AS attempts
"""
"""Everything at one moment: live and finished tasks, keys, attempts that were told."""


@dataclass(slots=True)
class Modelled:
    """A task as it should be. `told`: its attempts before the one that its own row tells."""

    id: int
    queue: str
    placement: str
    key: str | None
    at_most_once: bool
    state: str
    attempt: int = 0
    failures: int = 0
    deaths: int = 0
    alone: bool = False
    cancel: bool = False
    token: str | None = None
    worker: str | None = None
    reason: str = ""
    told: list[tuple[int, str]] = field(default_factory=list)

    def end(self, state: str, reason: str = "") -> None:
        """Leaves the hot table; the row remembers its token, whose worker is nobody's business any more."""
        self.state, self.reason = state, reason

    def back(self, state: str, outcome: str | None) -> None:
        """Waits again; an attempt that had begun is told."""
        if outcome:
            self.told.append((self.attempt, outcome))
        self.state, self.token, self.worker = state, None, None

    def as_live(self) -> list[Any]:
        """Its row of `live` in SNAPSHOT."""
        return [
            self.id, self.state, self.attempt, self.failures, self.deaths, self.alone, self.cancel, self.token, self.worker
        ]  # fmt: skip


def check_books(seen: Row, *, enqueued: int, pruned: int) -> None:
    """What must hold whatever happened: each task in one place, keys of the living only, each attempt told once."""
    live, over, told = seen["live"] or [], seen["over"] or [], seen["attempts"] or []
    ids = [row[0] for row in live] + [row[0] for row in over]
    assert len(ids) == len(set(ids)) == enqueued - pruned
    assert {row[1] for row in live} <= {"scheduled", "ready", "running"}
    assert {row[1] for row in over} <= set(OVER)
    keys = [holder for _, holder in seen["keys"] or []]
    assert len(keys) == len(set(keys))
    assert set(keys) <= {row[0] for row in live}
    own = {(row[0], row[2]) for row in live if row[1] == "running"} | {(row[0], row[3]) for row in over if row[4]}
    for id, attempt in [(row[0], row[2]) for row in live] + [(row[0], row[3]) for row in over]:
        numbers = sorted([number for task, number, _ in told if task == id] + [number for task, number in own if task == id])
        assert numbers == list(range(1, attempt + 1)), f"task {id} has had {attempt} attempts, and told are {numbers}"

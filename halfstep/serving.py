"""Who is there for which tasks, and which tasks wait where nobody is. Pure arithmetic over what SQL says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from halfstep.demand import Backlog

UNSERVED_SECONDS = 60.0
"""Whoever has waited for less may have a worker that is just starting."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A worker that lives, or a scaler's ScaledObject for which KEDA would start one. None: whatever it is."""

    kind: str
    """worker or scaler"""
    placement: str | None
    cluster: str | None
    queues: Sequence[str] | None

    def covers(self, backlog: Backlog) -> bool:
        """Whether tasks of this queue, placement and cluster are for it."""
        return (
            self.placement in (None, backlog.placement)
            and self.cluster in (None, backlog.cluster)
            and (self.queues is None or backlog.queue in self.queues)
        )


def unserved(backlogs: Iterable[Backlog], serving: Iterable[Serving], *, after: float = UNSERVED_SECONDS) -> list[Backlog]:
    """Those that nobody covers, whose oldest task has waited for over `after` seconds; the most tasks first. None is paused."""
    known = list(serving)
    lonely = [
        backlog
        for backlog in backlogs
        if backlog.waiting and not backlog.paused and backlog.oldest_seconds > after and not any(s.covers(backlog) for s in known)
    ]
    return sorted(lonely, key=lambda backlog: (-backlog.waiting, backlog.queue, backlog.placement, backlog.cluster))

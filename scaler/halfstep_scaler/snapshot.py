"""What is known of demand at one moment. Made by the reader's thread, never changed, read by the event loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from halfstep.demand import Backlog, is_active
from halfstep_scaler.metadata import Target

Place = tuple[str, str]
"""placement and cluster."""
Means = Mapping[tuple[str, str], float]
"""Seconds that a body takes, by queue and placement."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """taken_at: monotonic seconds, when the database was asked. cap: how far each kind of work was counted."""

    taken_at: float
    cap: int
    places: Mapping[Place, Mapping[str, Backlog]]
    active: Mapping[Place, frozenset[str]]
    """Queues with something to do."""
    means: Means = field(default_factory=dict)

    def backlogs(self, target: Target) -> list[Backlog]:
        """Those of the target's queues; a queue that nobody ever used has none."""
        known = self.places.get((target.placement, target.cluster), {})
        if target.queues is None:
            return list(known.values())
        return [known[queue] for queue in target.queues if queue in known]

    def is_active(self, target: Target) -> bool:
        """Whether anything waits, runs or is parked in the target's queues."""
        active = self.active.get((target.placement, target.cluster))
        if not active:
            return False
        return target.queues is None or not active.isdisjoint(target.queues)


def snapshot_of(backlogs: Iterable[Backlog], *, taken_at: float, cap: int, means: Means) -> Snapshot:
    """Sorts a reading by place."""
    places: dict[Place, dict[str, Backlog]] = {}
    for backlog in backlogs:
        places.setdefault((backlog.placement, backlog.cluster), {})[backlog.queue] = backlog
    active = {place: frozenset(q for q, b in queues.items() if is_active([b])) for place, queues in places.items()}
    return Snapshot(taken_at, cap, places, active, means)

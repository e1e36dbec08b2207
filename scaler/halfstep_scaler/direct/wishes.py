"""From snapshots to wishes: what the work of each named ScaledObject needs. Used by the event loop only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf

from halfstep_scaler.answers import wanted
from halfstep_scaler.direct.steering import Name, Wish
from halfstep_scaler.objects import ScaledObject, ScaledObjects
from halfstep_scaler.snapshot import Snapshot

LOOK_SECONDS = 1.0
ASKED_SECONDS = 90.0
"""Who has not asked for so long, and has no stream open, is not there any more, or has other metadata now."""


class Wishes:
    """Nobody's wish is known before KEDA has asked for it. clock: monotonic seconds."""

    def __init__(self, objects: ScaledObjects, names: Iterable[Name], *, clock: Callable[[], float]) -> None:
        self._objects = objects
        self._names = tuple(names)
        self._clock = clock
        self._looked_at = -inf
        self._asking: dict[Name, list[ScaledObject]] = {}
        self._since: dict[ScaledObject, float] = {}
        self._steady: dict[Name, int] = {}

    def of(self, snapshot: Snapshot) -> Mapping[Name, Wish]:
        """Cheap: it is asked at every snapshot. Only once a second it looks who asks, and what is steady."""
        now = self._clock()
        if now - self._looked_at >= LOOK_SECONDS:
            self._look(snapshot, now)
        return {name: self._wish(name, asking, snapshot) for name, asking in self._asking.items()}

    def _look(self, snapshot: Snapshot, now: float) -> None:
        self._looked_at = now
        found = {name: self._objects.asking(*name, since=now - ASKED_SECONDS) for name in self._names}
        self._asking = {name: asking for name, asking in found.items() if asking}
        self._since = {one: self._since.get(one, now) for asking in self._asking.values() for one in asking}
        self._steady = {name: max(one.wanted(snapshot, now) for one in asking) for name, asking in self._asking.items()}

    def _wish(self, name: Name, asking: list[ScaledObject], snapshot: Snapshot) -> Wish:
        # The HPA takes the largest of several triggers. A minimum without work is not there to be kept: KEDA goes to zero.
        number = max(wanted(snapshot, one.target) if snapshot.is_active(one.target) else 0 for one in asking)
        placements = {one.target.placement for one in asking}
        return Wish(
            now=number,
            steady=max(number, self._steady[name]),
            placement=placements.pop() if len(placements) == 1 else "",
            triggers=len(asking),
            since=max(self._since[one] for one in asking),
            taken_at=snapshot.taken_at,
        )

"""For which queues this scaler waits: those of targets that have nothing to do. Only for them enqueue sends a notification."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from math import inf

from halfstep.scaling import ScalingBook
from halfstep_scaler.metadata import Target
from halfstep_scaler.snapshot import Snapshot

ALL = "*"
RENEW_SECONDS = 20.0
"""Others take a scaler that has not renewed its row for a minute as gone."""
MOST_NAMES = 200
"""Every enqueue looks through the names; for more of them a scaler waits for all queues."""


def idle_queues(targets: Iterable[Target], snapshot: Snapshot) -> frozenset[str]:
    """Queues whose first task is news: none of the target's has anything to do. `*`: those of a target that wants all."""
    idle = [target.queues for target in targets if not snapshot.is_active(target)]
    names = frozenset().union(*(frozenset({ALL}) if queues is None else queues for queues in idle))
    return names if len(names) <= MOST_NAMES and ALL not in names else frozenset({ALL})


class WaitingList:
    """Keeps the scaler's row in SQL as it should be. Used by the reader's thread."""

    def __init__(self, book: ScalingBook, name: str) -> None:
        self._book = book
        self._id = str(uuid.uuid4())
        self._name = name
        self._told: frozenset[str] = frozenset()
        self._told_at = -inf

    def tell(self, queues: frozenset[str], *, now: float) -> bool:
        """Writes the row if it changes or grows old. Returns whether queues were added: what came before is still unseen."""
        if queues == self._told and now - self._told_at < RENEW_SECONDS:
            return False
        self._book.wait_for(self._id, self._name, sorted(queues))
        added = not queues <= self._told
        self._told, self._told_at = queues, now
        return added

    def leave(self) -> None:
        """Waits for nothing any more."""
        self.tell(frozenset(), now=inf)

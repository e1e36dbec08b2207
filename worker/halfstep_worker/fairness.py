"""Which queue is asked first. Every queue gets turns in the proportion of its weight; none starves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping


class QueueOrder:
    """Orders queues by the service they had so far, divided by their weight (start-time fair queueing).

    A queue that had nothing to offer does not save up turns: when it comes back it stands where the least served one stands.
    """

    def __init__(self) -> None:
        self._weights: dict[str, int] = {}
        self._served: dict[str, float] = {}

    def update(self, weights: Mapping[str, int]) -> None:
        """The queues that are served now, and their weights."""
        start = min(self._served.values(), default=0.0)
        self._weights = dict(weights)
        self._served = {name: self._served.get(name, start) for name in weights}

    def names(self) -> list[str]:
        """The queues, the one that is most behind first."""
        return sorted(self._served, key=lambda name: (self._served[name], name))

    def note(self, claimed: Iterable[str], *, short: bool) -> None:
        """Counts what was claimed. `short`: the claim got less than it asked for, so every other queue was empty."""
        taken = Counter(claimed)
        for name, count in taken.items():
            if name in self._served:
                self._served[name] += count / self._weights[name]
        if short and taken:
            level = min(self._served[name] for name in taken if name in self._served)
            self._served = {name: max(served, level) for name, served in self._served.items()}

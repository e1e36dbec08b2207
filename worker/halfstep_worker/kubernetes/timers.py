"""What is due when: one heap for all flights. Times are monotonic seconds."""

from __future__ import annotations

import heapq
from itertools import count


class Timers:
    """Entries are never taken out early: whoever hears of one checks whether it still means something."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str, str]] = []
        self._order = count()

    def set(self, at: float, attempt_id: str, word: str) -> None:
        """`word` is heard for the attempt at or after `at`."""
        heapq.heappush(self._heap, (at, next(self._order), attempt_id, word))

    def next_at(self) -> float | None:
        """When the next is due."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[tuple[str, str]]:
        """(attempt, word) of all that are due."""
        heard = []
        while self._heap and self._heap[0][0] <= now:
            _, _, attempt_id, word = heapq.heappop(self._heap)
            heard.append((attempt_id, word))
        return heard

"""When the exchange asks again although nothing is to be written. Pure; times are monotonic seconds."""

from __future__ import annotations

import random

QUICK = (0.002, 0.01, 0.02, 0.05, 0.1, 0.25)
"""Pauses after which a worker that has just turned idle asks again: a hint lost in the gap costs one short poll."""
PATIENCE_SECONDS = 5.0


class Polling:
    """Asks at once while the queue gives what is asked for, quickly after it ran dry, then every `poll_seconds`."""

    def __init__(self, poll_seconds: float) -> None:
        self._poll_seconds = poll_seconds
        self._empty_rounds = 0
        self.next_at = 0.0
        self.hungry = True
        """The last answer was as large as the wish: there is probably more."""

    @property
    def idle(self) -> bool:
        """The queue had nothing the last time: say that this worker waits."""
        return self._empty_rounds > 0

    def due(self, now: float) -> bool:
        """Is it time to ask?"""
        return self.hungry or now >= self.next_at

    def hint(self) -> None:
        """Somebody says that there is work."""
        self.next_at = 0.0

    def note(self, *, got: int, wanted: int, now: float) -> None:
        """What the last question brought."""
        self.hungry = got >= wanted
        self._empty_rounds = 0 if got else self._empty_rounds + 1
        quick = QUICK[min(self._empty_rounds, len(QUICK)) - 1] if self._empty_rounds else QUICK[0]
        pause = self._poll_seconds if self._empty_rounds > len(QUICK) else min(quick, self._poll_seconds)
        self.next_at = now + pause * (random.uniform(0.9, 1.0) if self._empty_rounds > len(QUICK) else 1.0)


class Patience:
    """Suspects (tasks that must run alone) wait for an empty worker. If none comes, a busy one claims no more until it is."""

    def __init__(self) -> None:
        self.suspects = False
        self._since = 0.0
        self._limit = PATIENCE_SECONDS

    def note(self, *, suspects: bool, now: float) -> None:
        """Whether suspects wait, as the last exchange saw it."""
        if suspects and not self.suspects:
            self._since, self._limit = now, PATIENCE_SECONDS * random.uniform(1.0, 2.0)
        self.suspects = suspects

    def runs_dry(self, now: float) -> bool:
        """Is it this worker's turn to become empty?"""
        return self.suspects and now - self._since > self._limit

"""Bodies that were lost through no fault that is known: who is there each time is taken for the cause."""

from __future__ import annotations

from collections import Counter

from halfstep.outcomes import Failed

MOST_LOSSES = 3
MOST_TASKS = 10_000
"""So many tasks are remembered; one that was lost and then ran elsewhere is never heard of again."""
APART_SECONDS = 5.0
"""Two that were lost begin no nearer to each other than this: one may be the cause, and the other is not to share its fate."""


class Losses:
    """Of one worker, by task. Used by its loop only."""

    def __init__(self) -> None:
        self._seen: Counter[int] = Counter()
        self._apart_until = 0.0

    def __bool__(self) -> bool:
        return bool(self._seen)

    def may_begin(self, task: int, now: float) -> bool:
        """Whether this one may be given to a child: no other one that was lost was given to one lately and is still there.

        One that was lost counts as given by the answer. now: monotonic seconds.
        """
        if task not in self._seen:
            return True
        if now < self._apart_until:
            return False
        self._apart_until = now + APART_SECONDS
        return True

    def note(self, task: int) -> Failed | None:
        """The body of this task was killed with its process or the one that it came from, or before it said that it began.

        The failure, if that has happened too often: a body that is there once may be innocent.
        """
        self._apart_until = 0.0
        if len(self._seen) >= MOST_TASKS:
            self._seen.clear()
        self._seen[task] += 1
        if self._seen[task] < MOST_LOSSES:
            return None
        del self._seen[task]
        return Failed(
            f"Each of {MOST_LOSSES} times that the body ran, the process that it runs in or comes from was killed.", "crash"
        )

    def forget(self, task: int) -> None:
        """It has ended otherwise."""
        if self._seen.pop(task, None):
            self._apart_until = 0.0

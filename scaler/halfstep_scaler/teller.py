"""When an open stream says what. Pure: no clock and no waiting of its own; seconds are those of the caller's clock.

KEDA writes to Kubernetes for every `true`, and drops the first one of a ScaledObject whose status is not filled in yet.
So: the state at first, then edges, no two words within a second but for the edge that starts work; a `true` is repeated once
after a few seconds, and then seldom, for as long as it holds.
"""

from __future__ import annotations

from math import inf

QUIET_SECONDS = 1.0
REPEAT_SECONDS = 3.0


class Teller:
    """`note` what is, `due` tells when to `say` it."""

    def __init__(self, *, refresh: float) -> None:
        self._refresh = refresh
        self._active: bool | None = None
        self._said: bool | None = None
        self._said_at = -inf
        self._repeat_at = inf
        self._unsaid = False

    @property
    def active(self) -> bool:
        """The state that was noted last; inactive before the first."""
        return bool(self._active)

    def note(self, active: bool) -> None:
        """The state now; calling it without a change is fine."""
        if active is not self._active:
            self._active = active
            self._unsaid = True

    def due(self) -> float:
        """When there is something to say: a time, -inf for at once, inf for never."""
        if self._unsaid:
            starts = self._active and not self._said
            return -inf if starts else self._said_at + QUIET_SECONDS
        return self._repeat_at if self._active else inf

    def say(self, now: float) -> bool:
        """What to say. The caller sends it."""
        active = self.active
        self._repeat_at = now + (min(REPEAT_SECONDS, self._refresh) if self._unsaid else self._refresh)
        self._said, self._said_at, self._unsaid = active, now, False
        return active

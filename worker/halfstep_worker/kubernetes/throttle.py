"""How fast we may ask one API server: a token bucket for all threads, and a pause for all when the server says "too many"."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

Clock = Callable[[], float]
ROUNDING = 1e-9


class Throttle:
    """`qps` calls a second in the long run, `burst` at once. Times are monotonic seconds."""

    def __init__(self, qps: float, burst: int, *, clock: Clock = time.monotonic) -> None:
        self._qps = qps
        self._burst = float(burst)
        self._clock = clock
        self._tokens = float(burst)
        self._filled_at = clock()
        self._paused_until = self._filled_at
        self._changed = threading.Condition()
        self._closed = False

    def take(self, *, seconds: float = 0.0) -> bool:
        """Waits for permission to make one call; False at once if it can't come within `seconds`, or after `close`."""
        ends = self._clock() + seconds
        with self._changed:
            while not self._closed:
                wait = self._wait()
                if wait <= 0:
                    self._tokens -= 1
                    return True
                if self._clock() + wait > ends:
                    return False
                self._changed.wait(wait)
        return False

    def spend(self) -> None:
        """Counts a call that does not wait: those that come after it wait the longer. Debts end at one second's calls."""
        with self._changed:
            self._fill()
            self._tokens = max(self._tokens - 1, -self._qps)

    def wait(self) -> float:
        """Seconds until a call would be permitted; 0 when it is now."""
        with self._changed:
            return max(0.0, self._wait())

    def pause(self, seconds: float) -> None:
        """Nobody calls for so long: the server asked for it (429, Retry-After)."""
        with self._changed:
            self._paused_until = max(self._paused_until, self._clock() + seconds)

    def close(self) -> None:
        """Whoever waits gives up."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fill(self) -> float:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._qps)
        self._filled_at = now
        return now

    def _wait(self) -> float:
        now = self._fill()
        missing = 1.0 - self._tokens
        return max(self._paused_until - now, missing / self._qps if missing > ROUNDING else 0.0)


def backed_off(failures: int, *, first: float, cap: float, luck: float) -> float:
    """Seconds to wait after so many failures in a row: doubling from `first` up to `cap`; luck (0..1) spreads its upper half."""
    return min(cap, first * 2.0 ** min(failures - 1, 30)) * (0.5 + luck / 2)

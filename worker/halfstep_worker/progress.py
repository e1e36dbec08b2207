"""Which parts of a process turn as they must. A thread that hangs, or has fallen, is named; one that waits for work is well."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Late:
    """A part that owes a turn for longer than it may. sentence: for people; a restart of the process helps."""

    part: str
    sentence: str
    since: float
    """Monotonic: its last turn, or when it fell."""


class Part:
    """One part, of one thread or of several that are alike. Its threads say `turned` and `rests`; anybody may ask.

    bound: seconds from one turn to the next, unless it rests.
    """

    def __init__(self, name: str, *, bound: float, clock: Clock = time.monotonic) -> None:
        self.name = name
        self._bound = bound
        self._clock = clock
        self._turns: dict[Hashable, float] = {}
        self._fallen: tuple[float, str] | None = None
        self._lock = threading.Lock()

    def turned(self, who: Hashable = None) -> None:
        """It gets on, and has to again within the bound. who: which of several threads."""
        with self._lock:
            self._turns[who] = self._clock()

    def rests(self, who: Hashable = None) -> None:
        """It has nothing to do, and may wait for as long as that is so."""
        with self._lock:
            self._turns.pop(who, None)

    def fell(self, error: BaseException) -> None:
        """A thread of it has ended by an error that nobody expected."""
        with self._lock:
            self._fallen = self._clock(), f"{type(error).__name__}: {error}"[:500]

    def seconds(self, now: float) -> float:
        """Since the turn that lies farthest back; 0 while it rests."""
        with self._lock:
            return max(0.0, now - min(self._turns.values(), default=now))

    def late(self, now: float) -> Late | None:
        """Whether it fell, or owes a turn for longer than it may."""
        with self._lock:
            fallen, since = self._fallen, min(self._turns.values(), default=now)
        if fallen is not None:
            return Late(self.name, f"The part {self.name!r} has ended by an error: {fallen[1]}.", fallen[0])
        if now - since > self._bound:
            return Late(self.name, f"The part {self.name!r} has not turned for {now - since:.0f} s.", since)
        return None


class Progress:
    """All parts of one process. Any thread."""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._parts: list[Part] = []

    def part(self, name: str, *, bound: float) -> Part:
        """A new part, which rests until it turns."""
        made = Part(name, bound=bound, clock=self._clock)
        self._parts.append(made)
        return made

    def late(self) -> list[Late]:
        """The parts that do not get on."""
        now = self._clock()
        return [late for part in list(self._parts) if (late := part.late(now)) is not None]

    def seconds(self) -> dict[str, float]:
        """By part: since its last turn; 0 while it rests."""
        now = self._clock()
        return {part.name: part.seconds(now) for part in list(self._parts)}

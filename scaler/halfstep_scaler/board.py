"""The board: where the newest snapshot hangs, and who is told when it changes. Used by the event loop only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from halfstep_scaler.errors import NoSnapshot
from halfstep_scaler.metadata import Target
from halfstep_scaler.snapshot import Snapshot
from halfstep_scaler.teller import Teller


class Watch:
    """One open stream's view of the board. `closing`: the scaler is leaving."""

    def __init__(self, target: Target, teller: Teller) -> None:
        self.target = target
        self.teller = teller
        self.closing = False
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There may be something to say, or to do."""
        self._woken.set()

    async def sleep(self, until: float) -> None:
        """Until that monotonic time, or until woken."""
        alarm = asyncio.get_running_loop().call_later(until - time.monotonic(), self._woken.set)
        try:
            await self._woken.wait()
        finally:
            alarm.cancel()
        self._woken.clear()


class Board:
    """`publish` a snapshot, read it with `fresh`, watch it with `join` and `leave`."""

    def __init__(self, *, max_age: float, clock: Callable[[], float]) -> None:
        self._max_age = max_age
        self._clock = clock
        self._newest: Snapshot | None = None
        self._watches: set[Watch] = set()
        self._closing = False

    @property
    def age(self) -> float | None:
        """Seconds since the database was asked for what hangs here; None before the first snapshot."""
        return None if self._newest is None else self._clock() - self._newest.taken_at

    @property
    def is_fresh(self) -> bool:
        """Whether what hangs here may be told."""
        return self.age is not None and self.age <= self._max_age

    @property
    def is_idle(self) -> bool:
        """Whether nothing was to be done when the database was last asked. For any thread."""
        newest = self._newest
        return newest is not None and not any(newest.active.values())

    def fresh(self) -> Snapshot:
        """The newest snapshot. Raises NoSnapshot if there is none, or if it is too old to be told."""
        if self._newest is None:
            raise NoSnapshot("The scaler has not read the demand yet: the database has not answered since the scaler started.")
        if not self.is_fresh:
            raise NoSnapshot(
                f"The database has not answered for {self.age:.0f} s; demand older than {self._max_age:g} s is not told."
            )
        return self._newest

    def publish(self, snapshot: Snapshot) -> None:
        """Hangs up a snapshot and wakes the watches whose state it changes."""
        before, self._newest = self._newest, snapshot
        if before is None or before.active != snapshot.active:
            for watch in self._watches:
                self._note(watch)

    def join(self, watch: Watch) -> None:
        """From now on the watch is told of changes; first of the state now, if that is known."""
        self._watches.add(watch)
        watch.closing = self._closing
        if self.is_fresh:
            self._note(watch)

    def leave(self, watch: Watch) -> None:
        """The stream has ended."""
        self._watches.discard(watch)

    def close(self) -> None:
        """Tells all watches that the scaler is leaving, and whoever joins later."""
        self._closing = True
        for watch in self._watches:
            watch.closing = True
            watch.wake()

    def _note(self, watch: Watch) -> None:
        if self._newest is not None:
            watch.teller.note(self._newest.is_active(watch.target))
            watch.wake()

"""The two streams, as async iterators of answers. They end by returning: KEDA opens a new one after two seconds then.

A stream that is aborted costs KEDA a back-off that grows to a minute. So streams end cleanly when the scaler leaves, and after
some minutes anyway, so that nothing depends on a connection that only one side believes in.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable

from halfstep_scaler.answers import ACTIVITY, METRIC_SPEC
from halfstep_scaler.board import Board, Watch
from halfstep_scaler.objects import ScaledObject
from halfstep_scaler.settings import ScalerSettings
from halfstep_scaler.teller import Teller


class Streams:
    """Makes the streams. clock: monotonic seconds."""

    def __init__(self, board: Board, settings: ScalerSettings, *, clock: Callable[[], float]) -> None:
        self._board = board
        self._settings = settings
        self._clock = clock

    async def activity(self, asking: ScaledObject) -> AsyncGenerator[bytes, None]:
        """StreamIsActive: the state when it is known, then its changes."""
        watch = self._join(asking)
        soon, late = self._ends()
        try:
            while not watch.closing:
                now = self._clock()
                if now >= watch.teller.due():
                    yield ACTIVITY[watch.teller.say(now)]
                    continue
                # Nothing can be missed between two streams while the work is known to KEDA: that is the time to end.
                end = soon if watch.teller.active else late
                if now >= end:
                    return
                await watch.sleep(min(watch.teller.due(), end))
        finally:
            self._leave(asking, watch)

    async def metric_spec(self, asking: ScaledObject) -> AsyncGenerator[bytes, None]:
        """StreamMetricSpec: the spec, which never changes."""
        watch = self._join(asking)
        end, _ = self._ends()
        try:
            yield METRIC_SPEC
            while not watch.closing and self._clock() < end:
                await watch.sleep(end)
        finally:
            self._leave(asking, watch)

    def _join(self, asking: ScaledObject) -> Watch:
        watch = Watch(asking.target, Teller(refresh=self._settings.refresh_seconds * random.uniform(1.0, 1.2)))
        asking.streams += 1
        self._board.join(watch)
        return watch

    def _leave(self, asking: ScaledObject, watch: Watch) -> None:
        self._board.leave(watch)
        asking.streams -= 1
        asking.asked_at = self._clock()

    def _ends(self) -> tuple[float, float]:
        """The end for who is active, and for who is not. No two streams together."""
        length = self._settings.stream_seconds * random.uniform(0.75, 1.0)
        return self._clock() + length, self._clock() + 2 * length

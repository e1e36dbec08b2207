"""Starting an embedded server again that has died under `halfstep up`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from halfstep.errors import DatabaseUnavailable, HalfstepError
from halfstep_cli.station import Station

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60.0
"""After so long without a try, the next one is a first one again."""


class Revival:
    """Asked whenever the database does not answer. Used by one thread."""

    def __init__(self, station: Station, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._station = station
        self._clock = clock
        self._pause = 0.0
        self._not_before = -math.inf

    def attempt(self) -> bool:
        """Starts the server again, if it is ours and has ended; whether it did. Between tries it lets more and more time pass.

        Raises DatabaseUnavailable if the server does not start, HalfstepError if it has another address than before.
        """
        server = self._station.server
        if server is None or self._clock() < self._not_before:
            return False
        try:
            revived = server.revive()
        except DatabaseUnavailable:
            self._slow_down()
            raise
        if revived:
            self._slow_down()
            self._check_address(server.url)
        return revived

    def _slow_down(self) -> None:
        now = self._clock()
        is_first = now - self._not_before > STEADY_SECONDS
        self._pause = FIRST_PAUSE if is_first else min(LONGEST_PAUSE, 2 * self._pause)
        self._not_before = now + self._pause

    def _check_address(self, url: str) -> None:
        """Neither workers nor whoever else was told the URL can follow."""
        if url != self._station.url:
            raise HalfstepError(
                "Another program took PostgreSQL's port while it was down; stop that, or start halfstep up again."
            )

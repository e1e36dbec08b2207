"""Care for the queue while no worker is there: due tasks are promoted, those of dead workers rescued. On a thread and a
connection of its own, so that a long rescue does not hold up the snapshot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from halfstep.caretaker import Caretaker
from halfstep.database import ConnectionSettings
from halfstep.errors import HalfstepError
from halfstep.queue import Queue
from halfstep_scaler.line import Line

RETRY_SECONDS = 0.5
STATEMENT_SECONDS = 15.0


class Care(threading.Thread):
    """Runs until `stop`. idle: whether nothing else is to be done, so that old history can be dropped."""

    def __init__(self, url: str, *, idle: Callable[[], bool]) -> None:
        super().__init__(name="caretaker", daemon=True)
        limits = ConnectionSettings("halfstep caretaker", connect_timeout=2, statement_timeout=STATEMENT_SECONDS)
        self._line = Line(url, limits)
        self._caretaker = Caretaker(Queue(self._line), clock=time.monotonic)
        self._idle = idle
        self._stopped = threading.Event()

    def run(self) -> None:
        """One tick after another, when something is due."""
        while not self._stopped.wait(self._turn()):
            pass
        self._line.close()

    def look_after(self) -> None:
        """Gives up a statement that takes too long. Called now and then by another thread."""
        self._line.give_up_after(STATEMENT_SECONDS + 2)

    def stop(self) -> None:
        """Returns when the thread has ended. Twice is fine."""
        self._stopped.set()
        if self.is_alive():
            self.join()

    def _turn(self) -> float:
        try:
            with self._line.asking():
                self._caretaker.tick(idle=self._idle())
        except HalfstepError:
            return RETRY_SECONDS  # the reader tells the log that the database is away
        return max(0.0, self._caretaker.next_due() - time.monotonic())

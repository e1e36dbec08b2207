"""The reader: one thread, one connection, all the SQL of demand. It makes a snapshot and gives it to whoever is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from math import inf

from halfstep.database import ConnectionSettings
from halfstep.demand import useful_cap
from halfstep.errors import HalfstepError
from halfstep.events import emit
from halfstep.migrate import check_schema
from halfstep.ownership import warn_of_superuser
from halfstep.scaling import ScalingBook
from halfstep_scaler.line import Line
from halfstep_scaler.metadata import Target
from halfstep_scaler.refusals import Refusal
from halfstep_scaler.settings import ScalerSettings
from halfstep_scaler.snapshot import Means, Snapshot, snapshot_of
from halfstep_scaler.waiting import WaitingList, idle_queues, standing

RETRY_SECONDS = 0.5
GAP_SECONDS = 0.01
"""Between two readings, however many notifications come."""
SHARE = 0.2
"""Of the time at most is spent in the database, unless the demand would become too old to be told."""
MEANS_SECONDS = 15.0
LEAST_CAP = 1_000


class Reader(threading.Thread):
    """Runs until `stop`. targets: what to measure for; refused: who is not; asked every time. publish: called in this thread."""

    def __init__(
        self,
        settings: ScalerSettings,
        *,
        targets: Callable[[], Iterable[Target]],
        publish: Callable[[Snapshot], None],
        refused: Callable[[], Iterable[Refusal]] = tuple,
    ) -> None:
        super().__init__(name="reader", daemon=True)
        self._settings = settings
        self._targets = targets
        self._publish = publish
        self._refused = refused
        limits = ConnectionSettings("halfstep scaler", connect_timeout=2, statement_timeout=settings.query_seconds)
        self._line = Line(settings.database_url, limits)
        self._book = ScalingBook(self._line)
        self._waiting = WaitingList(self._book, settings.name)
        self._hinted = threading.Event()
        self._stopped = threading.Event()
        self._means: Means = {}
        self._means_at = -inf
        self._checked = False
        self._away = ""

    def hint(self) -> None:
        """There may be something new: read again soon. For any thread."""
        self._hinted.set()

    def run(self) -> None:
        """One reading after another."""
        while not self._stopped.is_set():
            self._hinted.clear()
            begun = time.monotonic()
            pause = self._turn(begun)
            rest = min((time.monotonic() - begun) * (1 / SHARE - 1), self._settings.max_age / 4)
            earliest = time.monotonic() + rest
            self._hinted.wait(max(pause, rest))
            self._stopped.wait(max(begun + GAP_SECONDS, earliest) - time.monotonic())
        self._leave()

    def look_after(self) -> None:
        """Gives up a reading that takes too long. Called now and then by another thread."""
        self._line.give_up_after(self._settings.query_seconds + 1)

    def stop(self) -> None:
        """Returns when the thread has ended. Twice is fine."""
        self._stopped.set()
        self._hinted.set()
        if self.is_alive():
            self.join()

    def _turn(self, begun: float) -> float:
        """One reading; how long to pause after it, unless a hint comes."""
        try:
            with self._line.asking():
                snapshot = self._read()
                targets = list(self._targets())
                said = standing(targets, self._refused())
                added = self._waiting.tell(idle_queues(targets, snapshot), now=begun, standing=said)
        except HalfstepError as error:
            return self._failed(error)
        self._succeeded()
        if added:
            self._hinted.set()  # what came before the server knew that we wait for it
        return self._settings.poll_seconds / (2 if any(snapshot.active.values()) else 1)

    def _read(self) -> Snapshot:
        self._check()
        now = time.monotonic()
        targets = list(self._targets())
        if now - self._means_at > MEANS_SECONDS and any(target.target_wait is not None for target in targets):
            self._means, self._means_at = self._book.mean_seconds(), now
        cap = cap_for(targets, self._means)
        snapshot = snapshot_of(self._book.backlogs(cap), taken_at=now, cap=cap, means=self._means)
        self._publish(snapshot)
        return snapshot

    def _check(self) -> None:
        if not self._checked:
            check_schema(self._line)
            warn_of_superuser(self._line)
            self._checked = True

    def _failed(self, error: HalfstepError) -> float:
        if str(error) != self._away:
            emit("database.away", error=error, delay=RETRY_SECONDS)
        self._away = str(error)
        return RETRY_SECONDS

    def _succeeded(self) -> None:
        if self._away:
            emit("database.back")
        self._away = ""

    def _leave(self) -> None:
        try:
            with self._line.asking():
                self._waiting.leave()
        except HalfstepError:
            pass  # the row grows old by itself
        self._line.close()


def cap_for(targets: Iterable[Target], means: Means) -> int:
    """How far to count: what the largest target could use."""
    shortest = min(means.values(), default=1.0)
    return max([useful_cap(t.bounds, target_wait=t.target_wait or 0.0, shortest_mean=shortest) for t in targets] + [LEAST_CAP])

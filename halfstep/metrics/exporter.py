"""The exporter: of all that run, the elected one shows what stands in SQL, read once an interval and never for a scrape."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from halfstep.database import ConnectionSettings
from halfstep.errors import HalfstepError
from halfstep.events import emit
from halfstep.metrics.families import Snapshot
from halfstep.ownership import TrustedDatabase
from halfstep.scaling import Candidate, ScalingBook

ROLE = "exporter"
LEASE_SECONDS = 20.0
"""How long after its last renewal a holder may still show figures, and others wait for its role."""
STEP_SECONDS = 5.0
STUCK_SECONDS = 120.0
"""Longer than all of a round's statements take when each of them times out."""
COUNTED = 10_000
"""Tasks of a group and kind are counted no further."""


@dataclass(frozen=True, slots=True)
class ExporterSettings:
    """name: who it is, for people. interval: seconds between two snapshots. lease: see LEASE_SECONDS."""

    name: str = ""
    interval: float = 15.0
    lease: float = LEASE_SECONDS
    step: float = STEP_SECONDS


class Exporter(threading.Thread, Collector):
    """A thread from `start` to `stop`, and a collector: `registry.register(exporter)`. `step` is one round.

    It shows a snapshot only while it surely holds the role by its own clock, and while the snapshot is younger than two
    intervals and a lease. So one that was frozen shows nothing when it wakes, and two never show different figures for long.
    """

    def __init__(
        self, url: str, settings: ExporterSettings | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(name="exporter", daemon=True)
        self.settings = settings or ExporterSettings()
        self._clock = clock
        self._database = TrustedDatabase(url, ConnectionSettings("halfstep exporter"))
        name = self.settings.name or socket.gethostname()
        self._candidate = Candidate(ScalingBook(self._database), ROLE, name, self.settings.lease, clock)
        self._seen: tuple[float, Snapshot] | None = None  # written by the thread, read by whoever scrapes
        self._turned_at = clock()
        self._answered_at = float("-inf")
        self._away = False
        self._stopped = threading.Event()

    # -- what others ask

    def collect(self) -> Iterator[Metric]:
        """The families of the last snapshot, or none if this is not the one that shows them."""
        seen, settings = self._seen, self.settings
        if seen is None or not self._candidate.holds:
            return
        if self._clock() - seen[0] <= 2 * settings.interval + settings.lease:
            yield from seen[1].families()

    def describe(self) -> list[Metric]:
        """Nothing: what there is depends on who is elected, and registering must ask no database."""
        return []

    @property
    def shows(self) -> bool:
        """Whether a scrape would get figures now."""
        return any(True for _ in self.collect())

    def healthy(self) -> str:
        """For /healthz: whether the loop turns."""
        late = self._clock() - self._turned_at
        return f"The exporter's loop has not turned for {late:.0f} s." if late > STUCK_SECONDS + self.settings.step else ""

    def ready(self) -> str:
        """For /readyz: whether the database has answered lately, elected or not."""
        fresh = self._clock() - self._answered_at <= self.settings.lease + self.settings.step
        return "" if fresh else "The database does not answer the exporter."

    # -- the thread

    def run(self) -> None:
        """Rounds until stopped."""
        while not self._stopped.is_set():
            self._round()
            self._stopped.wait(self.settings.step)
        self._leave()

    def stop(self) -> None:
        """Gives the role up and returns when the thread has ended. Twice, and before the start, is fine."""
        self._stopped.set()
        self._database.interrupt()
        if self.is_alive():
            self.join(timeout=10)

    def step(self) -> None:
        """Stands for election, and reads a snapshot if it won and one is due. Raises DatabaseUnavailable."""
        if not self._candidate.holds:
            self._seen = None  # what was read in an earlier term is not shown in this one
        if not self._candidate.stand():
            self._seen = None
        elif self._seen is None or self._clock() - self._seen[0] >= self.settings.interval:
            self._seen = (self._clock(), self._read())
        self._answered_at = self._clock()

    def _round(self) -> None:
        self._turned_at = self._clock()
        try:
            self.step()
        except HalfstepError as error:
            if not self._away:
                emit("database.away", error=error, delay=self.settings.step)
            self._away = True
        else:
            if self._away:
                emit("database.back")
            self._away = False

    def _read(self) -> Snapshot:
        run = self._database.run
        backlogs, scheduled = run("backlogs", cap=COUNTED), run("scheduled", cap=COUNTED)
        return Snapshot(backlogs, scheduled, run("tally"), run("workers_now"), run("serving"))

    def _leave(self) -> None:
        self._seen = None
        try:
            self._candidate.resign()
        except HalfstepError:
            pass  # it runs out by itself
        finally:
            self._database.close()

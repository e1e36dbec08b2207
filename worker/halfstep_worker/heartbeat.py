"""The heartbeat: renews the lease on a connection of its own, and vouches for the loop and the exchange only while both turn."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from halfstep.database import ConnectionSettings
from halfstep.errors import HalfstepError
from halfstep.events import emit
from halfstep.ownership import TrustedDatabase
from halfstep.queue import Queue
from halfstep_worker.children.processes import used_below
from halfstep_worker.progress import Progress
from halfstep_worker.settings import WorkerSettings

EXCHANGE = "exchange"
HEARTBEAT_SECONDS = 120.0
"""Longer than a renewal can take, a login included."""


@dataclass(slots=True)
class Pulse:
    """What the threads of a worker tell the heartbeat and read from it. Each field has one writer; times are monotonic."""

    worker_id: str = ""  # written by the exchange, when it registers
    turned_at: float = 0.0  # written by the loop, every turn
    busy: int = 0  # written by the loop
    draining: bool = False  # written by the loop: it claims no more
    fenced: int = 0  # written by the exchange
    renewed_at: float = 0.0  # written by the heartbeat, and by the exchange when it registers: when the renewal was sent
    marked_dead: str = ""  # written by the heartbeat: the registration that others took for dead
    drain_requested: bool = False  # written by the heartbeat
    failing: tuple[float, str] | None = None  # written by the exchange: since when its rounds fail, and why
    progress: Progress = field(default_factory=Progress)  # the parts that must turn


class Heartbeat(threading.Thread):
    """Runs until `stop`. Times of the pulse are `time.monotonic`."""

    def __init__(self, settings: WorkerSettings, pulse: Pulse) -> None:
        super().__init__(name="heartbeat", daemon=True)
        patience = max(1.0, min(settings.renew_seconds, settings.lease_seconds / 3))
        timeouts = ConnectionSettings("halfstep heartbeat", connect_timeout=max(2, int(patience)), statement_timeout=patience,
                                      lock_timeout=patience)  # fmt: skip
        self._database = TrustedDatabase(settings.database_url, timeouts)
        self._queue = Queue(self._database)
        self._settings = settings
        self._pulse = pulse
        self._stopped = threading.Event()
        self._awake = threading.Event()
        self._stuck = False
        self._peak = 0
        self._part = pulse.progress.part("heartbeat", bound=HEARTBEAT_SECONDS)
        self.asked: Callable[[], None] = lambda: None
        """Called in this thread when somebody has asked for a drain."""

    def connect(self) -> None:
        """Makes the connection. A login may take longer than a renewal where the machine is busy. Raises HalfstepError."""
        self._database.execute("SELECT")

    def run(self) -> None:
        """Beats every `renew_seconds`; sooner after a failure, so that an outage costs no lease, and not all workers at once."""
        usual = pause = self._settings.renew_seconds
        try:
            while not self._rest(pause):
                self._part.turned()
                pause = usual if self.beat(time.monotonic()) else min(0.5, usual) * random.uniform(0.5, 1.0)
                self._part.rests()
        except BaseException as error:
            self._part.fell(error)
            emit("part.fell", part=self._part.name, error=error)
            raise
        finally:
            self._database.close()

    def wake(self) -> None:
        """There is something to say or to hear: beats now. Any thread may call it."""
        self._awake.set()

    def _rest(self, seconds: float) -> bool:
        self._awake.wait(seconds)
        self._awake.clear()
        return self._stopped.is_set()

    def beat(self, now: float) -> bool:
        """One renewal, if the loop deserves it; whether it was recorded."""
        pulse = self._pulse
        hanging = [late for late in pulse.progress.late() if late.part == EXCHANGE]
        if hanging or now - pulse.turned_at > self._settings.lease_seconds:
            if not self._stuck and hanging:
                emit("part.stuck", error=hanging[0].sentence)
            elif not self._stuck:
                emit("loop.stuck", seconds=now - pulse.turned_at)
            self._stuck = True
            return False
        self._stuck = False
        worker = pulse.worker_id
        self._peak = max(self._peak, used_below(os.getpid()))
        try:
            drain = self._queue.renew(
                worker, busy=pulse.busy, fenced=pulse.fenced, draining=pulse.draining, peak_bytes=self._peak
            )  # fmt: skip
        except HalfstepError:
            return False  # the exchange tells the log that the database is away
        if drain is None:
            pulse.marked_dead = worker
            return False
        pulse.renewed_at = now
        if drain and not pulse.drain_requested:
            self.asked()
        pulse.drain_requested = drain
        return True

    def stop(self) -> None:
        """Stops beating. Twice is fine. A connection that is only just being made may outlive it, and ends with the process."""
        self._stopped.set()
        self._awake.set()
        if self.is_alive():
            self._database.abandon()
            self.join(timeout=1)


def lease_left(pulse: Pulse, settings: WorkerSettings, *, now: float) -> float:
    """Seconds until others may take this worker for dead."""
    return pulse.renewed_at + settings.lease_seconds - now

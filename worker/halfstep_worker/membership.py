"""What makes a process a member of the queue, be it a worker or a launcher: registration, lease, exchange, hints, probes."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from halfstep.database import ConnectionSettings, Database
from halfstep.errors import DatabaseUnavailable, LoginRefused
from halfstep.events import emit
from halfstep.hints import HintListener
from halfstep.migrate import check_schema
from halfstep.ownership import warn_of_superuser
from halfstep_worker.desk import Desk, Incoming
from halfstep_worker.exchanger import Exchanger
from halfstep_worker.heartbeat import Heartbeat, Pulse
from halfstep_worker.metrics import WorkerHealth, WorkerMetrics, worker_server
from halfstep_worker.settings import WorkerSettings


class Membership:
    """In this order: `arrive`, `join`, `work`, and `leave` whatever happened. Used by the thread of the loop.

    metrics: also says whether the member is about to leave; then it insists on nothing any more.
    why_not_ready: for the probe, what keeps it from working besides what is the same for all; empty if nothing does.
    """

    def __init__(
        self, settings: WorkerSettings, desk: Desk, pulse: Pulse, exchanger: Exchanger, metrics: WorkerMetrics,
        *, why_not_ready: Callable[[], str] = lambda: "",
    ) -> None:  # fmt: skip
        self._settings = settings
        self._leaves = metrics.leaves
        self._desk = desk
        self._pulse = pulse
        self._exchanger = exchanger
        self._exchanger.exchanged = metrics.exchanged
        self._heartbeat = Heartbeat(settings, pulse)
        self._heartbeat.asked = lambda: desk.deliver(Incoming(drain=True))
        self._listener = HintListener(settings.listen_url or settings.database_url, self._hint) if settings.notify else None
        self._health = WorkerHealth(settings, pulse, why_not=why_not_ready)
        self._server = worker_server(settings, metrics, self._health)

    def arrive(self) -> bool:
        """Serves the probes and waits for the database, with patience; False if we are to leave.

        Raises DatabaseUnavailable, and at once LoginRefused and SchemaMismatch, which no waiting cures.
        """
        if self._server:
            self._server.start()
        return self._insist(lambda: _check_database(self._settings))

    def join(self) -> bool:
        """Registers, insisting as `arrive` does. The lease is renewed from now on, by a connection that is older than it."""
        if not self._insist(self._register):
            return False
        self._pulse.turned_at = time.monotonic()
        self._heartbeat.start()
        return True

    def _register(self) -> None:
        self._heartbeat.connect()
        self._exchanger.register()

    def work(self) -> None:
        """Claims, and hears hints."""
        self._exchanger.start()
        if self._listener:
            self._listener.start()
        served = ", ".join(self._settings.queues) if self._settings.queues is not None else "all queues"
        emit("worker.started", name=self._settings.name, queues=served, slots=self._settings.slots)

    def say_draining(self) -> None:
        """With the next renewal, which is now; the loop does not wait for it."""
        self._pulse.draining = True
        self._heartbeat.wake()

    def leave(self, *, seconds: float) -> bool:
        """Writes what is left and deregisters; whether all of it was written within `seconds`."""
        self._pulse.turned_at = time.monotonic() + seconds  # the exchange still writes: the lease is not to end meanwhile
        written = self._exchanger.stop(timeout=seconds)
        if self._listener:
            self._listener.stop(seconds=1)  # as the heartbeat's: a connection that is only just being made is not waited for
        self._heartbeat.stop()
        self._health.end()
        if self._server:
            self._server.stop()
        emit("worker.stopped", name=self._settings.name)
        return written

    def _insist(self, action: Callable[[], None]) -> bool:
        """Until the database lets it happen. An action whose reply was lost may happen twice."""
        deadline, delay = time.monotonic() + self._settings.patience, 0.0
        while not self._leaves():
            try:
                action()
                return True
            except DatabaseUnavailable as error:
                if isinstance(error, LoginRefused) or time.monotonic() > deadline:
                    raise
                if not delay:
                    emit("database.away", error=error, delay=0.2)
                delay = min(1.0, delay * 2 or 0.2)
                threading.Event().wait(delay * random.uniform(0.5, 1.0))
        return False

    def _hint(self, word: str) -> None:
        """In the listener's thread."""
        if word == "drain":  # somebody is to leave; it may be this one
            self._heartbeat.wake()
        self._desk.hint(word)


def _check_database(settings: WorkerSettings) -> None:
    database = Database(settings.database_url, ConnectionSettings("halfstep worker"))
    try:
        check_schema(database)
        warn_of_superuser(database)
    finally:
        database.close()

"""What one worker or launcher tells of itself over HTTP, from its own memory: it is shown while the database is away, too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from halfstep.metrics import names
from halfstep.metrics.families import counter, gauge
from halfstep.metrics.server import MetricsServer
from halfstep_worker.heartbeat import Pulse, lease_left
from halfstep_worker.settings import WorkerSettings


class WorkerMetrics(Collector):
    """Reads the pulse, which others write. `exchanged` and `children` are for those who count exchanges and children."""

    def __init__(
        self, settings: WorkerSettings, pulse: Pulse, *, children: Callable[[], int] | None = None, leaves: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._pulse = pulse
        self._children = children
        self.leaves = leaves
        self.registry = CollectorRegistry()
        self._exchanges = Histogram(
            names.WORKER_EXCHANGES.name, names.WORKER_EXCHANGES.help, buckets=names.BUCKETS[:11], registry=self.registry
        )
        self.registry.register(self)

    def exchanged(self, seconds: float) -> None:
        """An exchange was answered after so long. Any thread may say so."""
        self._exchanges.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """The gauges and counters as they are now."""
        pulse = self._pulse
        yield gauge(names.WORKER_SLOTS, {(): float(self._settings.slots)})
        yield gauge(names.WORKER_BUSY, {(): float(pulse.busy)})
        yield gauge(names.WORKER_LEASE_LAG, {(): self._lag(time.monotonic())})
        yield gauge(names.WORKER_DRAINING, {(): float(self.leaves())})
        yield counter(names.WORKER_FENCED, {(): float(pulse.fenced)})
        yield gauge(names.WORKER_PARTS, {(part,): seconds for part, seconds in self._parts()})
        if self._children is not None:
            yield counter(names.WORKER_CHILDREN, {(): float(self._children())})

    def describe(self) -> list[Metric]:
        """Nothing: registering must look at nothing."""
        return []

    def _parts(self) -> Iterator[tuple[str, float]]:
        turned_at = self._pulse.turned_at
        yield "loop", max(0.0, time.monotonic() - turned_at) if turned_at else 0.0
        yield from self._pulse.progress.seconds().items()

    def _lag(self, now: float) -> float:
        return now - self._pulse.renewed_at if self._pulse.worker_id else 0.0


FAILING_SECONDS = 5.0
"""So long may the rounds of the exchange fail before somebody is told that nothing is claimed."""


class WorkerHealth:
    """Alive: all parts turn that must, as a restart helps those that do not. Ready: it can work.

    One that drains stays ready: NotReady pods die first. why_not: what else keeps it from working; empty if nothing does.
    """

    def __init__(self, settings: WorkerSettings, pulse: Pulse, *, why_not: Callable[[], str] = lambda: "") -> None:
        self._settings = settings
        self._pulse = pulse
        self._why_not = why_not
        self._ended = False

    def healthy(self) -> str:
        """For /healthz. A worker that still starts is healthy."""
        late = time.monotonic() - self._pulse.turned_at
        if self._pulse.turned_at and late > 3 * self._settings.lease_seconds:
            return f"The loop has not turned for {late:.0f} s."
        return self._late()

    def ready(self) -> str:
        """For /readyz."""
        if not self._pulse.worker_id:
            return "The worker is not registered yet."
        if self._ended:
            return "The worker has ended."
        late = -lease_left(self._pulse, self._settings, now=time.monotonic())
        if late >= 0:
            return f"The lease ran out {late:.0f} s ago."
        return self._late() or self._failing() or self._why_not()

    def _late(self) -> str:
        return next((late.sentence for late in self._pulse.progress.late()), "")

    def _failing(self) -> str:
        since, error = self._pulse.failing or (time.monotonic(), "")
        seconds = time.monotonic() - since
        return f"The exchange with the database has failed for {seconds:.0f} s: {error}" if seconds >= FAILING_SECONDS else ""

    def end(self) -> None:
        """The worker has left the queue."""
        self._ended = True


def worker_server(settings: WorkerSettings, metrics: WorkerMetrics, health: WorkerHealth) -> MetricsServer | None:
    """The server that the settings ask for, if any."""
    return MetricsServer(settings.metrics, metrics.registry, health) if settings.metrics else None

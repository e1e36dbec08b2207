"""How a launcher gets on, for those who ask: the queue's tables, its own probes and its own figures. Any thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from halfstep.metrics import names
from halfstep.metrics.families import gauge
from halfstep.troubles import TroubleRow
from halfstep_worker.heartbeat import Pulse
from halfstep_worker.kubernetes.trouble import ADMISSION, BLOCKING, Troubles

PARTS = (*BLOCKING, "get pods", "get configmaps", "delete pods", "patch pods", "get pods/log", ADMISSION)


@dataclass(frozen=True, slots=True)
class Standing:
    """cluster: as tasks name it. namespaces: those that are watched; without the first one a launcher is not ready."""

    cluster: str
    namespaces: tuple[str, ...]
    troubles: Troubles
    pulse: Pulse
    clock: Callable[[], float] = time.monotonic

    def rows(self) -> list[TroubleRow]:
        """What does not get on now: in the cluster, and of the launcher itself."""
        now = self.clock()
        cluster = [
            TroubleRow(self.cluster, one.namespace, one.part, one.sentence, now - one.since) for one in self.troubles.standing()
        ]
        late = [
            TroubleRow(self.cluster, "", one.part, f"{one.sentence} Restart the launcher.", now - one.since)
            for one in self.pulse.progress.late()
        ]
        return cluster + late

    def why_not_ready(self) -> str:
        """Why it can't work where tasks go that name no namespace; empty if it can."""
        there = [trouble for trouble in self.troubles.standing() if trouble.namespace == self.namespaces[0]]
        return next((trouble.sentence for trouble in sorted(there, key=lambda one: not one.blocks)), "")


class TroubleMetrics(Collector):
    """Every part in every watched namespace is shown, so that an alert sees its end, too."""

    def __init__(self, standing: Standing, title: str) -> None:
        self._standing = standing
        self._title = title

    def collect(self) -> Iterator[Metric]:
        """The gauge as it is now."""
        namespaces = self._standing.namespaces
        values: dict[tuple[str, ...], float] = {(self._title, namespace, part): 0.0 for namespace in namespaces for part in PARTS}
        standing = [(self._title, one.namespace, one.part) for one in self._standing.troubles.standing()]
        values |= {key: 1.0 for key in standing if key in values}
        yield gauge(names.LAUNCHER_TROUBLE, values)

    def describe(self) -> list[Metric]:
        """Nothing: registering must look at nothing."""
        return []

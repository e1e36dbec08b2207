"""What the scaler counts of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import nan

from prometheus_client import CollectorRegistry, Gauge, Histogram

from halfstep.metrics import names
from halfstep_scaler.objects import ScaledObject


class Gauges:
    """registry: where they are registered; one `Gauges` a registry."""

    def __init__(self, registry: CollectorRegistry, *, age: Callable[[], float | None], refused: Callable[[], int]) -> None:
        rpc, wanted, old = names.SCALER_RPC, names.SCALER_WANTED, names.SCALER_SNAPSHOT_AGE
        self._seconds = Histogram(rpc.name, rpc.help, rpc.labels, buckets=names.RPC_BUCKETS, registry=registry)
        self._wanted = Gauge(wanted.name, wanted.help, wanted.labels, registry=registry)
        Gauge(names.SCALER_REFUSED.name, names.SCALER_REFUSED.help, registry=registry).set_function(refused)
        Gauge(old.name, old.help, registry=registry).set_function(lambda: nan if (known := age()) is None else known)

    def timer(self, method: str) -> Callable[[float], None]:
        """Takes the seconds of each call of this method."""
        return self._seconds.labels(method).observe

    def wanted(self, asking: ScaledObject, number: int) -> None:
        """What was told to KEDA."""
        self._wanted.labels(asking.namespace, asking.name).set(number)

    def forget(self, namespace: str, name: str) -> None:
        """The ScaledObject does not ask any more."""
        with suppress(KeyError):  # it never asked for the number
            self._wanted.remove(namespace, name)

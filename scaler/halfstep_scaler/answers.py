"""What the scaler says, as the bytes that go over the wire. Every message has the float field and the older integer."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from halfstep.demand import wanted_for_latency, wanted_workers
from halfstep_scaler.metadata import Target
from halfstep_scaler.proto.externalscaler_pb2 import (
    GetMetricSpecResponse,
    GetMetricsResponse,
    IsActiveResponse,
    MetricSpec,
    MetricValue,
)
from halfstep_scaler.snapshot import Snapshot

METRIC = "halfstep-wanted"
"""The one metric: how many replicas the work needs. Its target is 1, so the HPA wants as many."""

METRIC_SPEC: Final[bytes] = GetMetricSpecResponse(
    metricSpecs=[MetricSpec(metricName=METRIC, targetSize=1, targetSizeFloat=1.0)]
).SerializeToString()
ACTIVITY: Final[dict[bool, bytes]] = {active: IsActiveResponse(result=active).SerializeToString() for active in (False, True)}


@lru_cache(maxsize=4096)
def metric_value(wanted: int) -> bytes:
    """The answer of GetMetrics."""
    value = MetricValue(metricName=METRIC, metricValue=wanted, metricValueFloat=float(wanted))
    return GetMetricsResponse(metricValues=[value]).SerializeToString()


def wanted(snapshot: Snapshot, target: Target) -> int:
    """How many replicas the target's work needs at this moment, within its bounds, by its policy."""
    backlogs = snapshot.backlogs(target)
    if target.target_wait is None:
        return wanted_workers(backlogs, target.bounds)
    return wanted_for_latency(
        backlogs, target.bounds, target_wait=target.target_wait, mean_seconds=snapshot.means, cap=snapshot.cap
    )

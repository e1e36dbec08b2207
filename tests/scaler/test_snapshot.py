"""From a reading of the demand to what is told, without a server."""

from __future__ import annotations

from halfstep.demand import Backlog
from halfstep_scaler.answers import METRIC_SPEC, metric_value, wanted
from halfstep_scaler.metadata import Target, parse_metadata
from halfstep_scaler.objects import ScaledObject
from halfstep_scaler.proto.externalscaler_pb2 import GetMetricSpecResponse, GetMetricsResponse
from halfstep_scaler.reader import LEAST_CAP, cap_for
from halfstep_scaler.snapshot import Snapshot, snapshot_of
from halfstep_scaler.waiting import MOST_NAMES, idle_queues


def backlog(queue: str, ready: int = 0, running: int = 0, placement: str = "worker", cluster: str = "") -> Backlog:
    return Backlog(queue, 1, False, ready, 0, 0, running, 0, placement, cluster)


def reading(*backlogs: Backlog, cap: int = 10_000, means: dict[tuple[str, str], float] | None = None) -> Snapshot:
    return snapshot_of(backlogs, taken_at=0.0, cap=cap, means=means or {})


def target(queues: str = "*", **metadata: str) -> Target:
    return parse_metadata({"queues": queues, **metadata})


def test_a_place_is_a_placement_in_a_cluster() -> None:
    seen = reading(backlog("a", 1), backlog("a", 2, placement="pod"), backlog("a", 3, placement="pod", cluster="gpu"))
    for metadata, ready in (({}, 1), ({"placement": "pod"}, 2), ({"placement": "pod", "cluster": "gpu"}, 3)):
        (found,) = seen.backlogs(target(**metadata))
        assert found.ready == ready
    assert not seen.is_active(target(cluster="gpu"))


def test_a_queue_that_nobody_ever_used_has_no_work() -> None:
    seen = reading(backlog("a", 1))
    assert seen.backlogs(target("new")) == []
    assert (seen.is_active(target("new")), wanted(seen, target("new"))) == (False, 0)


def test_only_idle_targets_queues_are_waited_for() -> None:
    seen = reading(backlog("busy", running=1), backlog("idle"))
    assert idle_queues([target("busy,idle")], seen) == frozenset()
    assert idle_queues([target("busy"), target("idle"), target("new")], seen) == {"idle", "new"}
    assert idle_queues([target("idle"), target("*", placement="pod")], seen) == {"*"}
    assert idle_queues([target(f"q{n}") for n in range(MOST_NAMES + 1)], seen) == {"*"}


def test_with_the_latency_policy_short_tasks_want_few_workers() -> None:
    seen = reading(backlog("a", ready=1000), means={("a", "worker"): 0.1})
    assert wanted(seen, target("a", slots="4", policy="latency", targetWait="10")) == 3
    assert wanted(seen, target("a", slots="4")) == 100


def test_counting_goes_as_far_as_the_largest_target_can_use() -> None:
    assert cap_for([], {}) == LEAST_CAP
    assert cap_for([target(slots="4", maxReplicas="10"), target(slots="10", maxReplicas="1000")], {}) == 10_001
    latency = target(slots="4", maxReplicas="100", policy="latency", targetWait="10")
    assert cap_for([latency], {("a", "worker"): 0.5}) == 8_001


def test_however_often_it_asks_a_scaled_object_is_reckoned_once_a_snapshot() -> None:
    asking = ScaledObject("shop", "workers", target("a", slots="1"))
    many, few = reading(backlog("a", 9)), reading(backlog("a", 2))
    assert [asking.wanted(many, now) for now in (0.0, 100.0)] == [9, 9]
    assert asking.wanted(few, 101.0) == 2
    assert asking.wanted(many, 102.0) == 9
    assert asking.wanted(few, 103.0) == 9


def test_answers_have_both_fields() -> None:
    (spec,) = GetMetricSpecResponse.FromString(METRIC_SPEC).metricSpecs
    (value,) = GetMetricsResponse.FromString(metric_value(7)).metricValues
    assert (spec.targetSize, spec.targetSizeFloat, value.metricValue, value.metricValueFloat) == (1, 1.0, 7, 7.0)
    assert spec.metricName == value.metricName

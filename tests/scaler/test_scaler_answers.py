"""What the scaler answers, by the work there is. A real scaler, a real PostgreSQL, a real client."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from halfstep.database import Database
from halfstep.producer import NewTask, enqueue, enqueue_many
from halfstep.queue import Queue
from scaler.keda import Keda, ScalerProcess, refusal  # noqa: TID251
from waiting import wait_until

FRESH = itertools.count()


def test_the_metric_is_one_with_a_fixed_name_and_target_in_both_fields(keda: Keda) -> None:
    (spec,) = keda.spec().metricSpecs
    assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("halfstep-wanted", 1, 1.0)
    (value,) = keda.metrics().metricValues
    assert (value.metricName, value.metricValue, value.metricValueFloat) == ("halfstep-wanted", 0, 0.0)
    assert keda.is_active() is False


def test_waiting_and_running_tasks_share_workers_by_their_slots(keda: Keda, database: Database, worker: Any) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 9)
    wait_until(lambda: keda.wanted() == 3, what="three workers for nine tasks")
    claims = worker.claim(9)
    worker.finish(*claims[:4])
    wait_until(lambda: _measured(keda) == 5, what="the finished tasks to be seen")
    assert keda.is_active()
    assert keda.metrics().metricValues[0].metricValue == keda.wanted()


def test_running_work_alone_keeps_its_scaled_object_active(keda: Keda, database: Database, worker: Any) -> None:
    enqueue(database, "bash")
    claims = worker.claim()
    wait_until(keda.is_active, what="the running task to be seen")
    assert keda.wanted() == 1
    worker.finish(*claims)
    wait_until(lambda: not keda.is_active(), what="the end to be seen")


def test_a_paused_queues_waiting_tasks_want_nobody(keda: Keda, database: Database, queue: Queue) -> None:
    queue.pause("default")
    enqueue(database, "bash")
    other = Keda(keda.channel, {"queues": "*"})
    enqueue(database, "bash", queue="other")
    wait_until(other.is_active, what="the other queue's task to be seen")
    assert (keda.is_active(), keda.wanted()) == (False, 0)


def test_each_suspect_wants_a_worker_of_its_own(keda: Keda, database: Database) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 3)
    database.execute("UPDATE halfstep.task SET alone = true WHERE id IN (1, 2)")
    wait_until(lambda: keda.wanted() == 3, what="two workers for the suspects and one for the other task")


def test_pods_are_counted_apart_and_by_what_a_launcher_keeps(keda: Keda, database: Database) -> None:
    launcher = Keda(keda.channel, {"queues": "default", "placement": "pod", "podsPerLauncher": "10"})
    elsewhere = Keda(keda.channel, {"queues": "default", "placement": "pod", "cluster": "gpu"})
    enqueue_many(database, [NewTask("bash", {}, {"placement": "pod"})] * 21)
    wait_until(lambda: launcher.wanted() == 3, what="three launchers for 21 pods")
    assert (keda.is_active(), elsewhere.is_active()) == (False, False)


def test_no_more_are_wanted_than_the_maximum_and_no_fewer_than_the_minimum(keda: Keda, database: Database) -> None:
    bounded = Keda(keda.channel, {"queues": "*", "slots": "1", "maxReplicas": "7", "minReplicas": "2"})
    assert bounded.wanted() == 2
    enqueue_many(database, [NewTask("bash", {}, {})] * 30)
    wait_until(lambda: bounded.wanted() == 7, what="the maximum")


def test_only_the_named_queues_count(keda: Keda, database: Database) -> None:
    etl, both = Keda(keda.channel, {"queues": "etl", "slots": "1"}), Keda(keda.channel, {"queues": "etl,mail", "slots": "1"})
    for queue in ("etl", "mail", "mail", "other"):
        enqueue(database, "bash", queue=queue)
    wait_until(lambda: both.wanted() == 3, what="both queues")
    assert (etl.wanted(), keda.wanted()) == (1, 0)


def test_due_tasks_are_promoted_and_dead_workers_tasks_rescued_although_no_worker_is_there(
    keda: Keda, database: Database, make_worker: Callable[..., Any]
) -> None:
    dead = make_worker(lease_seconds=1.0)
    first = enqueue(database, "bash")
    dead.claim()
    soon = enqueue(database, "bash", run_at=datetime.now(UTC) + timedelta(seconds=1))
    states = "SELECT id, state FROM halfstep.task ORDER BY id"
    ready = [{"id": first, "state": "ready"}, {"id": soon, "state": "ready"}]
    wait_until(lambda: [dict(row) for row in database.execute(states)] == ready, what="both to be ready")
    wait_until(keda.is_active, what="both to be seen")


def test_mistakes_and_strangers_are_refused_in_a_sentence(
    start_scaler: Callable[..., ScalerProcess], channels: Callable[..., grpc.Channel]
) -> None:
    channel = channels(start_scaler(allow=["shop/work*", "team-*/w"]).address)
    invalid = Keda(channel, {"queues": "a b", "slots": "0"})
    for call in (invalid.is_active, invalid.metrics):
        code, sentence = refusal(call)
        assert (code, sentence.count(".")) == (grpc.StatusCode.INVALID_ARGUMENT, 2)
    assert invalid.activity().end() is grpc.StatusCode.INVALID_ARGUMENT
    for namespace, name in (("shop", "other"), ("team-a", "workers"), ("else", "w")):
        code, sentence = refusal(Keda(channel, namespace=namespace, name=name).metrics)
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert f"{namespace}/{name}" in sentence
    assert refusal(Keda(channel, namespace="a/b", name="*").metrics)[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert Keda(channel, namespace="team-a", name="w").is_active() is False


@pytest.mark.parametrize("service", ["", "externalscaler.ExternalScaler"])
def test_the_health_service_serves_once_the_demand_is_known(keda: Keda, service: str) -> None:
    wait_until(lambda: keda.health(service) == "SERVING", what="health")


def _measured(keda: Keda) -> int:
    """How many tasks there are, as the scaler sees it. (Who asked before is told the most of the last half minute.)"""
    return Keda(keda.channel, {"queues": "default", "slots": "1"}, name=f"count-{next(FRESH)}").wanted()

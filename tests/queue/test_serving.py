"""Whether somebody is there for a task: who counts, who does not, and what `show`, and whoever counts, say of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from halfstep.database import Database
from halfstep.metrics.families import MOST_UNSERVED, Snapshot
from halfstep.producer import enqueue
from halfstep.queue import Queue
from halfstep.reports import Reports
from halfstep.scaling import ScalingBook
from halfstep.serving import Serving, unserved

OLD = 120.0
"""Seconds that a task has waited."""

Ground = Callable[["Stage"], None]


class Stage:
    """A database, and who is there."""

    def __init__(self, database: Database, make_worker: Callable[..., Any]) -> None:
        self.database, self.make_worker = database, make_worker
        self.queue, self.book, self.reports = Queue(database), ScalingBook(database), Reports(database)

    def waits(self, *, seconds: float = OLD, **options: Any) -> int:
        task = enqueue(self.database, "pod" if options.get("placement") == "pod" else "bash", {"image": "x"}, **options)
        sql = "UPDATE halfstep.task SET run_at = clock_timestamp() - make_interval(secs => %(s)s) WHERE id = %(id)s"
        self.database.execute(sql, {"s": seconds, "id": task})
        return task

    def scaler(self, *targets: dict[str, Any], said: bool = True) -> str:
        id = str(uuid.uuid4())
        self.book.wait_for(id, "scaler", [], targets=targets if said else None)
        return id

    def unserved(self) -> list[tuple[str, str, str, int]]:
        return [(b.queue, b.placement, b.cluster, b.waiting) for b in unserved(self.book.backlogs(), self.book.serving())]

    def why(self, task: int) -> str:
        return str(self.reports.show(task)["why"])

    def run(self, sql: str) -> None:
        self.database.execute(sql)


@pytest.fixture
def stage(database: Database, make_worker: Callable[..., Any]) -> Iterator[Stage]:
    database.execute("DELETE FROM halfstep.scaler")
    yield Stage(database, make_worker)
    database.execute("DELETE FROM halfstep.scaler")


def target(placement: str = "worker", cluster: str = "", queues: list[str] | None = None) -> dict[str, Any]:
    return {"placement": placement, "cluster": cluster, "queues": queues}


ETL: dict[str, Any] = {"queue": "etl"}
POD: dict[str, Any] = {"queue": "etl", "placement": "pod"}
GPU: dict[str, Any] = POD | {"cluster": "gpu"}

SERVED: dict[str, tuple[dict[str, Any], Ground]] = {
    "a worker serves all queues": (ETL, lambda s: s.make_worker()),
    "a worker serves this queue among others": (ETL, lambda s: s.make_worker(queues=["mail", "etl"])),
    "a launcher of the default cluster": (POD, lambda s: s.make_worker(placement="pod")),
    "a launcher of the task's cluster": (GPU, lambda s: s.make_worker(placement="pod", cluster="gpu")),
    "an older worker that does not say its cluster": (
        GPU,
        lambda s: (s.make_worker(placement="pod"), s.run("UPDATE halfstep.worker SET cluster = NULL")),
    ),
    "a scaler knows an object for all queues": (ETL, lambda s: s.scaler(target())),
    "a scaler knows an object for this queue": (ETL, lambda s: s.scaler(target("pod"), target(queues=["a", "etl"]))),
    "a scaler knows an object for launchers of this cluster": (GPU, lambda s: s.scaler(target("pod", "gpu"))),
    "a scaler that does not say what it knows": (ETL, lambda s: s.scaler(said=False)),
    "a worker is busy with other things": (ETL, lambda s: (s.make_worker(slots=1), s.waits(queue="etl"))),
    "one worker drains and another does not": (ETL, lambda s: (s.queue.drain(s.make_worker().id), s.make_worker())),
}
UNSERVED: dict[str, tuple[dict[str, Any], Ground]] = {
    "nobody is there": (ETL, lambda s: None),
    "a worker serves other queues": (ETL, lambda s: s.make_worker(queues=["mail"])),
    "a worker serves no queue": (ETL, lambda s: s.make_worker(queues=[])),
    "a worker drains": (ETL, lambda s: s.queue.drain(s.make_worker().id)),
    "a worker leaves": (ETL, lambda s: s.queue.renew(s.make_worker().id, draining=True)),
    "a worker has left": (ETL, lambda s: s.queue.deregister(s.make_worker().id)),
    "a worker is marked dead": (
        ETL,
        lambda s: (s.make_worker(), s.run("UPDATE halfstep.lease SET dead_at = clock_timestamp()")),
    ),
    "a worker has died and nobody was there to mark it": (
        ETL,
        lambda s: (s.make_worker(), s.run("UPDATE halfstep.lease SET renewed_at = clock_timestamp() - interval '5 minutes'")),
    ),
    "a worker is there and no launcher": (POD, lambda s: s.make_worker()),
    "a launcher is there and no worker": (ETL, lambda s: s.make_worker(placement="pod")),
    "a launcher of another cluster": (GPU, lambda s: s.make_worker(placement="pod", cluster="cpu")),
    "a launcher of the default cluster and a task for another": (GPU, lambda s: s.make_worker(placement="pod")),
    "a launcher of a named cluster and a task for the default one": (
        POD,
        lambda s: s.make_worker(placement="pod", cluster="gpu"),
    ),
    "a scaler knows an object for other queues": (ETL, lambda s: s.scaler(target(queues=["mail"]))),
    "a scaler knows an object for launchers": (ETL, lambda s: s.scaler(target("pod"))),
    "a scaler knows an object for another cluster": (GPU, lambda s: s.scaler(target("pod"))),
    "a scaler knows no object": (ETL, lambda s: s.scaler()),
    "a scaler has not been seen for a minute": (
        ETL,
        lambda s: (s.scaler(target()), s.run("UPDATE halfstep.scaler SET seen_at = seen_at - interval '61 s'")),
    ),
    "the queue is not known any more": (ETL, lambda s: s.run("DELETE FROM halfstep.queue WHERE name = 'etl'")),
}


@pytest.mark.parametrize(("task", "ground"), SERVED.values(), ids=SERVED)
def test_a_task_is_served_where(task: dict[str, Any], ground: Ground, stage: Stage) -> None:
    id = stage.waits(**task)
    ground(stage)
    assert stage.unserved() == []
    assert "start one" not in stage.why(id)


@pytest.mark.parametrize(("task", "ground"), UNSERVED.values(), ids=UNSERVED)
def test_a_task_is_served_by_nobody_where(task: dict[str, Any], ground: Ground, stage: Stage) -> None:
    id = stage.waits(**task)
    ground(stage)
    placement, cluster = task.get("placement", "worker"), task.get("cluster", "")
    assert stage.unserved() == [("etl", placement, cluster, 1)]
    shown = cluster or "default"
    assert stage.why(id).startswith(
        f"no worker serves queue 'etl' with placement '{placement}' on cluster '{shown}', and no scaler"
    )
    assert "start one: halfstep worker --queues etl" in stage.why(id)


def test_show_says_how_to_start_who_is_missing(stage: Stage) -> None:
    assert stage.why(stage.waits(**ETL)).endswith("start one: halfstep worker --queues etl")
    assert stage.why(stage.waits(**POD)).endswith("start one: halfstep worker --queues etl --placement pod")
    assert stage.why(stage.waits(**GPU)).endswith("start one: halfstep worker --queues etl --placement pod --cluster gpu")


def test_a_body_for_a_named_cluster_is_told_that_no_worker_can_serve_it(stage: Stage) -> None:
    id = stage.waits(**ETL)
    stage.make_worker()
    stage.run("UPDATE halfstep.task SET cluster = 'gpu'")
    assert stage.unserved() == [("etl", "worker", "gpu", 1)]
    assert stage.why(id).startswith("no worker can serve it: it has the placement worker and names cluster 'gpu'")


def test_a_task_that_keda_will_start_somebody_for_says_so(stage: Stage) -> None:
    id = stage.waits(**ETL)
    stage.scaler(target())
    assert stage.why(id) == "no worker serves its queue yet; a scaler knows that one is wanted"


def test_a_task_that_is_due_and_that_nobody_promotes_is_unserved_too(stage: Stage) -> None:
    id = stage.waits(**ETL)
    stage.run("UPDATE halfstep.task SET state = 'scheduled'")
    assert stage.unserved() == [("etl", "worker", "", 1)]
    assert "start one" in stage.why(id)


def test_a_task_that_has_waited_for_less_than_a_minute_is_not_unserved(stage: Stage) -> None:
    id = stage.waits(**ETL, seconds=0)
    assert stage.unserved() == []
    assert stage.why(id) == "no worker serves its queue"
    assert unserved(stage.book.backlogs(), [], after=-1)


def test_what_is_paused_or_running_is_not_unserved(stage: Stage) -> None:
    stage.waits(**ETL)
    stage.queue.pause("etl")
    stage.waits(queue="mail")
    worker = stage.make_worker()
    assert worker.claim(queues=("mail",))
    stage.queue.drain(worker.id)
    assert stage.unserved() == []


def test_groups_come_with_the_most_tasks_first(stage: Stage) -> None:
    for options, number in ((ETL, 1), (GPU, 3), (POD, 2)):
        for _ in range(number):
            stage.waits(**options)
    assert stage.unserved() == [("etl", "pod", "gpu", 3), ("etl", "pod", "", 2), ("etl", "worker", "", 1)]


def test_the_metric_tells_groups_that_are_unserved_and_no_others(stage: Stage) -> None:
    stage.waits(**GPU)
    stage.waits(queue="mail")
    stage.make_worker(queues=["mail"])
    run = stage.database.run
    seen = Snapshot(run("backlogs", cap=100), [], [], [], run("serving"))
    (family,) = [each for each in seen.families() if each.name == "halfstep_unserved_tasks"]
    assert [(sample.labels, sample.value) for sample in family.samples] == [
        ({"queue": "etl", "placement": "pod", "cluster": "gpu"}, 1.0)
    ]


def test_the_metric_has_no_more_than_so_many_groups(stage: Stage) -> None:
    stage.waits(**ETL)
    (row,) = [row for row in stage.database.run("backlogs", cap=100) if row["queue"] == "etl"]
    many = [dict(row) | {"queue": f"q{n}"} for n in range(MOST_UNSERVED * 3)]
    (family,) = [each for each in Snapshot(many, [], [], []).families() if each.name == "halfstep_unserved_tasks"]
    assert len(family.samples) == MOST_UNSERVED


def test_a_thousand_workers_of_one_kind_are_read_as_one(stage: Stage) -> None:
    for _ in range(20):
        stage.make_worker(queues=["etl"])
    assert stage.book.serving() == [Serving("worker", "worker", "", ["etl"])]


ODD = {
    "a JSON null": "null",
    "an object": '{"placement": "pod"}',
    "a number": "7",
    "a list of other things": '[1, "x", null, [], [[1]]]',
    "queues that are no list": '[{"placement": "worker", "cluster": "", "queues": "etl"}, {"queues": {}}, {"queues": 3}]',
    "queues of other things": '[{"placement": "worker", "cluster": "gpu", "queues": [1, null, {}, ["etl"]]}]',
    "names that are none": '[{"placement": {"a": 1}, "cluster": [2], "queues": []}]',
    "a list too deep for anybody": "[" * 500 + "]" * 500,
}


@pytest.mark.parametrize("said", ODD.values(), ids=ODD)
def test_whatever_one_scaler_says_everybody_else_is_still_told(stage: Stage, said: str) -> None:
    task = stage.waits(**ETL)
    stage.scaler(target(cluster="", queues=["mail"]))
    stage.scaler()
    sql = "UPDATE halfstep.scaler SET targets = CAST(%(said)s AS jsonb), refused = CAST(%(said)s AS jsonb) WHERE targets = '[]'"
    stage.database.execute(sql, {"said": said})
    assert ("etl", "worker", "", 1) in stage.unserved()
    assert "no worker serves queue" in stage.why(task)
    assert all(row["name"] is None for row in stage.book.refused_objects())

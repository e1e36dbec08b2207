"""Reports: what people read."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from halfstep import NewTask, enqueue, enqueue_many
from halfstep.administration import Administration
from halfstep.database import Database
from halfstep.errors import NotFound
from halfstep.outcomes import Failed
from halfstep.queue import Queue
from halfstep.reports import Reports, TaskFilter


def listed(reports: Reports, **wanted: Any) -> list[int]:
    return [task["id"] for task in reports.tasks(TaskFilter(**wanted))]


@pytest.fixture
def seven(database: Database, worker: Any) -> list[int]:
    """Two that succeeded, one that failed, one running, one ready, one scheduled, one pod of another queue; in this order."""
    made = enqueue_many(database, [NewTask("bash", {}, {"labels": {"n": str(n % 2)}}) for n in range(5)])
    worker.finish(*worker.claim(2))
    worker.finish(*worker.claim(), outcome=Failed("no"))
    worker.claim()
    return [
        *made,
        enqueue(database, "sql", run_at="2100-01-01T00:00:00Z"),
        enqueue(database, "pod", placement="pod", queue="pods"),
    ]


def test_tasks_are_listed_newest_first_wherever_they_are(seven: list[int], reports: Reports) -> None:
    assert listed(reports) == seven[::-1]
    assert listed(reports, limit=3) == seven[:3:-1]


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ({"states": ["succeeded"]}, [1, 0]),
        ({"states": ["failed", "running"]}, [3, 2]),
        ({"states": ["scheduled"]}, [5]),
        ({"states": []}, []),
        ({"queue": "pods"}, [6]),
        ({"operator": "sql"}, [5]),
        ({"label": "n=1"}, [3, 1]),
        ({"label": "n=1", "states": ["succeeded"]}, [1]),
        ({"label": "missing=1"}, []),
        ({"cluster": ""}, [6]),
        ({"cluster": "gpu"}, []),
    ],
)
def test_filters_narrow_the_list(seven: list[int], reports: Reports, wanted: dict[str, Any], places: list[int]) -> None:
    assert listed(reports, **wanted) == [seven[place] for place in places]


def test_reports_are_plain_json_and_their_times_are_in_utc(seven: list[int], reports: Reports) -> None:
    told = [*reports.tasks(), *map(reports.show, seven), *reports.queues(), *reports.workers(everyone=True)]
    json.dumps(told, allow_nan=False)
    assert datetime.fromisoformat(reports.show(seven[0])["finished_at"]).utcoffset().total_seconds() == 0  # type: ignore[union-attr]


def test_show_has_the_documented_fields(seven: list[int], reports: Reports) -> None:
    for id in seven:
        told = reports.show(id)
        assert {"id", "state", "queue", "operator", "result", "error", "attempts"} <= set(told)
        for attempt in told["attempts"]:
            assert {"number", "worker", "started_at", "ended_at", "outcome", "reason"} <= set(attempt)


def test_an_unknown_task_is_told(reports: Reports) -> None:
    with pytest.raises(NotFound, match="no task 42"):
        reports.show(42)


def test_show_says_why_a_task_waits(seven: list[int], database: Database, reports: Reports, queue: Queue) -> None:
    assert reports.show(seven[4])["why"] == "waits for a free slot"
    assert reports.show(seven[5])["why"] == "waits until 2100-01-01 00:00:00 UTC"
    assert reports.show(seven[6])["why"] == "no worker serves its queue"
    database.execute("UPDATE halfstep.task SET alone = true WHERE id = %(id)s", {"id": seven[4]})
    assert reports.show(seven[4])["why"] == "waits for a worker of its own"
    queue.pause("pods")
    assert reports.show(seven[6])["why"] == "its queue is paused"


def test_states_are_told_for_the_tasks_that_exist(seven: list[int], reports: Reports) -> None:
    states = ["succeeded", "succeeded", "failed", "running", "ready", "scheduled", "ready"]
    assert reports.states([*seven, 999]) == dict(zip(seven, states, strict=True))
    assert reports.states([]) == {}


def test_queues_tell_what_they_hold(seven: list[int], reports: Reports, administration: Administration) -> None:
    administration.set_queue("pods", weight=4, operators=["pod"])
    default, pods = reports.queues()
    assert default == {
        "name": "default",
        "weight": 1,
        "paused": False,
        "operators": None,
        "placements": None,
        "ready": 1,
        "scheduled": 1,
        "running": 1,
    }
    assert pods == {
        "name": "pods",
        "weight": 4,
        "paused": False,
        "operators": ["pod"],
        "placements": None,
        "ready": 1,
        "scheduled": 0,
        "running": 0,
    }


def test_queues_count_no_further_than_the_cap(seven: list[int], database: Database, reports: Reports) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 20)
    assert reports.queues(cap=5)[0]["ready"] == 5


def test_what_has_finished_since_is_counted(seven: list[int], database: Database, reports: Reports, worker: Any) -> None:
    moment = database.execute("SELECT clock_timestamp() AS now")[0]["now"]
    worker.finish(*worker.claim())
    assert reports.finished_since(moment) == 1

"""Retry: a failed attempt is told and its task runs again after the back-off; a finished task runs again on demand."""

from __future__ import annotations

from typing import Any

import pytest

from halfstep import NewTask, enqueue, enqueue_many
from halfstep.database import Database
from halfstep.errors import Conflict, NotFound
from halfstep.outcomes import Failed, Retry
from halfstep.queue import Queue
from halfstep.reports import Reports


def test_a_retry_waits_for_its_delay_and_counts_the_failure(
    database: Database, worker: Any, queue: Queue, reports: Reports
) -> None:
    id = enqueue(database, "bash")
    assert queue.retry([(worker.claim()[0], Retry("It broke.", 3600.0, "crash"))]) == []
    task = reports.show(id)
    assert (task["state"], task["failures"], task["attempt"]) == ("scheduled", 1, 1)
    assert [(a["number"], a["worker"], a["outcome"], a["reason"], a["error"]) for a in task["attempts"]] == [
        (1, "w", "failed", "crash", "It broke.")
    ]
    wait = "SELECT extract(epoch FROM run_at - clock_timestamp()) AS seconds FROM halfstep.task"
    assert 3500 < database.execute(wait)[0]["seconds"] <= 3600


def test_a_retry_without_delay_is_ready_at_once(database: Database, worker: Any, queue: Queue) -> None:
    enqueue(database, "bash")
    queue.retry([(worker.claim()[0], Retry("no", 0.0))])
    (claim,) = worker.claim()
    assert (claim.attempt, claim.failures) == (2, 1)


def test_a_retry_that_does_not_count_uses_up_no_attempt(database: Database, worker: Any, queue: Queue) -> None:
    enqueue(database, "bash")
    queue.retry([(worker.claim()[0], Retry("no", 0.0, counts=False))])
    (claim,) = worker.claim()
    assert (claim.attempt, claim.failures) == (2, 0)


def test_a_batch_of_retries_keeps_each_delay(database: Database, worker: Any, queue: Queue, reports: Reports) -> None:
    made = enqueue_many(database, [NewTask("bash", {}, {})] * 3)
    queue.retry([(claim, Retry("no", delay)) for claim, delay in zip(worker.claim(3), (0.0, 60.0, 0.0), strict=True)])
    assert reports.states(made) == {made[0]: "ready", made[1]: "scheduled", made[2]: "ready"}


def test_a_finished_task_runs_again_under_its_id_and_keeps_its_attempts(
    database: Database, worker: Any, queue: Queue, reports: Reports
) -> None:
    id = enqueue(database, "bash", max_attempts=2)
    queue.retry([(worker.claim()[0], Retry("first", 0.0))])
    worker.finish(*worker.claim(), outcome=Failed("second", "timeout"))
    queue.retry_finished(id)
    task = reports.show(id)
    assert (task["state"], task["failures"], task["attempt"], task["result"], task["error"]) == ("ready", 0, 2, None, None)
    worker.finish(*worker.claim())
    assert [(a["number"], a["outcome"], a["reason"], a["error"]) for a in reports.show(id)["attempts"]] == [
        (1, "failed", "exception", "first"),
        (2, "failed", "timeout", "second"),
        (3, "succeeded", None, None),
    ]


@pytest.mark.parametrize("ended", ["succeeded", "failed", "cancelled while it waited"])
def test_whatever_has_ended_can_run_again(database: Database, worker: Any, queue: Queue, reports: Reports, ended: str) -> None:
    id = enqueue(database, "bash")
    if ended.startswith("cancelled"):
        queue.cancel(id)
    else:
        worker.finish(*worker.claim(), outcome=Failed("no") if ended == "failed" else None)
    queue.retry_finished(id)
    assert [claim.id for claim in worker.claim()] == [id]
    assert database.execute("SELECT FROM halfstep.history") == []


def test_what_has_not_ended_or_never_was_is_refused(database: Database, worker: Any, queue: Queue) -> None:
    ready, later = enqueue(database, "bash"), enqueue(database, "bash", run_at="2100-01-01T00:00:00Z")
    for id in (ready, later):
        with pytest.raises(Conflict, match="has not ended yet"):
            queue.retry_finished(id)
    worker.claim()
    with pytest.raises(Conflict, match="has not ended yet"):
        queue.retry_finished(ready)
    with pytest.raises(NotFound, match="no task 999"):
        queue.retry_finished(999)

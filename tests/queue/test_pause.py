"""Pause: a property of the queue; no task is rewritten."""

from __future__ import annotations

import os
from typing import Any

import pytest

from halfstep import enqueue
from halfstep.database import Database, Listener
from halfstep.errors import NotFound
from halfstep.queue import Queue
from halfstep.reports import Reports


def test_a_paused_queue_is_claimed_from_no_more_and_others_are(database: Database, queue: Queue, worker: Any) -> None:
    enqueue(database, "bash", queue="a")
    other = enqueue(database, "bash", queue="b")
    queue.pause("a")
    assert [claim.id for claim in worker.claim(10, queues=["a", "b"])] == [other]
    queue.resume("a")
    assert len(worker.claim(10, queues=["a", "b"])) == 1


def test_a_pause_rewrites_no_task(database: Database, queue: Queue) -> None:
    enqueue(database, "bash")
    where = "SELECT ctid::text, xmin::text FROM halfstep.task"
    before = database.execute(where)
    queue.pause("default")
    queue.resume("default")
    assert database.execute(where) == before


def test_what_runs_goes_on_while_its_queue_is_paused(database: Database, queue: Queue, worker: Any, reports: Reports) -> None:
    id = enqueue(database, "bash")
    claims = worker.claim()
    queue.pause("default")
    assert worker.finish(*claims) == []
    assert reports.show(id)["state"] == "succeeded"


def test_enqueueing_to_a_paused_queue_works_and_show_says_why_it_waits(
    database: Database, queue: Queue, reports: Reports
) -> None:
    queue.pause("default")
    queue.pause("default")
    task = reports.show(enqueue(database, "bash"))
    assert (task["state"], task["why"]) == ("ready", "its queue is paused")
    assert [told["paused"] for told in reports.queues()] == [True]


def test_a_resumed_queue_is_notified(database_url: str, queue: Queue) -> None:
    never, _ = os.pipe()
    listener = Listener(database_url, "halfstep")
    queue.pause("default")
    queue.resume("default")
    assert listener.wait(10, stop_fd=never) == ["ready"]
    listener.close()


def test_an_unknown_queue_can_be_neither_paused_nor_resumed(queue: Queue) -> None:
    for verb in (queue.pause, queue.resume):
        with pytest.raises(NotFound, match="no queue nowhere"):
            verb("nowhere")

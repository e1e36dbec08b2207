"""What launchers tell of their troubles: kept while it lasts and while they live, and shown where people look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from halfstep.claims import Turn, Wish
from halfstep.database import Database
from halfstep.producer import enqueue
from halfstep.queue import Queue
from halfstep.reports import Reports
from halfstep.troubles import TroubleBook, TroubleRow

NO_RIGHT = TroubleRow("", "jobs", "create pods", "The API server refuses it. Give the launcher that right.", 12.0)
NO_LOGS = TroubleRow("", "jobs", "get pods/log", "The API server shows no logs.", 1.0)


def told(database: Database) -> list[tuple[str, str]]:
    """(launcher, part)."""
    return [(row["launcher"], row["part"]) for row in TroubleBook(database).list()]


def test_what_is_over_goes_and_what_lasts_keeps_its_beginning(database: Database, make_worker: Callable[..., Any]) -> None:
    book, launcher = TroubleBook(database), make_worker(placement="pod", name="l1")
    book.write(launcher.id, [NO_RIGHT])
    since = book.list()[0]["since"]
    book.write(launcher.id, [NO_LOGS, TroubleRow("", "jobs", "create pods", "It says something else.", 0.0)])
    rows = book.list()
    assert [(row["part"], row["sentence"]) for row in rows] == [
        ("create pods", "It says something else."),
        ("get pods/log", "The API server shows no logs."),
    ]
    assert rows[0]["since"] == since
    book.write(launcher.id, [])
    assert book.list() == []


def test_nothing_is_told_of_a_launcher_that_died_or_left(
    database: Database, queue: Queue, make_worker: Callable[..., Any]
) -> None:  # fmt: skip
    book = TroubleBook(database)
    dead, gone, lives = (make_worker(placement="pod", name=name) for name in ("dead", "gone", "lives"))
    for launcher in (dead, gone, lives):
        book.write(launcher.id, [NO_RIGHT])
    assert queue.mark_dead(dead.id, counter=0)
    queue.deregister(gone.id)
    assert told(database) == [("lives", "create pods")]
    book.write(dead.id, [NO_RIGHT])
    book.write(lives.id, [NO_LOGS])
    assert database.execute("SELECT count(*) AS rows FROM halfstep.trouble")[0]["rows"] == 1, "theirs are taken away"


def test_a_task_that_waits_or_runs_says_it(database: Database, reports: Reports, queue: Queue, make_worker: Any) -> None:
    book, launcher = TroubleBook(database), make_worker(placement="pod", name="l1")
    running = enqueue(database, "pod", {"image": "x"}, placement="pod")
    queue.exchange(Turn(launcher.id, 0, ("default",), "pod", ""), Wish(1, "0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11"))
    waits, elsewhere = (enqueue(database, "pod", {"image": "x"}, placement="pod"), enqueue(database, "bash", {"command": "true"}))
    assert reports.show(waits)["why"] == "waits for a free slot"
    book.write(launcher.id, [NO_RIGHT])
    assert reports.show(waits)["why"] == NO_RIGHT.sentence
    assert reports.show(running)["why"] == NO_RIGHT.sentence
    assert "API server" not in reports.show(elsewhere)["why"]
    queue.pause("default")
    assert reports.show(waits)["why"] == "its queue is paused"
    queue.resume("default")
    queue.mark_dead(launcher.id, counter=0)
    assert reports.show(running)["why"] == "running on l1"


def test_a_trouble_of_another_cluster_is_no_answer(database: Database, reports: Reports, make_worker: Callable[..., Any]) -> None:
    make_worker(placement="pod", name="l1")
    other = make_worker(placement="pod", name="l2", cluster="far")
    waits = enqueue(database, "pod", {"image": "x"}, placement="pod")
    TroubleBook(database).write(other.id, [TroubleRow("far", "jobs", "create pods", "far is away", 1.0)])
    assert reports.show(waits)["why"] == "waits for a free slot"

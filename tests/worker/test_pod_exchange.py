"""A launcher's exchange, round by round, on real PostgreSQL: what the database refuses of one step harms no other."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from halfstep.database import Database
from halfstep.errors import RefusedValue
from halfstep.pods import Doubt
from halfstep.producer import enqueue
from halfstep.troubles import TroubleBook, TroubleRow
from halfstep_worker.desk import Desk, Outgoing
from halfstep_worker.heartbeat import Pulse
from halfstep_worker.kubernetes.exchange import REWORD_SECONDS, PodExchanger
from halfstep_worker.settings import WorkerSettings

ATTEMPTS = ("0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11", "0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c12")


class Rounds:
    """A launcher's exchange that turns only when told."""

    def __init__(self, url: str) -> None:
        self.desk, self.pulse = Desk(), Pulse()
        self.troubles: list[TroubleRow] = []
        settings = WorkerSettings(url, slots=9, placement="pod", poll_seconds=0.001)
        self.exchanger = PodExchanger(settings, self.desk, self.pulse, troubles=lambda: self.troubles)
        self.exchanger.register()


@pytest.fixture
def rounds(database_url: str) -> Iterator[Rounds]:
    made = Rounds(database_url)
    yield made
    made.desk.close()


def claimed(rounds: Rounds) -> int:
    """How many claims come within a few rounds."""
    rounds.desk.aim(9)
    for _ in range(3):
        rounds.exchanger.tick()
    return len(rounds.desk.collect().claims)


@pytest.mark.parametrize("bad", ["", "not-a-uuid", "0b3d1f0e", "'; DROP", "\N{SNOWMAN}", "x" * 70])
def test_an_attempt_that_is_no_id_is_left_alone_and_everything_else_goes_on(
    rounds: Rounds, database: Database, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    enqueue(database, "pod", {"image": "x"}, placement="pod")
    doubts = [Doubt(bad, f"u-{number}", "tasks", marked=True, older=False, twin=False) for number in range(2)]
    rounds.desk.send(Outgoing(doubtful=doubts))
    with caplog.at_level(logging.ERROR, "halfstep"):
        assert claimed(rounds) == 1
    assert [record.event for record in caplog.records] == ["part.refused"] * 2  # type: ignore[attr-defined]
    assert "'doubt pods'" in caplog.text


def test_a_step_that_is_refused_for_good_is_told_and_tried_later(
    rounds: Rounds, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def refuse(*_: Any, **__: Any) -> Any:
        nonlocal tries
        tries += 1
        raise RefusedValue("invalid input syntax for type uuid")

    adopt = rounds.exchanger._book.adopt
    monkeypatch.setattr(rounds.exchanger._book, "adopt", refuse)
    enqueue(database, "pod", {"image": "x"}, placement="pod")
    assert claimed(rounds) == 1
    assert tries == 1, "it waits before it is tried again"
    (row,) = TroubleBook(database).list()
    assert (row["part"], row["namespace"]) == ("adopt pods", "")
    assert "invalid input syntax" in row["sentence"]
    monkeypatch.setattr(rounds.exchanger._book, "adopt", adopt)
    rounds.exchanger._apart._refused.clear()
    rounds.exchanger.tick()
    assert TroubleBook(database).list() == []


def test_troubles_are_written_when_they_change_and_go_with_the_launcher(rounds: Rounds, database: Database) -> None:
    book = TroubleBook(database)
    rounds.troubles = [TroubleRow("", "jobs", "create pods", "No right.", 1.0)]
    rounds.exchanger.tick()
    assert [row["sentence"] for row in book.list()] == ["No right."]
    database.execute("DELETE FROM halfstep.trouble")
    rounds.exchanger.tick()
    assert book.list() == [], "nothing has changed"
    rounds.troubles = [TroubleRow("", "jobs", "create pods", "No right at all.", 1.0)]
    rounds.exchanger.tick()
    assert book.list() == [], "other words can wait"
    rounds.exchanger._told_at -= REWORD_SECONDS
    rounds.exchanger.tick()
    assert [row["sentence"] for row in book.list()] == ["No right at all."]
    rounds.exchanger._leave()
    assert database.execute("SELECT count(*) AS rows FROM halfstep.trouble")[0]["rows"] == 0


def test_a_launcher_that_was_taken_for_dead_tells_them_again_under_its_new_name(rounds: Rounds, database: Database) -> None:
    rounds.troubles = [TroubleRow("", "jobs", "create pods", "No right.", 1.0)]
    rounds.exchanger.tick()
    before = rounds.pulse.worker_id
    rounds.exchanger._queue.mark_dead(before, counter=0)
    assert TroubleBook(database).list() == []
    rounds.pulse.marked_dead = before
    rounds.exchanger.tick()
    assert [row["sentence"] for row in TroubleBook(database).list()] == ["No right."]


def test_a_trouble_that_can_t_be_stored_as_it_is_is_told_all_the_same(rounds: Rounds, database: Database) -> None:
    rounds.troubles = [TroubleRow("", "jobs", "create pods", "No\0right.", 1.0)]
    rounds.exchanger.tick()
    assert [row["sentence"] for row in TroubleBook(database).list()] == ["No\\x00right."]

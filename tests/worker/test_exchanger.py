"""The exchange, round by round, on real PostgreSQL; no processes and no threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from halfstep.administration import Administration
from halfstep.claims import Claim, Ending
from halfstep.database import Database
from halfstep.outcomes import Succeeded
from halfstep.producer import NewTask, enqueue, enqueue_many
from halfstep.queue import Queue
from halfstep.reports import Reports
from halfstep_worker.desk import Desk, Outgoing
from halfstep_worker.exchanger import Exchanger
from halfstep_worker.heartbeat import Pulse
from halfstep_worker.settings import WorkerSettings


class Rounds:
    """An exchanger that turns only when told."""

    def __init__(self, url: str) -> None:
        self.desk = Desk()
        self.pulse = Pulse()
        self.exchanger = Exchanger(WorkerSettings(url, slots=1), self.desk, self.pulse)
        self.exchanger.register()

    def claim(self, target: int) -> list[Claim]:
        """What it claims when it aims at `target`."""
        self.desk.aim(target)
        self.exchanger.tick()
        self.exchanger.tick()
        return self.desk.collect().claims

    def finish(self, claims: list[Claim], results: list[str]) -> None:
        """Hands endings over and lets it write them."""
        self.desk.aim(0)
        self.desk.send(Outgoing(endings=[Ending(c, Succeeded(r)) for c, r in zip(claims, results, strict=True)]))
        for _ in claims:
            self.exchanger.tick()


@pytest.fixture
def rounds(database_url: str) -> Iterator[Rounds]:
    """One exchanger on the test's database."""
    made = Rounds(database_url)
    yield made
    made.desk.close()


@pytest.fixture
def numbered(database: Database) -> Callable[[int], list[int]]:
    """Enqueues that many tasks."""
    return lambda count: enqueue_many(database, [NewTask("python", {"function": "x:y"}, {}) for _ in range(count)])


def test_a_value_the_server_refuses_fails_alone_and_its_batch_finishes(
    rounds: Rounds, numbered: Callable[[int], list[int]], reports: Reports
) -> None:
    ids = numbered(9)
    claims = rounds.claim(9)
    rounds.finish(claims, ["1"] * 4 + ["1e999999999"] + ["2"] * 4)
    bad = reports.show(ids[4])
    assert (bad["state"], bad["reason"]) == ("failed", "result")
    assert "could not be stored" in bad["error"]
    assert [reports.show(task)["result"] for task in ids if task != ids[4]] == [1] * 4 + [2] * 4


def test_a_batch_holds_no_more_than_the_aim(rounds: Rounds, numbered: Callable[[int], list[int]]) -> None:
    numbered(9)
    assert len(rounds.claim(4)) == 4
    assert rounds.claim(4) == []
    assert len(rounds.claim(6)) == 2


def test_a_worker_that_was_marked_dead_registers_afresh_and_loses_its_claims(
    rounds: Rounds, numbered: Callable[[int], list[int]], queue: Queue
) -> None:
    numbered(2)
    held = rounds.claim(2)
    before = rounds.pulse.worker_id
    assert queue.mark_dead(before, counter=0)
    rounds.desk.aim(0)
    rounds.pulse.marked_dead = before
    rounds.exchanger.tick()
    assert rounds.desk.collect().lost == held
    assert rounds.pulse.worker_id != before


def test_a_worker_whose_lease_is_nearly_over_claims_nothing(rounds: Rounds, numbered: Callable[[int], list[int]]) -> None:
    numbered(1)
    rounds.pulse.renewed_at = time.monotonic() - 9.0
    assert rounds.claim(1) == []
    rounds.pulse.renewed_at = time.monotonic()
    assert len(rounds.claim(1)) == 1


def test_queues_share_by_weight_and_none_starves(rounds: Rounds, database: Database, administration: object) -> None:
    for name, weight in (("light", 1), ("heavy", 3)):
        Administration(database).set_queue(name, weight=weight)
        enqueue_many(database, [NewTask("bash", {"command": "true"}, {"queue": name}) for _ in range(40)])
    served: list[str] = []
    for target in range(1, 41):
        served += [claim.queue for claim in rounds.claim(target)]
    assert len(served) == 40
    assert 25 <= served.count("heavy") <= 33


def test_a_queue_that_is_made_later_is_served_too(rounds: Rounds, database: Database) -> None:
    assert rounds.claim(1) == []
    enqueue(database, "bash", {"command": "true"}, queue="brand-new")
    rounds.exchanger._ask_at = 0.0
    rounds.exchanger._polling.hint()
    rounds.exchanger.tick()
    rounds.exchanger._polling.hint()
    assert [claim.queue for claim in rounds.claim(1)] == ["brand-new"]


def test_a_worker_may_hold_more_than_one_exchange_brings(rounds: Rounds, numbered: Callable[[int], list[int]]) -> None:
    numbered(1200)
    assert len(rounds.claim(1200)) + len(rounds.claim(1200)) == 1200

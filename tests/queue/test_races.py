"""Two verbs at the same moment on one task: one winner, whoever is first, and legal states only."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from books import SNAPSHOT, check_books
from halfstep.claims import Claim
from halfstep.database import Database
from halfstep.errors import Conflict, HalfstepError
from halfstep.outcomes import Failed, Retry, Succeeded
from halfstep.pods import PodBook, PodRow
from halfstep.producer import NewTask, enqueue, enqueue_many
from halfstep.queue import Queue
from halfstep.reports import Reports
from waiting import PATIENCE

Connect = Callable[[], Database]
MakeWorker = Callable[..., Any]
Waiters = Callable[[int], None]


@pytest.fixture
def other(connect: Connect) -> Queue:
    """The verbs, on a second connection."""
    return Queue(connect())


@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_cancel_and_a_finish_at_once_have_one_winner(
    database: Database, queue: Queue, other: Queue, worker: Any, reports: Reports, threads: ThreadPoolExecutor,
    wait_for_lock_waiters: Waiters, cancel_first: bool,
) -> None:  # fmt: skip
    id = enqueue(database, "bash")
    (claim,) = worker.claim()
    worker.queue = queue if not cancel_first else other
    first, second = (lambda: queue.cancel(id), lambda: worker.finish(claim)) if cancel_first else (
        lambda: worker.finish(claim), lambda: other.cancel(id))  # fmt: skip
    with database.transaction():
        seen = [first()]
        late = threads.submit(second)
        wait_for_lock_waiters(1)
    if cancel_first:
        assert (seen[0], late.result(PATIENCE)) == ("requested", [])
    else:
        with pytest.raises(Conflict, match="succeeded"):
            late.result(PATIENCE)
    assert reports.show(id)["state"] == "succeeded"


@pytest.mark.parametrize("retry_first", [True, False])
def test_a_deadline_and_a_finish_at_once_have_one_winner(
    database: Database, queue: Queue, other: Queue, worker: Any, reports: Reports, threads: ThreadPoolExecutor,
    wait_for_lock_waiters: Waiters, retry_first: bool,
) -> None:  # fmt: skip
    id = enqueue(database, "bash")
    (claim,) = worker.claim()
    deadline = [(claim, Retry("It took too long.", 0.0, "timeout"))]
    with database.transaction():
        worker.queue = other if retry_first else queue
        won = queue.retry(deadline) if retry_first else worker.finish(claim)
        late = threads.submit(worker.finish, claim) if retry_first else threads.submit(other.retry, deadline)
        wait_for_lock_waiters(1)
    assert (won, late.result(PATIENCE)) == ([], [id])
    assert reports.show(id)["state"] == ("ready" if retry_first else "succeeded")
    assert [attempt["outcome"] for attempt in reports.show(id)["attempts"]] == ["failed" if retry_first else "succeeded"]


def test_a_pause_beside_a_claim_lets_it_have_what_it_took_and_nothing_later(
    database: Database, connect: Connect, queue: Queue, other: Queue, worker: Any
) -> None:
    first, second = enqueue_many(database, [NewTask("bash", {}, {})] * 2)
    with database.transaction():
        queue.pause("default")
        worker.queue = other
        assert [claim.id for claim in worker.claim()] == [first]  # the pause is not committed yet
    assert worker.claim() == []
    queue.resume("default")
    assert [claim.id for claim in worker.claim()] == [second]


@pytest.mark.parametrize("rescue_first", [True, False])
def test_a_retry_by_hand_beside_a_rescue_runs_the_task_once_more(
    database: Database, queue: Queue, other: Queue, worker: Any, reports: Reports, rescue_first: bool
) -> None:
    id = enqueue(database, "bash", at_most_once=True)
    worker.claim()
    worker.die(rescue=False)
    with database.transaction():
        if rescue_first:
            assert queue.rescue() == 1
        with pytest.raises(Conflict, match="not ended yet"):
            other.retry_finished(id)
        assert other.rescue() == (0 if rescue_first else 1)
    queue.retry_finished(id)
    with pytest.raises(Conflict, match="not ended yet"):
        other.retry_finished(id)
    assert [attempt["outcome"] for attempt in reports.show(id)["attempts"]] == ["failed"]


def test_two_retries_by_hand_at_once_make_one_attempt(
    database: Database, queue: Queue, other: Queue, worker: Any, threads: ThreadPoolExecutor, wait_for_lock_waiters: Waiters
) -> None:
    id = enqueue(database, "bash", unique_key="k")
    worker.finish(*worker.claim())
    with database.transaction():
        queue.database.run("retry_finished", id=id)
        late = threads.submit(other.retry_finished, id)
        wait_for_lock_waiters(1)
    with pytest.raises(Conflict, match="not ended yet"):
        late.result(PATIENCE)
    assert [claim.id for claim in worker.claim(5)] == [id]


@pytest.mark.parametrize("adopt_first", [True, False])
def test_an_adoption_and_a_late_finish_at_once_have_one_winner(
    database: Database, queue: Queue, other: Queue, make_worker: MakeWorker, threads: ThreadPoolExecutor,
    wait_for_lock_waiters: Waiters, adopt_first: bool,
) -> None:  # fmt: skip
    id = enqueue(database, "pod", placement="pod")
    dead, afresh, heir = (make_worker(placement="pod") for _ in range(3))
    (claim,) = dead.claim(placement="pod")
    PodBook(database).write([PodRow(claim.attempt_id, id, claim.attempt, "", "tasks", "hs-x", uid="u")])
    dead.die()
    afresh.queue = other if adopt_first else queue
    adopter = PodBook(database if adopt_first else other.database)
    with database.transaction():
        if adopt_first:
            adopted = adopter.adopt(heir.turn(placement="pod"), token=str(uuid.uuid4())).claims
            late = threads.submit(afresh.finish, claim)
            wait_for_lock_waiters(1)
        else:
            assert afresh.finish(claim) == []
            assert adopter.adopt(heir.turn(placement="pod"), token=str(uuid.uuid4())).claims == []
    if adopt_first:
        assert late.result(PATIENCE) == [id]
        heir.sequence += 1
        assert heir.finish(*adopted) == []
    states = database.execute("SELECT state, claim_token::text AS token FROM halfstep.history")
    assert [(row["state"], row["token"] == claim.token) for row in states] == [("succeeded", not adopt_first)]


def test_whatever_six_clients_do_at_once_each_claim_ends_once_and_the_books_balance(
    database: Database, connect: Connect, make_worker: MakeWorker, threads: ThreadPoolExecutor
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    ids = enqueue_many(database, [NewTask("bash", {}, {"max_attempts": 1000}) for _ in range(40)])
    shared: list[Claim] = []
    clients = [Client(random.Random(seed + n), Queue(connect()), make_worker, shared, ids) for n in range(6)]
    ended = [end for done in threads.map(Client.run, clients) for end in done]
    assert len(ended) == len(set(ended)), "a claim was ended twice"
    seen = database.execute(SNAPSHOT)[0]
    check_books(seen, enqueued=len(ids), pruned=0)
    told = {(row[0], row[1]) for row in seen["attempts"] or []}
    assert len(told) == len(seen["attempts"] or []), "an attempt is told twice"


class Client:
    """Does verbs at random, also with claims of others."""

    def __init__(self, random: random.Random, queue: Queue, make_worker: MakeWorker, shared: list[Claim], ids: list[int]) -> None:
        self.random, self.queue, self.shared, self.ids = random, queue, shared, ids
        self._make_worker = make_worker
        self.worker = make_worker(on=queue)
        self.ended: list[tuple[int, str]] = []

    def run(self) -> list[tuple[int, str]]:
        """The claims that it ended."""
        verbs = [self.claim] * 4 + [self.end] * 6 + [self.cancel, self.again, self.again, self.die, self.rescue, self.rescue]
        for _ in range(150):
            with suppress(HalfstepError):
                self.random.choice(verbs)()
        return self.ended

    def claim(self) -> None:
        self.shared += self.worker.claim(3, alone=self.random.random() < 0.3)

    def end(self) -> None:
        if not self.shared:
            return
        claim = self.random.choice(self.shared[-12:])
        ways: list[Callable[[], list[int]]] = [
            lambda: self.worker.finish(claim, outcome=self.random.choice([Succeeded(), Failed("It broke.")])),
            lambda: self.queue.retry([(claim, Retry("It broke.", 0.0))]),
            lambda: self.queue.release([claim], reason="drain", started=True),
        ]
        refused = self.random.choice(ways)()
        if not refused and self.worker.queue.resync(self.worker.id) is not None:
            self.worker.sequence += 1
            self.ended.append((claim.id, claim.token))

    def cancel(self) -> None:
        self.queue.cancel(self.random.choice(self.ids))

    def again(self) -> None:
        self.queue.retry_finished(self.random.choice(self.ids))

    def die(self) -> None:
        self.worker.die(rescue=False)
        self.worker = self._make_worker(on=self.queue)

    def rescue(self) -> None:
        self.queue.rescue(batch=5, lone_deaths=2)

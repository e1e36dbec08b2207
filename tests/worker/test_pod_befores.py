"""What a launcher looks up of tasks before it makes their pods: labels, and how often their attempts ran out of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from halfstep.claims import Before, Claim
from halfstep.database import Database
from halfstep.errors import DatabaseUnavailable
from halfstep.outcomes import Retry
from halfstep.pods import PodBook, PodRow
from halfstep.producer import enqueue
from halfstep.queue import Queue
from halfstep_worker.desk import Desk, Incoming
from halfstep_worker.heartbeat import Pulse
from halfstep_worker.kubernetes.defaults import PodDefaults
from halfstep_worker.kubernetes.exchange import PodExchanger
from halfstep_worker.kubernetes.more_memory import MoreMemory
from halfstep_worker.settings import WorkerSettings
from waiting import PATIENCE, wait_until

MakeWorker = Callable[..., Any]
GROWING = {"image": "x", "resources": {"limits": {"memory": "1Gi"}}, "on_oom": {"memory": "x2", "max": "8Gi"}}


@pytest.fixture
def book(database: Database) -> Iterator[PodBook]:
    yield PodBook(database)
    database.execute("DELETE FROM halfstep.pod")


@pytest.fixture
def attempts(database: Database, make_worker: MakeWorker, book: PodBook) -> Callable[..., Claim]:
    """A task whose attempts ended for these reasons, one after the other, and now has one more."""
    launcher = make_worker(name="first", placement="pod")

    def make(*reasons: str, memory: Any = None, **options: Any) -> Claim:
        enqueue(database, "pod", options.pop("args", GROWING), placement="pod", max_attempts=9, **options)
        for reason in reasons:
            (claim,) = launcher.claim(placement="pod")
            facts = {} if memory is None else {"memory": memory}
            book.write([row_of(claim, facts=facts)])
            assert Queue(database).retry([(claim, Retry("It ended.", 0.0, reason))]) == []
        (claim,) = launcher.claim(placement="pod")
        assert claim.attempt == len(reasons) + 1
        held: Claim = claim
        return held

    return make


def row_of(claim: Claim, **known: Any) -> PodRow:
    return PodRow(claim.attempt_id, claim.id, claim.attempt, "", "tasks", f"hs-{claim.attempt_id}", token=claim.token, **known)


def before(book: PodBook, claim: Claim, *labels: str) -> Before:
    return book.befores([claim], labels)[claim.attempt_id]


@pytest.mark.parametrize(
    ("reasons", "ooms"),
    [
        pytest.param((), 0, id="a first attempt"),
        pytest.param(("exit",), 0, id="one that ended otherwise"),
        pytest.param(("oom",), 1, id="one that ran out of memory"),
        pytest.param(("oom", "exit", "disrupted", "oom"), 2, id="two, and others between them"),
    ],
)
def test_only_ends_for_memory_are_counted(book: PodBook, attempts: Any, reasons: tuple[str, ...], ooms: int) -> None:
    assert before(book, attempts(*reasons)) == Before(ooms=ooms)


def test_another_tasks_ends_are_its_own(book: PodBook, attempts: Any, database: Database, make_worker: MakeWorker) -> None:
    attempts("oom", "oom")
    assert before(book, attempts()) == Before()


def test_the_limit_of_the_first_that_ran_out_is_told(book: PodBook, attempts: Any, database: Database) -> None:
    claim = attempts("exit", "oom", "oom", memory={"request": "1Gi", "limit": "1Gi"})
    database.execute(
        "UPDATE halfstep.pod SET facts = jsonb_build_object('memory', jsonb_build_object('limit', attempt || 'Gi')) "
        "WHERE task_id = %(id)s",
        {"id": claim.id},
    )
    assert before(book, claim) == Before(ooms=2, limit="2Gi")


@pytest.mark.parametrize("memory", [{}, {"request": "1Gi"}, "1Gi", [1], None])
def test_facts_of_any_shape_tell_no_limit(book: PodBook, attempts: Any, memory: Any) -> None:
    assert before(book, attempts("oom", memory=memory)).limit is None


def test_labels_are_told_as_texts_and_only_those_that_were_asked_for(book: PodBook, attempts: Any) -> None:
    labels = {
        "team": "shop",
        "center": 4711,
        "paid": True,
        "none": None,
        "list": [1],
        "object": {"a": 1},
        "empty": "",
        "rest": "x",
    }
    claim = attempts(labels=labels)
    found = dict(before(book, claim, "team", "center", "paid", "none", "list", "object", "empty", "missing", "team").labels)
    assert found == {"team": "shop", "center": "4711", "paid": "true", "empty": ""}
    assert before(book, claim) == Before()


def test_a_task_without_labels_has_none(book: PodBook, attempts: Any) -> None:
    assert before(book, attempts(), "team") == Before()


# -- in the exchange


class NotedDesk(Desk):
    """Notes what is handed to the loop, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[Incoming] = []

    def deliver(self, incoming: Incoming) -> None:
        self.noted.append(incoming)


@pytest.fixture
def claimed(database_url: str) -> Iterator[Callable[..., Claim]]:
    """The claim of the one task that waits, as a launcher's loop gets it."""
    made: list[PodExchanger] = []

    def claim(defaults: PodDefaults | None = None) -> Claim:
        desk = NotedDesk()
        desk.aim(10)
        settings = WorkerSettings(database_url, name="second", placement="pod", slots=10)
        exchanger = PodExchanger(settings, desk, Pulse(), defaults)
        made.append(exchanger)
        exchanger.register()

        def taken() -> list[Claim]:
            exchanger.tick()
            return [claim for incoming in desk.noted for claim in incoming.claims]

        (found,) = wait_until(taken, what="the claim")
        return found

    yield claim
    for exchanger in made:
        assert exchanger.stop(timeout=0), "it was never started"


@pytest.mark.parametrize(
    ("args", "defaults", "told"),
    [
        pytest.param(GROWING, None, Before(ooms=1), id="a task that wants to grow"),
        pytest.param({"image": "x"}, None, Before(), id="a task that says nothing is not looked up"),
        pytest.param(
            {"image": "x"}, PodDefaults(on_oom=MoreMemory(2**34, step=2**30)), Before(ooms=1), id="the launcher's default"
        ),
        pytest.param(
            {"image": "x"},
            PodDefaults(task_labels=("team",)),
            Before(labels=(("team", "shop"),), ooms=1),
            id="labels that are copied",
        ),
    ],
)
def test_a_claim_comes_with_what_its_pod_is_made_of(
    attempts: Any, claimed: Any, database: Database, args: Any, defaults: Any, told: Before
) -> None:
    claim = attempts("oom", args=args, labels={"team": "shop"})
    Queue(database).release([claim], reason="drain", started=False)
    assert claimed(defaults).before == told


def test_an_adopted_claim_too_as_its_pod_may_have_to_be_made(
    attempts: Any, claimed: Any, book: PodBook, database: Database
) -> None:
    claim = attempts("oom")
    book.write([row_of(claim)])
    database.execute("UPDATE halfstep.lease SET dead_at = clock_timestamp()")
    adopted = claimed()
    assert (adopted.attempt_id, adopted.before) == (claim.attempt_id, Before(ooms=1))


def test_claims_whose_look_up_failed_come_when_the_database_answers_again(
    attempts: Any, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Queue(database).release([attempts("oom")], reason="drain", started=False)
    look_up, failed = PodBook.befores, []

    def fail_once(self: PodBook, claims: Any, labels: Any) -> Any:
        if not failed:
            failed.append(claims)
            raise DatabaseUnavailable("So the test wants it.")
        return look_up(self, claims, labels)

    monkeypatch.setattr(PodBook, "befores", fail_once)
    desk = NotedDesk()
    desk.aim(10)
    exchanger = PodExchanger(WorkerSettings(database_url, name="second", placement="pod", slots=10), desk, Pulse())
    exchanger.register()
    exchanger.start()
    try:
        (claim,) = wait_until(lambda: [c for incoming in desk.noted for c in incoming.claims], what="the claim")
    finally:
        exchanger.stop(timeout=PATIENCE)
    assert failed
    assert claim.before == Before(ooms=1)

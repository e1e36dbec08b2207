"""What an adopter learns from SQL: how far each stream of a log is stored, and how long a pod had waited and run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from halfstep.claims import Claim
from halfstep.database import Database
from halfstep.pods import Doubt, Past, PodBook, PodRow, StreamEnd
from halfstep.producer import enqueue
from halfstep.reports import Reports
from halfstep_worker.desk import Desk, Incoming
from halfstep_worker.heartbeat import Pulse
from halfstep_worker.kubernetes.exchange import PodExchanger
from halfstep_worker.settings import WorkerSettings
from waiting import is_within, wait_until

MakeWorker = Callable[..., Any]


@pytest.fixture
def book(database: Database) -> Iterator[PodBook]:
    """What SQL knows of pods; nothing at the end."""
    yield PodBook(database)
    database.execute("DELETE FROM halfstep.pod")


@pytest.fixture
def claim(database: Database, make_worker: MakeWorker) -> Claim:
    """Held by the launcher `first`."""
    enqueue(database, "pod", {"image": "x"}, placement="pod")
    launcher = make_worker(name="first", placement="pod")
    held: Claim = launcher.claim(placement="pod")[0]
    return held


def row_of(claim: Claim, **known: Any) -> PodRow:
    return PodRow(claim.attempt_id, claim.id, claim.attempt, "", "tasks", f"hs-{claim.attempt_id}", token=claim.token, **known)


def chunk(claim: Claim, number: int, *lines: tuple[float, str, str], token: str | None = None) -> dict[str, Any]:
    told = {"task_id": claim.id, "attempt": claim.attempt, "chunk": number, "lines": [list(line) for line in lines]}
    return told | {"token": token or claim.token}


def past(book: PodBook, claim: Claim) -> Past:
    return book.pasts([claim])[claim.attempt_id]


def test_an_attempt_that_left_nothing_has_an_empty_past(book: PodBook, claim: Claim) -> None:
    assert past(book, claim) == Past()


def test_each_stream_of_a_log_has_an_end_of_its_own(book: PodBook, claim: Claim) -> None:
    book.write_log([
        chunk(claim, 0, (10.25, "stdout", "a"), (10.5, "side", "b")),
        chunk(claim, 1, (11.0, "stdout", "c"), (12.123456789, "stdout", "d"), (12.0, "stdout", "late")),
    ])  # fmt: skip
    log = past(book, claim).log
    assert log.chunk == 2
    assert log.streams == {"stdout": StreamEnd(11, 3, 12.123456789), "side": StreamEnd(9, 1, 10.5)}


def test_a_chunk_that_is_there_already_is_passed_over(book: PodBook, claim: Claim, reports: Reports) -> None:
    book.write_log([chunk(claim, 0, (1.0, "stdout", "a"))])
    book.write_log([chunk(claim, 0, (1.0, "stdout", "a")), chunk(claim, 1, (2.0, "stdout", "b"))])
    assert [line["text"] for _, line in reports.log(claim.id)] == ["a", "b"]


def test_who_has_lost_the_claim_writes_neither_lines_nor_facts(book: PodBook, claim: Claim, reports: Reports) -> None:
    assert book.write([row_of(claim, uid="u-1", facts={"class": "oom"})]) == {claim.attempt_id}
    late = str(uuid4())
    book.write_log([chunk(claim, 0, (1.0, "stdout", "late"), token=late)])
    stale = PodRow(claim.attempt_id, claim.id, 1, "", "tasks", "hs-x", facts={"class": "deleted"}, token=late)
    assert book.write([stale]) == set()
    assert list(reports.log(claim.id)) == []
    assert past(book, claim).facts == {"class": "oom"}


def test_an_intent_is_not_written_for_a_claim_that_is_lost(book: PodBook, claim: Claim) -> None:
    stale = PodRow(claim.attempt_id, claim.id, 1, "", "tasks", "hs-x", token=str(uuid4()))
    assert book.write([stale]) == set()
    assert book.list(task=claim.id) == []


def test_how_long_a_pod_had_waited_and_run_is_told_as_of_now(book: PodBook, claim: Claim, database: Database) -> None:
    now = time.monotonic()
    book.write([row_of(claim, uid="u-1", facts={}, parked_at=now - 100, running_since=now - 40)])
    database.execute("UPDATE halfstep.pod SET updated_at = updated_at - make_interval(secs => 7)")
    found = past(book, claim)
    since = time.monotonic() - now
    assert 100 <= found.facts["waited_seconds"] <= 100 + since
    assert 40 <= found.facts["ran_seconds"] <= 40 + since
    assert 7 <= found.age <= 7 + since


def test_how_long_a_pod_has_been_in_a_queue_is_told_while_it_is(book: PodBook, claim: Claim) -> None:
    now = time.monotonic()
    book.write([row_of(claim, facts={"waiting": "quota"}, queued_since=now - 30)])
    facts = past(book, claim).facts
    assert 30 <= facts["queued_seconds"] <= 30 + time.monotonic() - now
    assert "waited_seconds" not in facts
    book.write([row_of(claim, uid="u-1", facts={}, parked_at=now)])
    assert "queued_seconds" not in past(book, claim).facts


def test_a_database_clock_that_went_back_makes_no_pod_younger(book: PodBook, claim: Claim, database: Database) -> None:
    book.write([row_of(claim, facts={})])
    database.execute("UPDATE halfstep.pod SET updated_at = updated_at + interval '1 hour'")
    assert past(book, claim).age == 0


def test_long_logs_of_many_attempts_are_looked_through_in_time(book: PodBook, claim: Claim, database: Database) -> None:
    text = "some forty characters, as logs have them"
    lines = [(1000 + n / 100, "stdout" if n % 9 else "side", text) for n in range(600)]
    book.write_log([chunk(claim, number, *lines) for number in range(70)])  # as much as a log can hold
    began = time.monotonic()
    assert past(book, claim).log.streams["stdout"].last_at == pytest.approx(1005.99)
    assert is_within(1.4, time.monotonic() - began), "ten of them have to end before the statement's time-out of 15 s"


class NotedDesk(Desk):
    """Notes what is handed to the loop, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[Incoming] = []

    def deliver(self, incoming: Incoming) -> None:
        self.noted.append(incoming)


def test_an_adopted_claim_never_comes_without_its_past(
    book: PodBook, claim: Claim, database: Database, database_url: str
) -> None:
    book.write([row_of(claim, uid="u-1", facts={"stopping": "timeout"})])
    database.execute("UPDATE halfstep.lease SET dead_at = clock_timestamp()")
    desk = NotedDesk()
    desk.aim(10)
    exchanger = PodExchanger(WorkerSettings(database_url, name="second", placement="pod", slots=10), desk, Pulse())
    exchanger.register()

    def adopted() -> list[Incoming]:
        exchanger.tick()
        return [incoming for incoming in desk.noted if incoming.claims]

    (incoming,) = wait_until(adopted, what="the adoption")
    assert [adopted.attempt_id for adopted in incoming.claims] == [claim.attempt_id]
    assert incoming.pasts[claim.attempt_id].facts["stopping"] == "timeout"
    assert exchanger.stop(timeout=0), "it was never started"


# -- what a pod is that no claim explains


class Case:
    """Of a pod of the claim's attempt, unless it says otherwise. uid: what SQL has; its own is `u-1`."""

    def __init__(self, word: str, *, uid: str | None = "u-1", over: bool = True, **known: Any) -> None:
        self.word, self.uid, self.over, self.known = word, uid, over, known


CASES = {
    "its attempt runs": Case("live", over=False),
    "its attempt runs, and has no uid yet": Case("live", uid=None, over=False, marked=False),
    "another pod is the running attempt's": Case("foreign", uid="u-2", over=False),
    "its attempt is over": Case("garbage"),
    "its attempt is over, and another pod was its": Case("foreign", uid="u-2"),
    "its attempt is over, was never acknowledged, and it has the mark": Case("garbage", uid=None),
    "its attempt is over, was never acknowledged, and it has no mark": Case("foreign", uid=None, marked=False),
    "the same, and it looks as older launchers made them": Case("foreign", uid=None, marked=False, older=True),
    "the same, and an older launcher intended it": Case("garbage", uid=None, marked=False, older=True, of_old=True),
    "its attempt is over, was never acknowledged, and was meant for elsewhere": Case("foreign", uid=None, namespace="other"),
    "its name was taken by somebody else": Case("foreign", uid=None, facts={"class": "taken"}),
    "its name must stay taken": Case("live", uid=None, keep_seconds=60.0),
    "nobody knows its attempt": Case("unknown", attempt="00000000-0000-4000-8000-000000000007"),
}


def doubt_of(book: PodBook, claim: Claim, database: Database, case: Case) -> Doubt:
    """The case is made in SQL; what a launcher asks of its pod."""
    row = {key: case.known[key] for key in ("facts", "keep_seconds") if key in case.known}
    book.write([row_of(claim, uid=case.uid, **row)])
    if case.known.get("of_old"):
        database.execute("UPDATE halfstep.pod SET marked = NULL")
        assert not past(book, claim).marked
    if case.over:
        database.execute("DELETE FROM halfstep.task WHERE id = %(id)s", {"id": claim.id})
    return Doubt(
        case.known.get("attempt", claim.attempt_id), "u-1", case.known.get("namespace", "tasks"),
        marked=case.known.get("marked", True), older=case.known.get("older", False), twin=True,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_only_a_pod_that_was_ours_and_that_nobody_needs_is_garbage(
    book: PodBook, claim: Claim, database: Database, case: Case
) -> None:
    assert book.doubted([doubt_of(book, claim, database, case)]) == {"u-1": case.word}


def test_two_pods_by_the_name_of_one_attempt_are_told_apart(book: PodBook, claim: Claim) -> None:
    book.write([row_of(claim, uid="u-1")])
    doubts = [Doubt(claim.attempt_id, uid, "tasks", marked=True, older=False, twin=True) for uid in ("u-1", "u-2")]
    assert book.doubted(doubts) == {"u-1": "live", "u-2": "foreign"}
    assert book.doubted([]) == {}


OWNERS = {
    "its uid is known, and it is needed": Case("ours", over=False, marked=False),
    "its uid is known, and nobody needs it": Case("ours", marked=False),
    "another uid is known": Case("foreign", uid="u-2"),
    "it was never acknowledged, and has the mark": Case("ours", uid=None),
    "it was never acknowledged, its name must stay taken, and it has no mark": Case(
        "foreign", uid=None, marked=False, keep_seconds=60.0
    ),
    "it was never acknowledged, and looks as older launchers made them": Case("foreign", uid=None, marked=False, older=True),
    "the same, and an older launcher intended it": Case("ours", uid=None, marked=False, older=True, of_old=True),
    "it was meant for elsewhere": Case("foreign", uid=None, namespace="other"),
    "its name was taken by somebody else": Case("foreign", uid=None, facts={"class": "taken"}),
    "nobody knows its attempt, and it has the mark": Case("ours", attempt="00000000-0000-4000-8000-000000000007"),
    "nobody knows its attempt, and it has no mark": Case("unknown", marked=False, attempt="00000000-0000-4000-8000-000000000007"),
}


@pytest.mark.parametrize("case", OWNERS.values(), ids=OWNERS.keys())
def test_whose_a_pod_is_does_not_hang_on_whether_it_is_needed(
    book: PodBook, claim: Claim, database: Database, case: Case
) -> None:
    assert book.owned([doubt_of(book, claim, database, case)]) == {"u-1": case.word}


def test_any_number_of_pods_is_asked_about(book: PodBook) -> None:
    doubts = [Doubt(str(uuid4()), f"u-{number}", "tasks", marked=True, older=False, twin=False) for number in range(2001)]
    assert len(book.owned(doubts)) == 2001
    assert book.owned([]) == {}

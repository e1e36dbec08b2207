"""A body that may have begun is never begun again, whatever dies, drains or is cut off. The witness: what bodies wrote down."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from halfstep import statements
from halfstep.database import Database
from halfstep.producer import NewTask, enqueue, enqueue_many
from halfstep.queue import Queue
from halfstep.reports import Report, Reports
from own_server import OwnServer, own_server
from poolers import MISSING, PgBouncer, program
from proxy import Proxy
from waiting import PATIENCE, wait_until
from worker_processes import WorkerProcess

Start = Callable[..., WorkerProcess]
Ended = Callable[..., Report]

BODIES = """
import os, signal, threading, time
from halfstep import current, task

pause = threading.Event().wait

def note(path, word):
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(file, f"{word} {current().task_id} {time.monotonic()}\\n".encode())
    os.close(file)

@task
def effect(path, seconds=0.0):
    note(path, "start")
    pause(seconds)

@task
def beats(path, stubborn=False):
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(path, "start")
    while True:
        pause(0.02)
        note(path, "beat")

@task
def dies(path):
    note(path, "start")
    os._exit(1)

@task
def fails(path):
    note(path, "start")
    raise ValueError("no")
"""


@dataclass(frozen=True, slots=True)
class Witness:
    """What the bodies wrote."""

    path: Path

    def starts(self) -> Counter[int]:
        """How often each task was begun."""
        return Counter(int(task) for word, task, _ in self._lines() if word == "start")

    def last(self) -> float:
        """When a body last gave a sign, monotonic seconds."""
        return max(float(at) for _, _, at in self._lines())

    def _lines(self) -> list[list[str]]:
        whole = self.path.read_text().splitlines() if self.path.exists() else []
        return [line.split() for line in whole]


@pytest.fixture
def witness(source: Path, tmp_path: Path) -> Witness:
    """Also puts the module `once` into the source folder."""
    (source / "once.py").write_text(BODIES)
    return Witness(tmp_path / "witness")


@pytest.fixture
def once(database: Database, witness: Witness) -> Callable[..., int]:
    """Enqueues an at-most-once call of a function of `once`."""

    def enqueue_call(function: str, *args: Any, **options: Any) -> int:
        chosen = {"at_most_once": True} | options
        return enqueue(database, "python", {"function": f"once:{function}", "args": [str(witness.path), *args]}, **chosen)

    return enqueue_call


def is_lost_after_one_start(report: Report, witness: Witness) -> None:
    """Failed, reason lost, and the body was begun once."""
    assert (report["state"], report["reason"], report["attempt"]) == ("failed", "lost", 1)
    assert "may have had its effect" in report["error"]
    assert witness.starts() == {report["id"]: 1}


def another_worker_finds_nothing_to_do(start_worker: Start, once: Callable[..., int], ended: Ended, witness: Witness) -> None:
    """Whoever comes later runs what comes later, and nothing that was begun before."""
    before = witness.starts()
    start_worker(name="later")
    later = once("effect")
    assert ended(later)["state"] == "succeeded"
    assert witness.starts() == before + Counter([later])


def test_a_killed_workers_body_is_not_begun_again(
    start_worker: Start, once: Callable[..., int], ended: Ended, witness: Witness
) -> None:
    doomed = start_worker(name="doomed")
    task = once("beats")
    wait_until(witness.starts, what="the start")
    start_worker(name="rescuer")
    doomed.kill()
    report = ended(task)
    is_lost_after_one_start(report, witness)
    assert "Worker doomed on " in report["error"]
    another_worker_finds_nothing_to_do(start_worker, once, ended, witness)


@pytest.mark.parametrize(("function", "reason"), [("dies", "crash"), ("fails", "exception")])
def test_a_body_that_crashes_or_fails_is_not_begun_again(
    start_worker: Start, once: Callable[..., int], ended: Ended, witness: Witness, function: str, reason: str
) -> None:
    start_worker()
    task = once(function, max_attempts=5, backoff_base=0.01)
    assert (ended(task)["state"], ended(task)["reason"]) == ("failed", reason)
    another_worker_finds_nothing_to_do(start_worker, once, ended, witness)
    assert witness.starts()[task] == 1


def test_a_drain_releases_what_has_not_begun_and_gives_up_what_has(
    start_worker: Start, once: Callable[..., int], ended: Ended, witness: Witness, database: Database, reports: Reports
) -> None:
    leaving = start_worker(name="leaving", slots=1, grace=0.1, lease_seconds=60.0)
    args = {"function": "once:effect", "args": [str(witness.path), 0.004]}
    ids = enqueue_many(database, [NewTask("python", args, {"at_most_once": True})] * 600)
    wait_until(lambda: len(witness.starts()) > 100, what="some progress")
    begun = once("beats", priority=9)
    wait_until(lambda: witness.starts()[begun], what="the start of the long one")
    assert leaving.stop() == 0
    assert (reports.show(begun)["state"], reports.show(begun)["reason"]) == ("failed", "lost")
    states = Counter(reports.states(ids).values())
    assert set(states) == {"succeeded", "ready"}
    start_worker(name="other")
    wait_until(lambda: Counter(reports.states(ids).values()) == {"succeeded": 600}, what="the rest")
    assert witness.starts() == Counter([*ids, begun])


def test_a_frozen_worker_that_goes_on_begins_nothing_again(
    start_worker: Start, once: Callable[..., int], ended: Ended, witness: Witness
) -> None:
    frozen = start_worker(name="frozen", slots=1)
    task = once("beats")
    wait_until(witness.starts, what="the start")
    frozen.signal(signal.SIGSTOP)
    start_worker(name="other", slots=1)
    report = ended(task)
    frozen.signal(signal.SIGCONT)
    is_lost_after_one_start(report, witness)
    wait_until(lambda: "registers afresh" in frozen.log.read_text(), what="the frozen worker's new registration")
    assert frozen.stop() == 0
    another_worker_finds_nothing_to_do(start_worker, once, ended, witness)


def test_a_claim_whose_reply_is_lost_begins_each_body_once(
    start_worker: Start, ended: Ended, witness: Witness, database: Database, proxy: Proxy, reports: Reports
) -> None:
    worker = start_worker(url=proxy.url)
    args = {"function": "once:effect", "args": [str(witness.path)]}
    new = NewTask("python", args, {"at_most_once": True})
    (first,) = enqueue_many(database, [new])
    ended(first)
    proxy.lose_the_reply_to(b"UPDATE halfstep.exchange SET sequence")
    ids = enqueue_many(database, [new] * 200)
    assert proxy.lost.wait(PATIENCE)
    wait_until(lambda: Counter(reports.states(ids).values()) == {"succeeded": 200}, what="the end of all")
    assert witness.starts() == Counter([first, *ids])
    assert worker.stop() == 0


# -- the lease: a body that may not run twice ends before others may take its worker for dead -----------------------------------

LEASE = 6.0


def cut_off(start_worker: Start, proxy: Proxy, witness: Witness, by: str) -> float:
    """A worker runs the body and loses its database; when, monotonic seconds. Its lease ends within LEASE of that."""
    start_worker(url=proxy.url, name="cut off", lease_seconds=LEASE, renew_seconds=0.3, stop_grace=30.0)
    wait_until(witness.starts, what="the start")
    proxy.swallow() if by == "a black hole" else proxy.take_down()
    return time.monotonic()


def ends_before_the_lease(witness: Witness, since: float) -> None:
    """The body's last sign comes before its lease is over."""
    wait_until(lambda: time.monotonic() > since + LEASE + 0.5, what="the end of the lease")
    assert witness.last() < since + LEASE


@pytest.mark.parametrize("by", ["a black hole", "refused connections"])
@pytest.mark.parametrize("stubborn", [False, True], ids=["that obeys", "that ignores SIGTERM"])
def test_a_body_whose_worker_is_cut_off_ends_before_its_lease_does(
    start_worker: Start, once: Callable[..., int], ended: Ended, witness: Witness, proxy: Proxy, stubborn: bool, by: str
) -> None:  # fmt: skip
    task = once("beats", stubborn)
    since = cut_off(start_worker, proxy, witness, by)
    start_worker(name="rescuer")
    ends_before_the_lease(witness, since)
    is_lost_after_one_start(ended(task), witness)
    proxy.let_pass()
    proxy.bring_up()


def test_an_at_least_once_body_runs_on_and_so_the_same_check_fails(
    start_worker: Start, once: Callable[..., int], witness: Witness, proxy: Proxy
) -> None:
    once("beats", at_most_once=False)
    since = cut_off(start_worker, proxy, witness, "a black hole")
    with pytest.raises(AssertionError):
        ends_before_the_lease(witness, since)


# -- a server that says "committed" before it is: it crashes just after the claim -----------------------------------------------

LAZY = {"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB", "autovacuum": "off", "synchronous_commit": None}
"""What was not waited for is written so late that a crash is certain to lose it."""


@pytest.fixture
def lazy_server() -> Iterator[OwnServer]:
    """A PostgreSQL of the test's own, to be told that commits need not be waited for."""
    with own_server(settings=LAZY) as server:
        yield server


TOLD = {
    "by the role": "ALTER ROLE halfstep SET synchronous_commit = off",
    "by the database": "ALTER DATABASE halfstep SET synchronous_commit = off",
    "by a reload, while the worker runs": "ALTER SYSTEM SET synchronous_commit = off",
    "by the role, behind a pooler": "ALTER ROLE halfstep SET synchronous_commit = off",
}


def enqueued_and_kept(url: str, witness: Witness) -> int:
    """An at-most-once task of somebody who waits for the server's disk."""
    with closing(psycopg2.connect(url)) as theirs, theirs, theirs.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
        args = {"function": "once:effect", "args": [str(witness.path), 1.0]}
        return enqueue(theirs, "python", args, at_most_once=True)


@pytest.mark.parametrize("how", TOLD)
def test_a_body_begins_once_although_the_server_need_not_wait_for_commits_and_crashes_after_the_claim(
    lazy_server: OwnServer, start_worker: Start, witness: Witness, how: str
) -> None:
    with ExitStack() as stack:
        url = lazy_server.url
        if "pooler" in how:
            if program() is None:
                pytest.skip(MISSING)
            url = stack.enter_context(PgBouncer(url)).url(url)
        if "reload" not in how:
            lazy_server.admin(TOLD[how])
        start_worker(url=url, listen_url=lazy_server.url, lease_seconds=5.0)
        database = stack.enter_context(closing(Database(lazy_server.url)))
        wait_until(lambda: Reports(database).workers(), what="the worker")
        if "reload" in how:
            lazy_server.admin(TOLD[how])
            lazy_server.admin("SELECT pg_reload_conf()")
        task = enqueued_and_kept(lazy_server.url, witness)
        wait_until(witness.starts, what="the start")
        lazy_server.restart(crash=True)
        database.close()
        assert TOLD[how].endswith(database.execute("SHOW synchronous_commit")[0]["synchronous_commit"])
        wait_until(lambda: Reports(database).states([task])[task] in ("succeeded", "failed"), what="the end")
    assert witness.starts() == {task: 1}


# -- by SQL alone: the same check with the rule, and with the rule taken out ---------------------------------------------------


def is_begun_once(make_worker: Any, database: Database, lose: Callable[[Any, Any], object]) -> None:
    """Claimed by one worker, lost by it, and offered to another: whatever it finds to claim would begin the body again."""
    enqueue(database, "bash", at_most_once=True)
    first = make_worker()
    (claim,) = first.claim()
    lose(first, claim)
    assert [*make_worker().claim(), *make_worker().claim(alone=True)] == []


def by_death(worker: Any, _claim: Any) -> None:
    worker.die()


def by_drain(worker: Any, claim: Any) -> None:
    assert Queue(worker.queue.database).release([claim], reason="drain", started=True) == []


LOSSES = {
    "rescue": (by_death, "t.at_most_once AND t.placement <> 'pod' OR ", ""),
    "release": (by_drain, "WHEN g.started AND t.at_most_once THEN 'failed' END", "END"),
}


@pytest.mark.parametrize("verb", LOSSES)
def test_what_one_worker_may_have_begun_no_other_can_claim(make_worker: Any, database: Database, verb: str) -> None:
    is_begun_once(make_worker, database, LOSSES[verb][0])


@pytest.mark.parametrize("verb", LOSSES)
def test_without_the_rule_another_worker_would_begin_it_again(
    make_worker: Any, database: Database, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    lose, rule, instead = LOSSES[verb]
    whole = statements.statement(verb)
    assert whole.count(rule) == 1
    broken = whole.replace(rule, instead)
    monkeypatch.setattr("halfstep.database.statement", lambda name: broken if name == verb else statements.statement(name))
    with pytest.raises(AssertionError):
        is_begun_once(make_worker, database, lose)

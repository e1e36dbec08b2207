"""The verbs in any order, against a model: legal states, one winner for each claim, every attempt explained, books that balance.

A machine without teeth proves nothing: with one guard taken out of the SQL (here only) it must find what goes wrong.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, TypeVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from books import OVER, SNAPSHOT, Modelled, check_books
from conftest import _EMPTY, QueueWorker
from halfstep.administration import Administration
from halfstep.claims import Claim, Ending, Turn, Wish, settle
from halfstep.database import Database, Row
from halfstep.errors import Conflict, NotFound
from halfstep.outcomes import Cancelled, Failed, Outcome, Retry, Succeeded
from halfstep.pods import PodBook
from halfstep.producer import enqueue
from halfstep.queue import Queue, WorkerCard
from halfstep.statements import statement

T = TypeVar("T")
QUEUES = ("a", "b")
LATER = "2200-01-01T00:00:00+00:00"
picks = st.integers(0, 59)


def without_guard(name: str, guard: str, instead: str) -> Callable[[str], Database]:
    """Makes a connection on which one statement lacks one guard."""

    class Unguarded(Database):
        def run(self, wanted: str, /, **parameters: Any) -> list[Row]:
            text = statement(wanted)
            assert wanted != name or guard in text, f"{name}.sql has no {guard} any more"
            return self.execute(text.replace(guard, instead) if wanted == name else text, parameters)

    return Unguarded


class Verbs(RuleBasedStateMachine):
    """Every rule does one thing to the database and to the model, and both must come to the same."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.queue = Queue(database)
        self.tasks: dict[int, Modelled] = {}
        self.workers: list[QueueWorker] = []
        self.placements: dict[str, str] = {}
        self.gone: set[str] = set()  # workers that were marked dead or have left
        self.died: set[str] = set()  # those that have not left
        self.claims: list[Claim] = []  # all there ever were
        self.accepted: set[tuple[int, str]] = set()
        self.paused: set[str] = set()
        self.pruned: set[int] = set()
        self.enqueued = 0
        database.script(_EMPTY)

    @initialize()
    def begin(self) -> None:
        """Two of each kind, and something for them to do."""
        for placement in ("worker", "pod", "worker", "pod"):
            self._register(placement)
            self.enqueue("a", placement, None, False, False)
            self.claim(0, 1, False)
            self.enqueue("a", placement, "k", False, False)

    def _register(self, placement: str) -> None:
        worker = QueueWorker(self.queue)
        self.queue.register(WorkerCard(worker.id, "w", "here", 1, "0", 4, placement=placement))
        self.workers.append(worker)
        self.placements[worker.id] = placement

    @rule(
        queue=st.sampled_from(["a", "a", "b"]), placement=st.sampled_from(["worker", "worker", "pod"]),
        key=st.sampled_from([None, "k"]),
        later=st.sampled_from([False, False, True]), once=st.sampled_from([False, False, True]),
    )  # fmt: skip
    def enqueue(self, queue: str, placement: str, key: str | None, later: bool, once: bool) -> None:
        given = {"queue": queue, "placement": placement, "unique_key": key, "at_most_once": once, "max_attempts": 2}
        made = enqueue(self.database, "bash", {}, **given, run_at=LATER if later else None)  # type: ignore[arg-type]
        holder = self._holder(queue, key)
        if holder is not None:
            assert made == holder
            return
        assert made not in self.tasks
        self.enqueued += 1
        self.tasks[made] = Modelled(made, queue, placement, key, once, "scheduled" if later else "ready")

    @rule(who=picks, want=st.integers(1, 3), alone=st.booleans())
    def claim(self, who: int, want: int, alone: bool) -> None:
        worker = self._worker(who)
        expected = self._claimable(worker, want, alone)
        self._claimed(worker, worker.claim(want, alone=alone, queues=QUEUES, placement=self.placements[worker.id]), expected)

    @rule(who=picks, which=picks, outcome=st.sampled_from([Succeeded("1"), Failed("It broke.", final=True), Cancelled()]))
    @precondition(lambda self: self.claims)
    def finish(self, who: int, which: int, outcome: Succeeded | Failed | Cancelled) -> None:
        """By whoever has a turn: a worker that registered afresh sends what it had under its earlier name."""
        claim, worker = self._claim(which), self._worker(who)
        refused = worker.exchange(Wish(0, token()), [Ending(claim, outcome)]).refused
        if worker.id not in self.gone:
            self._ended_by(claim, refused, outcome)

    @rule(which=picks, delay=st.sampled_from([0.0, 3600.0]), counts=st.booleans())
    @precondition(lambda self: self.claims)
    def fail(self, which: int, delay: float, counts: bool) -> None:
        """A body failed: it runs again if that is allowed, else the task ends."""
        claim = self._claim(which)
        outcome: Outcome = settle(claim, Retry("It broke.", delay, counts=counts))
        if isinstance(outcome, Failed):
            self.finish(0, which, outcome)
            return
        assert isinstance(outcome, Retry)
        task = self._accept(claim, self.queue.retry([(claim, outcome)]))
        if task and task.cancel:
            task.end("cancelled", "cancelled")
        elif task:
            task.failures += counts
            task.back("scheduled" if delay else "ready", "failed")

    @rule(which=picks, started=st.booleans())
    @precondition(lambda self: self.claims)
    def release(self, which: int, started: bool) -> None:
        claim = self._claim(which)
        task = self._accept(claim, self.queue.release([claim], reason="drain", started=started))
        if task and task.cancel:
            task.end("cancelled", "cancelled")
        elif task and started and task.at_most_once:
            task.end("failed", "lost")
        elif task:
            task.back("ready", "released" if started else None)
            task.attempt -= not started

    @rule(who=picks, seen=st.booleans())
    def die(self, who: int, seen: bool) -> None:
        """Its lease has run out, whatever it still does; rescued at once if somebody has `seen` it."""
        worker = self._worker(who)
        counter = next((lease["counter"] for lease in self.queue.leases() if lease["worker"] == worker.id), None)
        marked = counter is not None and self.queue.mark_dead(worker.id, counter=counter)
        assert marked == (worker.id not in self.gone)
        self.died |= {worker.id} if marked else set()
        self._gone(worker)
        if seen:
            self.rescue(500)

    @rule(who=picks)
    def leave(self, who: int) -> None:
        worker = self._worker(who)
        self.queue.deregister(worker.id)
        self._gone(worker)

    @rule(who=picks)
    def renew(self, who: int) -> None:
        worker = self._worker(who)
        assert (self.queue.renew(worker.id) is None) == (worker.id in self.gone)

    @rule(batch=st.sampled_from([1, 500]))
    def rescue(self, batch: int) -> None:
        """The third death, the second alone, is one too many here. Pods are left for `adopt`, but those not even intended: here
        none ever is, so all of launchers that died, and of these also what is at most once runs again."""
        lost = [t for t in self._in("running") if t.worker in self.gone]
        orphans = [t for t in lost if t.placement == "worker" or t.worker in self.died][:batch]
        assert self.queue.rescue(batch=batch, lone_deaths=1) == len(orphans)
        for task in orphans:
            once = task.at_most_once and task.placement == "worker"
            if task.cancel or once or task.alone:
                task.end("cancelled" if task.cancel else "failed", "cancelled" if task.cancel else "lost" if once else "poison")
                task.deaths += 1
            else:
                task.deaths += 1
                task.alone = task.deaths >= 2
                task.back("ready", "lost")

    @rule(who=picks)
    def adopt(self, who: int) -> None:
        worker, fresh = self._worker(who), token()
        done = PodBook(self.database).adopt(worker.turn(QUEUES, "pod"), token=fresh)
        worker.sequence += done.mine
        lost = [t for t in self._in("running") if t.worker in self.gone - self.died and t.placement == "pod"]
        orphans = lost if done.mine else []
        assert [claim.id for claim in done.claims] == [task.id for task in orphans]
        self.claims += done.claims
        for task in orphans:
            task.token, task.worker = fresh, worker.id

    @rule(later=st.booleans())
    def promote(self, later: bool) -> None:
        if later:
            self.database.execute(
                "UPDATE halfstep.task SET run_at = clock_timestamp() - interval '1 s' WHERE state = 'scheduled'"
            )
        due = self._in("scheduled") if later else []
        assert self.queue.promote() == len(due)
        for task in due:
            task.state = "ready"

    @rule(which=picks)
    @precondition(lambda self: self.tasks)
    def cancel(self, which: int) -> None:
        task = at(list(self.tasks.values()), which)
        if task.state in OVER or task.id in self.pruned:
            with pytest.raises(NotFound if task.id in self.pruned else Conflict):
                self.queue.cancel(task.id)
        elif task.state == "running":
            assert self.queue.cancel(task.id) == "requested"
            task.cancel = True
        else:
            assert self.queue.cancel(task.id) == "cancelled"
            task.end("cancelled", "cancelled")

    @rule(queue=st.sampled_from(QUEUES), paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:
        known = any(task.queue == queue for task in self.tasks.values())
        with suppress(*(() if known else (NotFound,))):
            self.queue.pause(queue) if paused else self.queue.resume(queue)
            (self.paused.add if paused else self.paused.discard)(queue)

    @rule(which=picks)
    @precondition(lambda self: self.tasks)
    def run_again(self, which: int) -> None:
        task = at(list(self.tasks.values()), which)
        if task.id in self.pruned or task.state not in OVER or self._holder(task.queue, task.key) is not None:
            with pytest.raises(NotFound if task.id in self.pruned else Conflict):
                self.queue.retry_finished(task.id)
            return
        self.queue.retry_finished(task.id)
        task.told += [(task.attempt, task.state)] if task.token else []
        task.state, task.reason, task.token, task.worker, task.cancel = "ready", "", None, None, False
        task.failures, task.deaths, task.alone = 0, 0, False

    @rule()
    def prune(self) -> None:
        """A month later."""
        self.database.execute("UPDATE halfstep.history SET finished_at = finished_at - interval '30 days'")
        Administration(self.database).prune()
        self.pruned |= {task.id for task in self.tasks.values() if task.state in OVER}

    @rule(who=picks, which=picks)
    @precondition(lambda self: self.claims)
    def lose_a_reply(self, who: int, which: int) -> None:
        """An exchange is committed and nobody hears of it; then its sender asks what is true."""
        worker, claim = self._worker(who), self._claim(which)
        served = self.placements[worker.id]
        mine, fresh = worker.id not in self.gone, token()
        lost = self.queue.exchange(worker.turn(QUEUES, served), Wish(2, fresh), [Ending(claim, Succeeded("2"))])
        assert lost.mine == mine
        sequence = self.queue.resync(worker.id)
        assert (sequence is not None) == mine
        if mine:
            expected = self._claimable(worker, 2, False)
            self._ended_by(claim, lost.refused, Succeeded("2"))
            self._claimed(worker, [c for c in self.queue.holdings(worker.id) if c.token == fresh], expected)
            worker.sequence = sequence or 0
        assert self.queue.recorded([claim]) <= {claim.id}
        assert lost.refused or not mine or self.queue.recorded([claim]) == {claim.id}

    @rule(who=picks, which=picks)
    @precondition(lambda self: self.claims)
    def arrive_late(self, who: int, which: int) -> None:
        """A commit that its sender gave up long ago does nothing."""
        worker = self._worker(who)
        if worker.sequence:
            past = Turn(worker.id, worker.sequence - 1, QUEUES)
            done = self.queue.exchange(past, Wish(5, token()), [Ending(self._claim(which), Succeeded("3"))])
            assert (done.mine, done.claims) == (False, [])

    @invariant()
    def the_database_is_as_the_model_says(self) -> None:
        seen = self.database.execute(SNAPSHOT)[0]
        check_books(seen, enqueued=self.enqueued, pruned=len(self.pruned))
        live = [task for task in self.tasks.values() if task.state not in OVER]
        assert (seen["live"] or []) == [task.as_live() for task in live]
        over = [t for t in self.tasks.values() if t.state in OVER and t.id not in self.pruned]
        assert [row[:3] for row in seen["over"] or []] == [[t.id, t.state, t.reason] for t in over]
        told = sorted((task.id, *attempt) for task in self.tasks.values() for attempt in task.told)
        assert sorted(map(tuple, seen["attempts"] or [])) == told

    # -- the model

    def _gone(self, worker: QueueWorker) -> None:
        """Another takes its place, so that there is always somebody."""
        if worker.id not in self.gone:
            self.gone.add(worker.id)
            self._register(self.placements[worker.id])

    def _worker(self, pick: int) -> QueueWorker:
        """One that lives, most of the time."""
        living = [worker for worker in self.workers if worker.id not in self.gone]
        return at(self.workers if pick % 5 == 4 else living, pick // 5)

    def _claim(self, pick: int) -> Claim:
        """One whose task is held by another by now, or one that still holds, or just any."""
        holds = [c for c in self.claims if self.tasks[c.id].token == c.token]
        stale = [c for c in self.claims if self.tasks[c.id].state == "running" and self.tasks[c.id].token != c.token]
        return at([stale, holds, self.claims][pick % 3] or self.claims, pick // 3)

    def _in(self, state: str) -> list[Modelled]:
        return [task for task in self.tasks.values() if task.state == state]

    def _holder(self, queue: str, key: str | None) -> int | None:
        holds = (t.id for t in self.tasks.values() if key and (t.queue, t.key) == (queue, key) and t.state not in OVER)
        return next(holds, None)

    def _claimable(self, worker: QueueWorker, want: int, alone: bool) -> list[Modelled]:
        if worker.id in self.gone:
            return []
        served = self.placements[worker.id]
        ready = [t for t in self._in("ready") if (t.placement, t.alone) == (served, alone) and t.queue not in self.paused]
        return sorted(ready, key=lambda task: (task.queue, task.id))[:want]

    def _claimed(self, worker: QueueWorker, claims: list[Claim], expected: list[Modelled]) -> None:
        assert [claim.id for claim in claims] == sorted(task.id for task in expected)
        for claim in claims:
            task = self.tasks[claim.id]
            task.state, task.token, task.worker, task.attempt = "running", claim.token, worker.id, task.attempt + 1
            assert (claim.attempt, claim.failures) == (task.attempt, task.failures)
        self.claims += claims

    def _accept(self, claim: Claim, refused: list[int]) -> Modelled | None:
        """The task, if this claim holds it and the queue said so too: once for each claim."""
        task = self.tasks[claim.id]
        holds = task.state == "running" and task.token == claim.token
        assert refused == ([] if holds else [claim.id])
        if not holds:
            return None
        assert (claim.id, claim.token) not in self.accepted, "a claim was ended twice"
        self.accepted.add((claim.id, claim.token))
        return task

    def _ended_by(self, claim: Claim, refused: list[int], outcome: Succeeded | Failed | Cancelled) -> None:
        task = self._accept(claim, refused)
        match outcome:
            case Failed(reason=reason) if task:
                task.end("failed", reason)
            case Succeeded() if task:
                task.end("succeeded")
            case Cancelled() if task:
                task.end("cancelled", "cancelled")


def at(things: list[T], pick: int) -> T:
    """Any of them; late picks first, as what is new is more likely to matter."""
    return things[-1 - pick % len(things)]


def token() -> str:
    return str(uuid.uuid4())


def test_the_verbs_in_any_order_leave_the_database_as_the_model_says(database: Database) -> None:
    run_state_machine_as_test(
        lambda: Verbs(database),  # type: ignore[arg-type]
        settings=settings(max_examples=40, stateful_step_count=40, deadline=None),
    )


GUARDS = {
    "finish without the token": ("exchange", "t.claim_token = e.token", "t.state = 'running'"),
    "retry without the token": ("retry", "AND t.claim_token = f.token", "AND t.state = 'running'"),
    "release without the token": ("release", "AND t.claim_token = g.token", "AND t.state = 'running'"),
    "adopt without a new token": ("adopt", "SET claim_token = %(token)s::uuid, worker_id", "SET worker_id"),
    "an exchange out of turn": ("exchange", "AND sequence = %(sequence)s", ""),
    "claims from paused queues": ("exchange", "p.paused_at IS NOT NULL)\n          AND", "false)\n          AND"),
    "a cancel that keeps the key": ("cancel", "k.key = e.unique_key AND", "false AND"),
    "a rescue that tells nothing": ("rescue", "WHERE final IS NULL\n), counted", "WHERE false\n), counted"),
}


@pytest.mark.parametrize("missing", GUARDS)
def test_without_one_guard_the_machine_finds_what_goes_wrong(database_url: str, missing: str) -> None:
    with closing(without_guard(*GUARDS[missing])(database_url)) as database:
        quick = settings(
            max_examples=300, stateful_step_count=40, deadline=None, phases=[Phase.generate], derandomize=True, database=None
        )
        with pytest.raises(AssertionError):
            run_state_machine_as_test(lambda: Verbs(database), settings=quick)  # type: ignore[arg-type]

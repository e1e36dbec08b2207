"""Rescue: tasks of dead workers run again elsewhere; a task that kills its workers is found out, its neighbours not blamed."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from halfstep import NewTask, enqueue, enqueue_many
from halfstep.claims import Wish
from halfstep.database import Database
from halfstep.queue import Queue
from halfstep.reports import Reports
from waiting import PATIENCE


def test_the_tasks_of_a_dead_worker_are_ready_again_and_their_attempts_lost(
    database: Database, make_worker: Any, queue: Queue, reports: Reports
) -> None:
    made = enqueue_many(database, [NewTask("bash", {}, {})] * 3)
    dead = make_worker(name="dead")
    dead.claim(3)
    dead.die(rescue=False)
    assert [queue.rescue(batch=2), queue.rescue(batch=2), queue.rescue(batch=2)] == [2, 1, 0]
    for task in map(reports.show, made):
        assert (task["state"], task["failures"], task["deaths"], task["lone_deaths"]) == ("ready", 0, 1, 0)
        assert [(a["worker"], a["outcome"], a["reason"]) for a in task["attempts"]] == [("dead", "lost", "worker_lost")]


def test_a_living_workers_tasks_are_left_alone(database: Database, make_worker: Any, queue: Queue) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 2)
    dead, living = make_worker(), make_worker()
    dead.claim()
    (mine,) = living.claim()
    dead.die()
    assert queue.holdings(living.id) == [mine]
    assert living.finish(mine) == []


def test_a_worker_that_moved_since_it_was_observed_is_not_marked_dead(make_worker: Any, queue: Queue) -> None:
    worker = make_worker()
    queue.renew(worker.id)
    assert not queue.mark_dead(worker.id, counter=0)
    assert queue.renew(worker.id) is False
    assert queue.mark_dead(worker.id, counter=2)
    assert not queue.mark_dead(worker.id, counter=2)


def test_a_worker_that_was_marked_dead_claims_and_renews_nothing(database: Database, make_worker: Any, queue: Queue) -> None:
    enqueue(database, "bash")
    worker = make_worker()
    worker.die(rescue=False)
    assert worker.claim() == []
    assert queue.resync(worker.id) is None
    worker.sequence += 1
    assert worker.claim() == []
    assert queue.renew(worker.id) is None
    queue.rescue()  # which also buries it
    assert queue.resync(worker.id) is None
    assert worker.claim() == []
    assert len(make_worker().claim()) == 1


def test_a_worker_that_is_being_marked_dead_cannot_resync_past_the_mark(
    make_worker: Any, connect: Callable[[], Database], threads: ThreadPoolExecutor, wait_for_lock_waiters: Callable[[int], None]
) -> None:
    worker, marker = make_worker(), connect()
    marker.execute("BEGIN")
    assert Queue(marker).mark_dead(worker.id, counter=0)
    resync = threads.submit(Queue(connect()).resync, worker.id)
    renew = threads.submit(Queue(connect()).renew, worker.id)
    wait_for_lock_waiters(2)
    marker.execute("COMMIT")
    assert resync.result(PATIENCE) is None
    assert renew.result(PATIENCE) is None


def test_marking_dead_waits_for_an_exchange_in_flight_and_the_rescue_misses_nothing(
    database: Database, make_worker: Any, connect: Callable[[], Database], threads: ThreadPoolExecutor,
    wait_for_lock_waiters: Callable[[int], None], queue: Queue, reports: Reports,
) -> None:  # fmt: skip
    id = enqueue(database, "bash")
    flying = connect()
    worker = make_worker(on=Queue(flying))
    flying.execute("BEGIN")
    (claim,) = worker.claim()
    marked = threads.submit(Queue(connect()).mark_dead, worker.id, counter=0)
    wait_for_lock_waiters(1)
    flying.execute("COMMIT")
    assert marked.result(PATIENCE)
    assert queue.rescue() == 1
    assert reports.show(id)["state"] == "ready"
    assert make_worker().finish(claim) == [id]


def test_an_exchange_that_waits_while_its_worker_is_marked_dead_claims_nothing(
    database: Database, make_worker: Any, connect: Callable[[], Database], threads: ThreadPoolExecutor,
    wait_for_lock_waiters: Callable[[int], None],
) -> None:  # fmt: skip
    enqueue(database, "bash")
    worker = make_worker(on=Queue(connect()))
    marker = connect()
    marker.execute("BEGIN")
    assert Queue(marker).mark_dead(worker.id, counter=0)
    late = threads.submit(worker.exchange, Wish(1, str(uuid.uuid4())))
    wait_for_lock_waiters(1)
    marker.execute("COMMIT")
    assert not late.result(PATIENCE).mine
    assert database.execute("SELECT FROM halfstep.task WHERE state = 'running'") == []


def test_racing_rescuers_take_each_task_once(
    database: Database, make_worker: Any, connect: Callable[[], Database], threads: ThreadPoolExecutor, reports: Reports
) -> None:
    made = enqueue_many(database, [NewTask("bash", {}, {})] * 400)
    dead = make_worker()
    dead.claim(400)
    dead.die(rescue=False)

    def rescue(rescuer: Queue) -> int:
        total = 0
        while taken := rescuer.rescue(batch=30):
            total += taken
        return total

    assert sum(task.result(PATIENCE) for task in [threads.submit(rescue, Queue(connect())) for _ in range(4)]) == 400
    lost = database.execute("SELECT count(*) AS n, count(DISTINCT task_id) AS tasks FROM halfstep.attempt")[0]
    assert (lost["n"], lost["tasks"]) == (400, 400)
    assert set(reports.states(made).values()) == {"ready"}


def test_at_most_once_work_is_never_run_again(database: Database, make_worker: Any, reports: Reports) -> None:
    id = enqueue(database, "bash", at_most_once=True)
    dead = make_worker()
    dead.claim()
    dead.die()
    task = reports.show(id)
    assert (task["state"], task["reason"]) == ("failed", "lost")
    assert "may have had its effect" in task["error"]
    assert [(a["number"], a["outcome"]) for a in task["attempts"]] == [(1, "failed")]


# -- poison --------------------------------------------------------------------------------------------------------------------


def kill(make_worker: Any, *, alone: bool = False) -> list[int]:
    """A worker claims all it can and dies; returns what it held."""
    worker = make_worker()
    held = [claim.id for claim in worker.claim(1 if alone else 10, alone=alone)]
    worker.die()
    return held


def test_after_two_deaths_a_task_is_claimed_alone(database: Database, make_worker: Any, reports: Reports, queue: Queue) -> None:
    id = enqueue(database, "bash")
    assert [kill(make_worker), reports.show(id)["alone"]] == [[id], False]
    assert [kill(make_worker), reports.show(id)["alone"]] == [[id], True]
    assert reports.show(id)["lone_deaths"] == 0
    assert kill(make_worker) == []
    backlog = queue.measure()[0]
    assert (backlog.ready, backlog.alone) == (0, 1)
    assert kill(make_worker, alone=True) == [id]
    assert (reports.show(id)["deaths"], reports.show(id)["lone_deaths"]) == (3, 1)


def test_the_third_lone_death_fails_the_task_as_poison(database: Database, make_worker: Any, reports: Reports) -> None:
    id = enqueue(database, "bash", unique_key="k")
    for _ in range(2):
        kill(make_worker)
    for _ in range(3):
        assert reports.show(id)["state"] == "ready"
        assert kill(make_worker, alone=True) == [id]
    task = reports.show(id)
    assert (task["state"], task["reason"], task["failures"], task["deaths"], task["lone_deaths"]) == ("failed", "poison", 0, 5, 3)
    assert task["error"].startswith(
        "5 workers died while they held this task, 3 of them while it ran alone: it probably kills them. Worker w on "
    )
    assert task["error"].endswith(": how its process ended is not known here.")
    assert [(a["number"], a["outcome"]) for a in task["attempts"]] == [*((n, "lost") for n in range(1, 5)), (5, "failed")]
    assert database.execute("SELECT FROM halfstep.unique_key") == []


def test_a_poisoned_task_tells_what_is_known_of_its_last_worker_and_its_own_last_lines(
    database: Database, make_worker: Any, reports: Reports, queue: Queue
) -> None:
    id = enqueue(database, "bash")
    for _ in range(4):
        kill(make_worker, alone=reports.show(id)["alone"])
    last = make_worker(name="last")
    (claim,) = last.claim(1, alone=True)
    queue.renew(last.id, peak_bytes=300 * 2**20)
    lines = [[float(n), "stdout", f"line {n}"] for n in range(6)]
    queue.write_log(
        [{"task_id": id, "attempt": claim.attempt, "chunk": n, "lines": lines[2 * n : 2 * n + 2]} for n in range(3)]
        + [{"task_id": id, "attempt": claim.attempt - 1, "chunk": 9, "lines": [[0.0, "stdout", "of another attempt"]]}]
    )
    (card,) = [worker for worker in reports.workers() if worker["name"] == "last"]
    assert queue.died("last", host=host_of(database, card["id"]), code=-9)
    queue.rescue()
    said, lines_said = reports.show(id)["error"].split("\nIts last lines:\n")
    assert said.endswith(
        ": its process was ended by signal 9 (SIGKILL); when it last renewed its lease it had used up to 300 MiB of memory."
    )
    assert lines_said.splitlines() == [f"  line {n}" for n in range(2, 6)]


def host_of(database: Database, worker: str) -> str:
    return str(database.execute("SELECT host FROM halfstep.worker WHERE id = %(id)s::uuid", {"id": worker})[0]["host"])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "how its process ended is not known here"),
        (3, "its process exited with code 3"),
        (-11, "its process was ended by signal 11 (SIGSEGV)"),
        (-63, "its process was ended by signal 63"),
    ],
)
def test_the_end_of_a_process_in_words(database: Database, code: int | None, words: str) -> None:
    assert database.execute("SELECT halfstep.exit_words(%(code)s) AS words", {"code": code})[0]["words"] == words


def test_a_death_that_was_seen_is_rescued_at_once_and_told_once(
    database: Database, make_worker: Any, queue: Queue, reports: Reports
) -> None:
    id = enqueue(database, "bash")
    dead, other = make_worker(name="seen"), make_worker(name="other")
    dead.claim()
    host = host_of(database, dead.id)
    assert not queue.died("seen", host="elsewhere", code=-9)
    assert not queue.died("unseen", host=host, code=-9)
    assert queue.died("seen", host=host, code=-9)
    assert not queue.died("seen", host=host, code=1)
    assert queue.rescue() == 1
    (attempt,) = reports.show(id)["attempts"]
    assert (
        attempt["error"]
        == f"The worker was lost while it held the task. Worker seen on {host}: its process was ended by signal 9 (SIGKILL)."
    )
    assert queue.renew(other.id) is False


def test_neighbours_of_a_killer_are_not_blamed(database: Database, make_worker: Any, reports: Reports) -> None:
    killer, *neighbours = enqueue_many(database, [NewTask("bash", {}, {})] * 4)
    for _ in range(2):
        assert kill(make_worker) == [killer, *neighbours]
    for worker in iter(make_worker, None):
        claims = worker.claim(alone=True)
        if not claims:
            break
        if claims[0].id == killer:
            worker.die()
        else:
            worker.finish(*claims)
    assert reports.show(killer)["reason"] == "poison"
    assert set(reports.states(neighbours).values()) == {"succeeded"}

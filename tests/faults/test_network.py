"""A network between a worker and PostgreSQL that is slow, breaks off or swallows everything. A real proxy stands in it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from balance import Balance, balance
from effects import Effects
from halfstep.database import Database
from halfstep.producer import NewTask, enqueue_many
from proxy import Proxy
from siege import live_tasks
from waiting import wait_until
from worker_processes import QUICK, WorkerProcess

Start = Callable[..., WorkerProcess]


def through(database: Database, effects: Effects, tasks: list[int]) -> Balance:
    """The balance when all have ended."""
    wait_until(lambda: live_tasks(database) == 0, what="the end of all tasks")
    return balance(database, effects, tasks)


def enqueued(database: Database, effects: Effects, *, count: int, seconds: float) -> list[int]:
    """Tasks whose bodies note what they do."""
    return enqueue_many(database, [NewTask("python", effects.call(seconds), {})] * count)


def test_a_slow_line_makes_work_slower_and_costs_no_lease(
    database: Database, start_worker: Start, effects: Effects, proxy: Proxy
) -> None:
    proxy.slow_down(0.05)
    worker = start_worker(url=proxy.url)
    sheet = through(database, effects, enqueued(database, effects, count=12, seconds=0.02))
    assert (sheet.problems, sheet.states, sheet.attempts) == ([], {"succeeded": 12}, 12), str(sheet)
    assert worker.stop() == 0


def test_connections_that_are_reset_again_and_again_lose_and_repeat_nothing(
    database: Database, start_worker: Start, effects: Effects, proxy: Proxy
) -> None:
    start_worker(url=proxy.url, lease_seconds=10.0)
    tasks = enqueued(database, effects, count=60, seconds=0.05)
    for begun in range(6, 54, 6):
        wait_until(lambda begun=begun: effects.starts().total() >= begun, what=f"{begun} bodies")  # type: ignore[misc]
        proxy.reset()
    sheet = through(database, effects, tasks)
    assert (sheet.problems, sheet.states, sheet.attempts) == ([], {"succeeded": 60}, 60), str(sheet)


@pytest.mark.parametrize("leases", [1, 3])
def test_a_worker_that_is_cut_off_is_replaced_and_its_late_ends_are_refused(
    database: Database, start_worker: Start, effects: Effects, proxy: Proxy, leases: int
) -> None:
    cut_off = start_worker(url=proxy.url, name="cut off")
    tasks = enqueued(database, effects, count=6, seconds=1.5)
    wait_until(lambda: effects.starts().total() == 2, what="two bodies")
    proxy.swallow()
    start_worker(name="heir")
    over = time.monotonic() + leases * QUICK["lease_seconds"]
    wait_until(lambda: time.monotonic() > over, what="the end of the cut")
    proxy.let_pass()
    sheet = through(database, effects, tasks)
    assert (sheet.problems, sheet.states) == ([], {"succeeded": 6}), str(sheet)
    assert set(sheet.repeats) <= {"lost: worker_lost"}
    assert cut_off.process.poll() is None

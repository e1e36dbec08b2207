"""Workers that are killed and frozen at failpoints while their server crashes, and the same without a guard."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import closing

import pytest

from balance import Balance, balance
from effects import Effects
from halfstep.database import Database
from halfstep.producer import NewTask, enqueue_many
from own_server import OwnServer
from siege import Crashes, Producer, Siege, is_stopped, live_tasks, plan
from waiting import PATIENCE, wait_until
from worker_processes import WorkerProcess

Start = Callable[..., WorkerProcess]


def besiege(siege: Siege, producer: Producer, crashes: Crashes | None, url: str) -> Balance:
    """Until every fate is met and all work is done; the balance after that."""
    with closing(Database(url)) as database:

        def over() -> bool:
            siege.step()
            if crashes:
                crashes.step()
            return siege.is_over and not producer.is_alive() and live_tasks(database) == 0

        producer.start()
        try:
            wait_until(over, seconds=2 * PATIENCE, what="every fate and all work")
        finally:
            producer.stop()
        assert siege.stop() == [0] * siege.crew
        return balance(database, producer.effects, producer.acknowledged)


def test_nothing_is_lost_or_ended_twice_whatever_kills_freezes_and_crashes(
    own_server: OwnServer, start_worker: Start, effects: Effects, seed: int
) -> None:
    siege = Siege(lambda **more: start_worker(url=own_server.url, **more), plan(6, 3, seed=seed, ages=(2, 4)), crew=4)
    producer = Producer(own_server.url, effects, count=300, seconds=9, seed=seed)
    sheet = besiege(siege, producer, Crashes(own_server, 2, every=4), own_server.url)
    print(sheet)
    assert sheet.problems == []
    assert sheet.lost == 0
    assert sheet.states == {"succeeded": 300}
    assert siege.complaints() == []
    assert siege.done()["stop"] == 3


@pytest.mark.parametrize("variant", ["", "fence"], ids=["with the fence", "without"])
def test_a_frozen_workers_late_finish_is_accepted_only_without_the_fence_and_then_the_balance_tells(
    database: Database, start_worker: Start, effects: Effects, variant: str
) -> None:
    frozen = start_worker(name="frozen", failpoints="finish.before=stop", variant=variant)
    tasks = enqueue_many(database, [NewTask("python", effects.call(2.0), {})] * 2)
    wait_until(lambda: is_stopped(frozen.process.pid), what="the freeze, with an end in hand")
    start_worker(name="heir", variant=variant)
    wait_until(lambda: any(attempt == 2 for _, attempt in effects.starts()), what="the second start")
    frozen.signal(signal.SIGCONT)
    wait_until(lambda: live_tasks(database) == 0, what="the end of both tasks")
    sheet = balance(database, effects, tasks)
    assert bool(sheet.problems) == bool(variant), str(sheet)

"""Workers that are killed and frozen at failpoints while their server crashes, and the same without a guard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from balance import Balance, balance
from effects import Effects
from halfstep.database import Database
from own_server import OwnServer
from siege import Crashes, Fate, Producer, Siege, live_tasks, plan
from waiting import wait_until
from worker_processes import WorkerProcess

Start = Callable[..., WorkerProcess]


def besiege(siege: Siege, producer: Producer, crashes: Crashes | None, url: str, *, seconds: float) -> Balance:
    """Until every fate is met and all work is done; the balance after that."""
    with closing(Database(url)) as database:

        def over() -> bool:
            siege.step()
            if crashes:
                crashes.step()
            return siege.is_over and not producer.is_alive() and live_tasks(database) == 0

        producer.start()
        try:
            wait_until(over, seconds=seconds, what="every fate and all work")
        finally:
            producer.stop()
        assert siege.stop() == [0] * siege.crew
        return balance(database, producer.effects, producer.acknowledged)


def test_nothing_is_lost_or_ended_twice_whatever_kills_freezes_and_crashes(
    own_server: OwnServer, start_worker: Start, effects: Effects, seed: int
) -> None:
    siege = Siege(lambda **more: start_worker(url=own_server.url, **more), plan(8, 4, seed=seed, ages=(2, 4)), crew=4)
    producer = Producer(own_server.url, effects, count=400, seconds=12, seed=seed)
    sheet = besiege(siege, producer, Crashes(own_server, 2, every=5), own_server.url, seconds=90)
    print(sheet)
    assert sheet.problems == []
    assert sheet.lost == 0
    assert sheet.states == {"succeeded": 400}
    assert siege.complaints() == []
    assert siege.done()["stop"] == 4


def test_without_the_fence_the_same_check_finds_finishes_that_were_accepted_too_late(
    database_url: str, start_worker: Start, effects: Effects, seed: int
) -> None:
    fates = [Fate("finish.before", "stop", age=2.0) for _ in range(3)]
    siege = Siege(start_worker, fates, crew=5, variant="fence")
    producer = Producer(database_url, effects, count=200, seconds=8, seed=seed)
    sheet = besiege(siege, producer, None, database_url, seconds=90)
    print(sheet)
    assert sheet.problems

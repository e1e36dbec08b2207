"""Producers that can't know whether it worked, and many that want the same: one task a key, no error that is none of theirs."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from halfstep.database import Database
from halfstep.errors import DatabaseUnavailable
from halfstep.producer import NewTask, enqueue, enqueue_many
from halfstep.queue import Queue
from proxy import Proxy
from waiting import PATIENCE

PRODUCERS = 32
Connect = Callable[[], Database]


def test_an_enqueue_whose_reply_is_lost_is_repeated_under_its_unique_key_and_is_one_task(
    proxy: Proxy, database: Database
) -> None:
    with closing(Database(proxy.url)) as producer:
        proxy.lose_the_reply_to(b"enqueue_many")
        with pytest.raises(DatabaseUnavailable):
            enqueue(producer, "bash", {"command": "true"}, unique_key="order 7")
        assert proxy.lost.is_set()
        again = enqueue(producer, "bash", {"command": "true"}, unique_key="order 7")
    assert [row["id"] for row in database.execute("SELECT id FROM halfstep.task")] == [again]


def test_a_commit_whose_reply_is_lost_is_repeated_and_every_key_is_one_task(proxy: Proxy, database: Database) -> None:
    orders = [NewTask("bash", {}, {"unique_key": f"order {n}"}) for n in range(50)]
    with closing(Database(proxy.url)) as producer:
        proxy.lose_the_reply_to(b"COMMIT")
        with pytest.raises(DatabaseUnavailable), producer.transaction():
            enqueue_many(producer, orders)
        with producer.transaction():
            again = enqueue_many(producer, orders)
    assert [row["id"] for row in database.execute("SELECT id FROM halfstep.task ORDER BY id")] == sorted(again)
    assert len(set(again)) == 50


def test_a_key_that_holds_for_an_hour_makes_a_repeat_one_task_although_the_first_has_ended(
    proxy: Proxy, database: Database, worker: object
) -> None:
    with closing(Database(proxy.url)) as producer:
        proxy.lose_the_reply_to(b"enqueue_many")
        with pytest.raises(DatabaseUnavailable):
            enqueue(producer, "bash", unique_key="order 7", unique_for=3600)
        (claim,) = worker.claim()  # type: ignore[attr-defined]
        worker.finish(claim)  # type: ignore[attr-defined]
        assert enqueue(producer, "bash", unique_key="order 7", unique_for=3600) == claim.id
    assert database.execute("SELECT id FROM halfstep.task") == []


def test_32_producers_of_one_key_get_one_task_and_no_error(
    connect: Connect, threads: ThreadPoolExecutor, database: Database
) -> None:
    together = threading.Barrier(PRODUCERS)
    connections = [connect() for _ in range(PRODUCERS)]

    def produce(connection: Database) -> int:
        together.wait(PATIENCE)
        return enqueue(connection, "bash", unique_key="the one")

    ids = list(threads.map(produce, connections))
    assert len(set(ids)) == 1
    assert [row["id"] for row in database.execute("SELECT id FROM halfstep.task")] == ids[:1]


def test_32_producers_of_the_same_keys_in_any_order_never_stand_in_each_others_way(
    connect: Connect, threads: ThreadPoolExecutor, database: Database, seed: int
) -> None:
    together = threading.Barrier(PRODUCERS)

    def produce(number: int) -> list[int]:
        keys = [f"key {n}" for n in range(20)]
        random.Random(seed + number).shuffle(keys)
        connection = connect()
        together.wait(PATIENCE)
        return sorted(enqueue_many(connection, [NewTask("bash", {}, {"unique_key": key}) for key in keys]))

    seen = {tuple(ids) for ids in threads.map(produce, range(PRODUCERS))}
    assert len(seen) == 1
    assert [row["id"] for row in database.execute("SELECT id FROM halfstep.task ORDER BY id")] == list(next(iter(seen)))


def test_a_key_is_never_held_by_two_live_tasks_while_its_holder_ends_and_producers_repeat(
    connect: Connect, threads: ThreadPoolExecutor, database: Database, make_worker: Callable[..., object]
) -> None:
    over = threading.Event()

    def produce(connection: Database) -> set[int]:
        made = set()
        while not over.is_set():
            made.add(enqueue(connection, "bash", unique_key="the one"))
        return made

    producers = [threads.submit(produce, connect()) for _ in range(6)]
    worker = make_worker(on=Queue(connect()))
    ended: list[int] = []
    try:
        while len(ended) < 40:
            claims = worker.claim(5)  # type: ignore[attr-defined]
            assert len(claims) <= 1, "two tasks hold one key"
            assert worker.finish(*claims) == []  # type: ignore[attr-defined]
            ended += [claim.id for claim in claims]
    finally:
        over.set()
    made = set().union(*(producer.result(PATIENCE) for producer in producers))
    live = {row["id"] for row in database.execute("SELECT id FROM halfstep.task")}
    assert made == set(ended) | live
    assert len(live) <= 1

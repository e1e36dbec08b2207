"""The two streams of a real scaler: edges, clean ends, and two scalers side by side."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from halfstep.database import Database
from halfstep.producer import enqueue
from scaler.keda import Keda, ScalerProcess  # noqa: TID251
from waiting import NEVER, is_within, wait_until

Start = Callable[..., ScalerProcess]
Channels = Callable[..., grpc.Channel]
SELDOM = {"poll_seconds": NEVER, "max_age": 2 * NEVER}
"""No second poll, for what has to come by a notification."""


def test_the_state_is_told_when_the_stream_opens(keda: Keda, database: Database) -> None:
    assert keda.activity().next().result is False
    enqueue(database, "bash")
    wait_until(keda.is_active, what="the task to be seen")
    assert keda.activity().next().result is True


def test_new_work_is_told_at_once_by_a_notification(start_scaler: Start, channels: Channels, database: Database) -> None:
    scaler = start_scaler(**SELDOM)
    told = Keda(channels(scaler.address)).activity()
    assert told.next().result is False
    _wait_until_it_waits_for(database, ["default"], scaler)
    enqueue(database, "bash")
    assert told.next().result is True


def test_without_notifications_new_work_is_told_at_the_next_poll(
    start_scaler: Start, channels: Channels, database: Database
) -> None:
    keda = Keda(channels(start_scaler(notify=False, poll_seconds=0.5).address), {"queues": "*"})
    told = keda.activity()
    assert told.next().result is False
    enqueue(database, "bash", queue="new")
    assert told.next().result is True


def test_a_stream_tells_edges_and_repeats_only_that_work_has_begun(keda: Keda, database: Database, worker: Any) -> None:
    told = keda.activity()
    assert told.next().result is False
    enqueue(database, "bash")
    assert (told.next().result, told.next().result) == (True, True)
    with pytest.raises(queue.Empty):
        told.next(seconds=2)
    worker.finish(*worker.claim())
    assert told.next().result is False


def test_other_queues_work_is_no_news(keda: Keda, database: Database) -> None:
    told, all_queues = keda.activity(), Keda(keda.channel, {"queues": "*"}, name="all").activity()
    assert (told.next().result, all_queues.next().result) == (False, False)
    enqueue(database, "bash", queue="other")
    assert all_queues.next().result is True
    with pytest.raises(queue.Empty):
        told.next(seconds=1)


def test_the_spec_is_streamed_once_and_the_stream_stays_open(keda: Keda) -> None:
    told = keda.specs()
    assert told.next() == keda.spec()
    with pytest.raises(queue.Empty):
        told.next(seconds=1)
    told.cancel()
    assert told.end() is grpc.StatusCode.CANCELLED


def test_streams_end_with_ok_after_some_time(start_scaler: Start, channels: Channels, database: Database) -> None:
    keda = Keda(channels(start_scaler(stream_seconds=2.0).address))
    idle, specs = keda.activity(), keda.specs()
    assert specs.end() is grpc.StatusCode.OK
    assert idle.end() is grpc.StatusCode.OK


def test_all_streams_of_a_keda_that_starts_may_come_at_once(keda: Keda) -> None:
    calls = [keda.activity_call() for _ in range(1500)]
    assert [next(call).result for call in calls] == [False] * 1500
    for call in calls:
        call.cancel()


def test_on_a_signal_streams_end_with_ok_and_the_process_leaves(start_scaler: Start, channels: Channels) -> None:
    scaler = start_scaler(stop_seconds=5.0)
    keda = Keda(channels(scaler.address))
    streams = [keda.activity(), keda.activity(), keda.specs()]
    for stream in streams:
        stream.next()
    begun = time.monotonic()
    assert scaler.stop() == 0
    assert is_within(5, time.monotonic() - begun)
    assert [stream.end() for stream in streams] == [grpc.StatusCode.OK] * 3


def test_two_scalers_tell_the_same_without_a_leader(start_scaler: Start, channels: Channels, database: Database) -> None:
    first, second = start_scaler(**SELDOM), start_scaler(**SELDOM)
    one, two = (Keda(channels(scaler.address)) for scaler in (first, second))
    streams = [one.activity(), two.activity()]
    assert [stream.next().result for stream in streams] == [False, False]
    _wait_until_it_waits_for(database, ["default"], first, second)
    enqueue(database, "bash")
    assert [stream.next().result for stream in streams] == [True, True]
    assert first.stop() == 0
    assert (two.is_active(), two.wanted()) == (True, 1)


def test_a_scaler_that_leaves_waits_for_nothing_any_more(start_scaler: Start, channels: Channels, database: Database) -> None:
    scaler = start_scaler()
    keda = Keda(channels(scaler.address), {"queues": "*"})
    keda.is_active()
    _wait_until_it_waits_for(database, ["*"], scaler)
    enqueue(database, "bash")
    wait_until(keda.is_active, what="the task to be seen")
    _wait_until_it_waits_for(database, [], scaler)
    assert scaler.stop() == 0


def _wait_until_it_waits_for(database: Database, queues: list[str], *scalers: ScalerProcess) -> None:
    rows = "SELECT waiting FROM halfstep.scaler WHERE name = ANY (%(names)s)"
    names, expected = {"names": [scaler.name for scaler in scalers]}, [queues] * len(scalers)
    wait_until(lambda: [row["waiting"] for row in database.execute(rows, names)] == expected, what=f"waiting for {queues}")

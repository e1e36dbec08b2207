"""The database is away, or hangs: old demand is told for a while, then calls fail at once. Nothing ever waits for SQL."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import grpc

from halfstep.database import Database
from halfstep.producer import enqueue
from scaler.keda import HangingProxy, Keda, ScalerProcess, refusal  # noqa: TID251
from waiting import is_within, wait_until

Start = Callable[..., ScalerProcess]
Channels = Callable[..., grpc.Channel]


def test_while_the_database_is_away_the_last_demand_is_told_and_then_calls_fail(
    start_scaler: Start, channels: Channels, database: Database, proxy: HangingProxy
) -> None:
    scaler = start_scaler(url=proxy.url, max_age=3.0)
    keda = Keda(channels(scaler.address))
    enqueue(database, "bash")
    wait_until(lambda: keda.wanted() == 1, what="the task to be seen")
    proxy.take_down()
    gone = time.monotonic()
    assert (keda.is_active(), keda.wanted()) == (True, 1)
    wait_until(lambda: _fails(keda), what="calls to fail")
    assert time.monotonic() - gone > 2
    assert is_within(5, time.monotonic() - gone)
    for call in (keda.metrics, keda.is_active):
        code, sentence = refusal(call)
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "The database has not answered for" in sentence
    assert keda.spec().metricSpecs
    assert keda.health() == "SERVING"
    wait_until(lambda: keda.health("externalscaler.ExternalScaler") == "NOT_SERVING", what="the health of the service")
    proxy.bring_up()
    wait_until(lambda: not _fails(keda), what="calls to be answered")
    assert keda.wanted() == 1
    assert "The database answers again." in scaler.said()


def test_a_stream_outlives_an_outage_and_tells_what_has_changed(
    start_scaler: Start, channels: Channels, database: Database, proxy: HangingProxy
) -> None:
    told = Keda(channels(start_scaler(url=proxy.url, max_age=1.0).address)).activity()
    assert told.next().result is False
    proxy.take_down()
    enqueue(database, "bash")
    proxy.bring_up()
    assert told.next().result is True


def test_calls_take_milliseconds_while_the_database_hangs(start_scaler: Start, channels: Channels, proxy: HangingProxy) -> None:
    keda = Keda(channels(start_scaler(url=proxy.url, max_age=60.0).address))
    keda.wanted()
    proxy.hang()
    seconds = sorted(_timed(call) for _ in range(150) for call in (keda.is_active, keda.spec, keda.metrics))
    assert is_within(0.05, statistics.median(seconds))  # the bound on a quiet machine is in benchmarks/scaler_room.py
    assert is_within(1, seconds[-1])


def test_a_connection_that_hangs_is_given_up_and_the_next_one_is_tried(
    start_scaler: Start, channels: Channels, database: Database, proxy: HangingProxy
) -> None:
    scaler = start_scaler(url=proxy.url, max_age=1.0, query_seconds=1.0)
    keda = Keda(channels(scaler.address))
    told = keda.activity()
    assert told.next().result is False
    proxy.hang()
    wait_until(lambda: "Trying again" in scaler.said(), what="the reading to be given up")
    enqueue(database, "bash")
    proxy.flow()
    assert told.next().result is True
    assert scaler.stop() == 0


def test_it_leaves_within_its_time_although_the_database_hangs(
    start_scaler: Start, channels: Channels, proxy: HangingProxy
) -> None:
    scaler = start_scaler(url=proxy.url)
    told = Keda(channels(scaler.address)).activity()
    told.next()
    proxy.hang()
    begun = time.monotonic()
    assert scaler.stop() == 0
    assert is_within(8, time.monotonic() - begun)
    assert told.end() is grpc.StatusCode.OK


def test_it_starts_without_a_database_and_is_ready_when_there_is_one(
    start_scaler: Start, channels: Channels, proxy: HangingProxy
) -> None:
    proxy.take_down()
    scaler = start_scaler(url=proxy.url, ready=False)
    keda = Keda(channels(scaler.address))
    told = keda.activity()
    assert keda.spec().metricSpecs
    code, sentence = refusal(keda.is_active)
    assert (code, "not read the demand yet" in sentence) == (grpc.StatusCode.UNAVAILABLE, True)
    assert keda.health() == "NOT_SERVING"
    proxy.bring_up()
    assert told.next().result is False
    wait_until(lambda: keda.health() == "SERVING", what="readiness")


def test_a_database_without_the_schema_is_waited_for(start_scaler: Start, channels: Channels, empty_database_url: str) -> None:
    scaler = start_scaler(url=empty_database_url, ready=False)
    assert refusal(Keda(channels(scaler.address)).metrics)[0] is grpc.StatusCode.UNAVAILABLE
    wait_until(lambda: "halfstep migrate" in scaler.said(), what="the log to say what to do")


def _fails(keda: Keda) -> bool:
    try:
        keda.metrics()
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017
        return True
    return False


def _timed(call: Callable[[], object]) -> float:
    begun = time.monotonic()
    call()
    return time.monotonic() - begun

"""Reads of a container's log overlap by up to a second; no line is lost or delivered twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep.pods import StreamEnd
from halfstep_worker.kubernetes.logposition import HEAVY_BYTES, Position, Reading, Stamps

SECOND = 1_000_000_000


def read(position: Position, log: list[int], *, now: float = 0.0, size: int = 10) -> tuple[list[int], Reading]:
    """What a read of the log (times) brings that is new."""
    since = position.start()
    reading = Reading(position, now=now)
    fresh = [at for at in log if (since is None or at // SECOND >= since) and reading.is_new(at, size=size)]
    if not reading.gap or fresh:
        reading.end()
    if fresh:
        position.moved_at = now
    return fresh, reading


@given(st.lists(st.integers(SECOND, 5 * SECOND), max_size=30), st.lists(st.integers(0, 30), max_size=5))
def test_every_line_comes_once_whenever_the_log_is_read(log: list[int], cuts: list[int]) -> None:
    log.sort()
    position, got = Position(), []
    for end in [*sorted(cuts), len(log)]:
        fresh, reading = read(position, log[:end])
        got += fresh
        assert not reading.gap
    assert got == log


def test_a_line_written_a_little_late_is_not_lost() -> None:
    position = Position()
    assert read(position, [10 * SECOND + 5])[0] == [10 * SECOND + 5]
    assert read(position, [10 * SECOND + 5, 10 * SECOND + 3])[0] == [10 * SECOND + 3]
    assert read(position, [10 * SECOND + 5, 10 * SECOND + 3])[0] == []


def test_lines_of_one_time_are_told_apart_by_their_number() -> None:
    position = Position()
    assert len(read(position, [SECOND] * 3)[0]) == 3
    assert len(read(position, [SECOND] * 5)[0]) == 2


def test_a_rotated_log_is_noticed_and_goes_on() -> None:
    position = Position()
    read(position, [SECOND, SECOND + 1])
    fresh, reading = read(position, [SECOND + 7, 2 * SECOND])
    assert fresh == [SECOND + 7, 2 * SECOND]
    assert reading.gap
    fresh, reading = read(position, [SECOND + 7, 2 * SECOND, 2 * SECOND + 1])
    assert fresh == [2 * SECOND + 1]
    assert not reading.gap


def test_a_log_rotated_to_nothing_is_told_once() -> None:
    position = Position()
    read(position, [SECOND])
    gaps = []
    for _ in range(2):
        reading = Reading(position, now=0)
        reading.end()
        gaps.append(reading.gap)
    assert gaps == [True, False]
    assert read(position, [SECOND + 9])[0] == [SECOND + 9]


def test_a_large_overlap_is_not_read_for_ever() -> None:
    position = Position()
    read(position, [SECOND, SECOND + 1], now=10, size=HEAVY_BYTES)
    read(position, [SECOND, SECOND + 1], now=11, size=HEAVY_BYTES)
    assert position.start() == 1, "the second may not be over yet"
    read(position, [SECOND, SECOND + 1], now=13, size=HEAVY_BYTES)
    assert position.start() == 2
    fresh, reading = read(position, [SECOND, SECOND + 1, 2 * SECOND], now=20)
    assert fresh == [2 * SECOND]
    assert not reading.gap


def left(lines: list[int]) -> StreamEnd:
    """What SQL tells of these stored lines (`pod_pasts.sql`)."""
    times = [at / 1e9 for at in lines]
    since = int(max(times)) - 1
    return StreamEnd(since, sum(time >= since for time in times), max(times))


@given(
    st.lists(st.tuples(st.integers(10 * SECOND, 15 * SECOND), st.integers(0, 9 * SECOND // 10)), min_size=1, max_size=40),
    st.integers(1, 40),
)
def test_an_adopter_goes_on_with_the_line_after_the_last_stored_one(moments: list[tuple[int, int]], stored: int) -> None:
    log = [at - late for at, late in sorted(moments)]
    end = left(log[:stored])
    position = Position(end, skip=end.lines)
    since = position.start()
    assert since is not None
    got = [at for at in log if at // SECOND >= since and not position.stored(at, 1)]
    assert got == log[stored:]
    assert not any(position.misses(at) for at in log)


def test_stored_lines_that_are_gone_are_missed() -> None:
    end = left([10 * SECOND, 11 * SECOND])
    position = Position(end, skip=end.lines)
    assert position.misses(12 * SECOND)
    assert position.stored(12 * SECOND, 1) == 0
    assert not position.misses(13 * SECOND)


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("2026-01-02T03:04:05.123456789Z", 123456789),
        ("2026-01-02T03:04:05.5Z", 500000000),
        ("2026-01-02T03:04:05Z", 0),
        ("2026-01-02T05:04:05.000000001+02:00", 1),
        ("2026-01-01T21:34:05.25-05:30", 250000000),
    ],
)
def test_times_are_read_in_all_forms(stamp: str, expected: int) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    seconds = moment // timedelta(seconds=1)
    assert Stamps().split(f"{stamp} some text".encode()) == (seconds * SECOND + expected, b"some text")


@pytest.mark.parametrize(
    "line", ["", "unable to retrieve container logs for x", "2026-01-02 x", "2026-01-02T03:04:05.1Z", "2026-13-02T03:04:05Z x"]
)
def test_what_has_no_time_is_no_log_line(line: str) -> None:
    assert Stamps().split(line.encode()) is None

"""How fast one API server is asked, by all threads together."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from halfstep_worker.kubernetes.throttle import Throttle, backed_off
from waiting import PATIENCE


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_burst_is_free_and_then_the_rate_counts(clock: Clock) -> None:
    throttle = Throttle(10, 3, clock=clock)
    assert [throttle.take() for _ in range(4)] == [True, True, True, False]
    assert throttle.wait() == pytest.approx(0.1)
    clock.now += 0.1
    assert [throttle.take() for _ in range(2)] == [True, False]
    clock.now += 3600
    assert [throttle.take() for _ in range(4)] == [True, True, True, False]


def test_nobody_waits_for_what_cannot_come_in_time(clock: Clock) -> None:
    throttle = Throttle(1, 1, clock=clock)
    assert throttle.take()
    assert not throttle.take(seconds=0.9)


def test_a_pause_holds_all_and_a_shorter_one_does_not_end_it(clock: Clock) -> None:
    throttle = Throttle(10, 10, clock=clock)
    throttle.pause(5)
    throttle.pause(1)
    assert not throttle.take(seconds=4.9)
    assert throttle.wait() == pytest.approx(5)
    clock.now += 5
    assert throttle.take()


def test_calls_that_do_not_wait_make_the_others_wait(clock: Clock) -> None:
    throttle = Throttle(10, 1, clock=clock)
    for _ in range(100):
        throttle.spend()
    assert throttle.wait() == pytest.approx(1.1)


def test_threads_together_keep_to_the_rate() -> None:
    throttle = Throttle(100, 5)
    began = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda n: throttle.take(seconds=10), range(45)))
    assert time.monotonic() - began >= 0.4


def test_closing_sends_those_who_wait_away() -> None:
    throttle = Throttle(0.01, 1)
    throttle.take()
    waiting = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(lambda: (waiting.set(), throttle.take(seconds=1000))[1])
        waiting.wait(PATIENCE)
        throttle.close()
        assert answer.result(PATIENCE) is False
    assert not throttle.take(seconds=1000)


def test_back_off_doubles_up_to_its_cap_with_some_luck() -> None:
    assert [backed_off(n, first=1, cap=30, luck=1) for n in (1, 2, 3, 6, 500)] == [1, 2, 4, 30, 30]
    assert backed_off(1, first=1, cap=30, luck=0) == 0.5

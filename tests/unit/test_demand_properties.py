"""Demand: what must hold for any work, any bounds and any history."""

from __future__ import annotations

import heapq
from dataclasses import replace
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from halfstep.demand import Backlog, Bounds, RunTimes, Steady, is_active, useful_cap, wanted_for_latency, wanted_workers

KINDS = ("ready", "alone", "due", "running", "orphaned")
QUEUES = ("a", "b", "c")
MEANS = st.dictionaries(
    st.tuples(st.sampled_from(QUEUES), st.just("worker")), st.floats(0, 1000, allow_nan=False, allow_subnormal=False), max_size=3
)
counts = st.integers(0, 2_000)
backlogs = st.lists(
    st.builds(
        Backlog, st.sampled_from(QUEUES), st.just(1), st.just(False), counts, st.integers(0, 5), counts, counts, counts,
        oldest_seconds=st.floats(0, 500, allow_nan=False),
    ),
    max_size=4,
)  # fmt: skip
bounds = st.builds(
    lambda slots, low, more: Bounds(slots, low, low + more), st.integers(1, 64), st.integers(0, 5), st.integers(0, 500)
)
unbounded = st.builds(lambda slots: Bounds(slots, 0, 10**9), st.integers(1, 64))
targets = st.floats(0.01, 1000, allow_nan=False)


def more(backlog: Backlog, kind: str) -> Backlog:
    return replace(backlog, **{kind: getattr(backlog, kind) + 1})


@given(backlogs, bounds, targets, MEANS)
def test_latency_keeps_within_the_bounds(seen: list[Backlog], within: Bounds, target: float, means: dict) -> None:
    assert within.minimum <= wanted_for_latency(seen, within, target_wait=target, mean_seconds=means) <= within.maximum


@given(backlogs, unbounded, targets, MEANS)
def test_latency_wants_slots_for_all_that_runs_and_never_more_than_the_backlog_policy(
    seen: list[Backlog], free: Bounds, target: float, means: dict
) -> None:
    wanted = wanted_for_latency(seen, free, target_wait=target, mean_seconds=means)
    running, lone = sum(b.running for b in seen), sum(b.alone for b in seen)
    assert ceil(running / free.slots) + lone <= wanted <= wanted_workers(seen, free)


@given(backlogs, unbounded, targets, MEANS)
def test_both_policies_want_nothing_exactly_when_nothing_is_to_do(
    seen: list[Backlog], free: Bounds, target: float, means: dict
) -> None:
    assert (wanted_workers(seen, free) > 0) == is_active(seen)
    assert (wanted_for_latency(seen, free, target_wait=target, mean_seconds=means) > 0) == is_active(seen)


@given(backlogs.filter(bool), bounds, targets, MEANS, st.sampled_from(KINDS))
def test_one_task_more_never_makes_latency_want_less(
    seen: list[Backlog], within: Bounds, target: float, means: dict, kind: str
) -> None:
    fuller = [more(seen[0], kind), *seen[1:]]
    assume(kind == "running" or seen[0].waiting or not seen[0].oldest_seconds)  # waiting work brings its age along
    before, after = (wanted_for_latency(b, within, target_wait=target, mean_seconds=means) for b in (seen, fuller))
    assert after >= before


@given(backlogs, bounds, targets, st.floats(1.0, 100.0), MEANS)
def test_more_patience_never_wants_more(seen: list[Backlog], within: Bounds, target: float, times: float, means: dict) -> None:
    soon = wanted_for_latency(seen, within, target_wait=target, mean_seconds=means)
    assert wanted_for_latency(seen, within, target_wait=target * times, mean_seconds=means) <= soon


@given(backlogs, unbounded, targets)
def test_without_known_run_times_latency_is_the_backlog_policy(seen: list[Backlog], free: Bounds, target: float) -> None:
    assert wanted_for_latency(seen, free, target_wait=target, mean_seconds={}) == wanted_workers(seen, free)


@given(backlogs, bounds)
def test_once_the_target_is_missed_everything_is_to_start_at_once(seen: list[Backlog], within: Bounds) -> None:
    late = [replace(b, oldest_seconds=9.0) for b in seen]
    assume(any(b.waiting for b in late))
    means = dict.fromkeys([("a", "worker"), ("b", "worker"), ("c", "worker")], 0.001)
    assert wanted_for_latency(late, within, target_wait=9.0, mean_seconds=means) == wanted_workers(late, within)


def last_start(seconds_of_waiting: list[float], seconds_of_running: list[float], slots: int) -> float:
    """When the last waiting task starts: whenever a slot is free, the next one does."""
    free = [*seconds_of_running, *[0.0] * (slots - len(seconds_of_running))]
    heapq.heapify(free)
    last = 0.0
    for seconds in seconds_of_waiting:
        last = heapq.heappop(free)
        heapq.heappush(free, last + seconds)
    return last


durations = st.sampled_from([0.5, 1.0, 7.0, 60.0])


@given(
    waiting=st.lists(st.sampled_from(QUEUES), min_size=1, max_size=60), running=st.lists(st.sampled_from(QUEUES), max_size=20),
    means=st.tuples(durations, durations, durations), slots=st.integers(1, 8), target=st.floats(0.5, 200), spent=st.floats(0, 1),
)  # fmt: skip
def test_with_what_latency_wants_every_task_of_a_simulated_queue_starts_in_time(
    waiting: list[str], running: list[str], means: tuple[float, float, float], slots: int, target: float, spent: float
) -> None:
    seconds = dict(zip(QUEUES, means, strict=True))
    age = min(target * spent, target - 0.01)
    seen = [
        Backlog(q, 1, False, waiting.count(q), 0, 0, running.count(q), 0, oldest_seconds=age if q in waiting else 0.0)
        for q in QUEUES
    ]
    known = {(name, "worker"): value for name, value in seconds.items()}
    wanted = wanted_for_latency(seen, Bounds(slots, 0, 10**6), target_wait=target, mean_seconds=known)
    start = last_start([seconds[q] for q in waiting], [seconds[q] for q in running], wanted * slots)
    assert start + age <= target + 1e-6


@given(bounds.filter(lambda b: b.maximum), targets, st.floats(0.01, 100))
def test_work_that_reaches_the_useful_cap_wants_all_there_may_be(within: Bounds, target: float, mean: float) -> None:
    cap = useful_cap(within)
    full = [Backlog("a", 1, False, cap, 0, 0, 0, 0)]
    assert wanted_workers(full, within) == within.maximum
    wide = useful_cap(within, target_wait=target, shortest_mean=mean)
    assert wide >= min(cap, 100_000)
    seen = [Backlog("a", 1, False, wide, 0, 0, 0, 0)]
    assert wanted_for_latency(seen, within, target_wait=target, mean_seconds={("a", "worker"): mean}, cap=wide) == within.maximum


# -- steady

steps = st.lists(st.tuples(st.floats(0, 40), st.integers(0, 100)), min_size=1, max_size=60)


def settled(steps: list[tuple[float, int]], steady: Steady) -> list[tuple[float, int, int]]:
    """(when, wanted, answer) of each step."""
    now, told = 1000.0, []
    for pause, wanted in steps:
        now += pause
        told.append((now, wanted, steady.settle(wanted, now)))
    return told


@given(steps)
def test_steady_never_has_less_than_is_wanted_or_was_within_its_hold(given_steps: list[tuple[float, int]]) -> None:
    told = settled(given_steps, Steady(hold=30))
    for index, (now, _wanted, answer) in enumerate(told):
        assert answer >= max(wanted for at, wanted, _ in told[: index + 1] if at >= now - 30)


@given(steps)
def test_steady_never_has_more_than_was_ever_wanted_and_grows_only_with_what_is_wanted(
    given_steps: list[tuple[float, int]],
) -> None:
    told = settled(given_steps, Steady(hold=30))
    for (_, _, before), (_, wanted, answer) in pairwise(told):
        assert answer <= max(before, wanted)
    assert max(answer for *_, answer in told) == max(wanted for _, wanted, _ in told)


@given(steps, st.integers(0, 100))
def test_steady_comes_down_to_what_is_wanted_for_long_enough(given_steps: list[tuple[float, int]], calm: int) -> None:
    steady = Steady(hold=30, stable=60)
    told = settled([*given_steps, *[(5.0, calm)] * 40], steady)
    assert told[-1][2] == calm
    assert not steady.panicking


def test_a_burst_beyond_twice_the_usual_is_a_panic_and_nobody_leaves_in_it() -> None:
    steady = Steady(hold=10, stable=60, panic_window=6, ratio=2)
    for second in range(60):
        assert steady.settle(10, float(second)) == 10
    assert (steady.settle(20, 60.0), steady.panicking) == (20, False)  # twice is not more than twice
    assert (steady.settle(40, 61.0), steady.panicking) == (40, True)
    assert [steady.settle(1, float(at)) for at in (71, 80, 120)] == [40, 40, 40]
    assert (steady.settle(1, 121.5), steady.panicking) == (1, False)


@pytest.mark.parametrize("wanted", [0, 3])
def test_the_first_answer_is_what_is_wanted(wanted: int) -> None:
    assert Steady().settle(wanted, 5.0) == wanted


# -- run times


@given(st.lists(st.tuples(st.floats(0, 400), st.integers(0, 50), st.floats(0.001, 100)), min_size=1, max_size=30))
def test_mean_run_times_lie_between_the_shortest_and_the_longest(runs: list[tuple[float, int, float]]) -> None:
    times: RunTimes[str] = RunTimes()
    now, count, seconds = 0.0, 0, 0.0
    for pause, number, each in runs:
        now, count, seconds = now + pause, count + number, seconds + number * each
        mean = times.note({"q": (count, seconds)}, now=now)
        assert (mean == {}) == (count == 0)
        if count:
            assert min(e for _, n, e in runs if n) * 0.99 <= mean["q"] <= max(e for _, n, e in runs if n) * 1.01


def test_totals_that_start_anew_are_taken_as_they_are() -> None:
    times: RunTimes[str] = RunTimes(enough=1)
    assert times.note({"q": (100, 500.0)}, now=0) == {"q": 5.0}
    assert times.note({"q": (2, 2.0)}, now=900) == {"q": 1.0}

"""Demand: how many workers the work needs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from halfstep.demand import Backlog, Bounds, wanted_workers

counts = st.integers(0, 10_000)
backlogs = st.lists(
    st.builds(Backlog, st.just("q"), st.just(1), st.booleans(), counts, st.integers(0, 5), counts, counts, counts), max_size=5
)
bounds = st.builds(
    lambda slots, low, more: Bounds(slots, low, low + more), st.integers(1, 64), st.integers(0, 5), st.integers(0, 500)
)


def backlog(**counts: int) -> Backlog:
    return Backlog("q", 1, False, **({"ready": 0, "alone": 0, "due": 0, "running": 0, "orphaned": 0} | counts))


@given(backlogs, bounds)
def test_the_bounds_hold(seen: list[Backlog], within: Bounds) -> None:
    assert within.minimum <= wanted_workers(seen, within) <= within.maximum


@given(backlogs, bounds, st.sampled_from(["ready", "alone", "due", "running", "orphaned"]))
def test_more_work_never_wants_fewer_workers(seen: list[Backlog], within: Bounds, kind: str) -> None:
    assert wanted_workers([*seen, backlog(**{kind: 1})], within) >= wanted_workers(seen, within)


@given(backlogs, st.integers(1, 64))
def test_the_slots_suffice_and_no_worker_is_wanted_for_nothing(seen: list[Backlog], slots: int) -> None:
    lone = sum(b.alone for b in seen)
    shared = sum(b.waiting + b.running for b in seen) - lone
    workers = wanted_workers(seen, Bounds(slots, 0, 10**9)) - lone
    assert workers * slots >= shared > (workers - 1) * slots


def test_no_work_wants_no_worker_and_one_task_wants_one() -> None:
    assert wanted_workers([], Bounds(4, 0, 9)) == 0
    assert wanted_workers([backlog()], Bounds(4, 0, 9)) == 0
    for kind in ("ready", "alone", "due", "running", "orphaned"):
        assert wanted_workers([backlog(**{kind: 1})], Bounds(4, 0, 9)) == 1


def test_queues_share_workers_but_suspects_take_one_each() -> None:
    assert wanted_workers([backlog(ready=2), backlog(running=2)], Bounds(4, 0, 9)) == 1
    assert wanted_workers([backlog(ready=2, alone=3)], Bounds(4, 0, 9)) == 4

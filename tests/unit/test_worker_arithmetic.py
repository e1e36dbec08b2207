"""Fairness, batch sizes, polling, log chunks, the lease observer: pure, with a clock of the test's own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep.caretaker import Observer
from halfstep.claims import Claim
from halfstep_worker.batching import Pace
from halfstep_worker.fairness import QueueOrder
from halfstep_worker.logs import LogCollector
from halfstep_worker.memory import slot_limit
from halfstep_worker.polling import Patience, Polling


def claim(id: int = 1) -> Claim:
    return Claim(id, "t", "q", "bash", "{}", 1, 0, 3, None, 1, 300, False, False)


def lease(worker: str, counter: int, *, seconds: float = 9.0, dead: bool = False) -> dict[str, Any]:
    return {"worker": worker, "counter": counter, "seconds": seconds, "dead": dead}


def serve(order: QueueOrder, rounds: int, offers: dict[str, int]) -> Counter[str]:
    """Claims of one task a round from the first queue that still has some."""
    served: Counter[str] = Counter()
    left = dict(offers)
    for _ in range(rounds):
        first = next((name for name in order.names() if left[name]), None)
        if first is not None:
            left[first] -= 1
            served[first] += 1
            order.note([first], short=False)
    return served


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(1, 10), min_size=2))
def test_busy_queues_are_served_in_proportion_to_their_weights(weights: dict[str, int]) -> None:
    order = QueueOrder()
    order.update(weights)
    rounds = 20 * sum(weights.values())
    served = serve(order, rounds, dict.fromkeys(weights, rounds))
    for name, weight in weights.items():
        assert abs(served[name] - 20 * weight) <= weight + 1


def test_a_queue_that_was_empty_does_not_save_up_turns() -> None:
    order = QueueOrder()
    order.update({"busy": 1, "quiet": 1})
    for _ in range(100):
        order.note(["busy"], short=True)
    assert serve(order, 20, {"busy": 100, "quiet": 100})["busy"] >= 9


def test_a_new_queue_begins_where_the_least_served_one_stands() -> None:
    order = QueueOrder()
    order.update({"old": 1})
    order.note(["old"] * 50, short=False)
    order.update({"old": 1, "new": 1})
    assert serve(order, 10, {"old": 10, "new": 10})["old"] >= 4


def test_long_or_unknown_tasks_are_claimed_one_by_one_and_short_ones_ahead() -> None:
    pace = Pace()
    assert (pace.ahead(), pace.lay()) == (1, 1)
    for _ in range(200):
        pace.note(0.0001)
    assert pace.ahead() == pace.most
    assert pace.lay() == 64
    pace.note(2.0)
    assert (pace.ahead(), pace.lay()) == (1, 1)


@given(st.floats(1e-7, 1e4))
def test_what_is_held_ahead_starts_within_a_second(seconds: float) -> None:
    pace = Pace()
    pace.note(seconds)
    assert (pace.ahead() - 1) * seconds < 1.0


def test_a_worker_asks_at_once_while_there_is_more_then_quickly_then_at_the_poll_interval() -> None:
    polling = Polling(1.0)
    assert polling.due(0.0)
    polling.note(got=5, wanted=5, now=0.0)
    assert polling.due(0.0)
    pauses = []
    now = 0.0
    for _ in range(9):
        polling.note(got=0, wanted=5, now=now)
        pauses.append(polling.next_at - now)
        now = polling.next_at
    assert pauses[0] < 0.01
    assert pauses == sorted(pauses) or max(pauses) <= 1.0
    assert 0.9 <= pauses[-1] <= 1.0
    assert polling.idle


def test_a_hint_makes_the_next_question_due_now() -> None:
    polling = Polling(1.0)
    for now in range(10):
        polling.note(got=0, wanted=1, now=float(now))
    assert not polling.due(9.5)
    polling.hint()
    assert polling.due(9.5)


def test_a_busy_worker_runs_dry_only_after_suspects_have_waited() -> None:
    patience = Patience()
    patience.note(suspects=True, now=0.0)
    assert not patience.runs_dry(4.9)
    assert patience.runs_dry(10.1)
    patience.note(suspects=False, now=10.2)
    assert not patience.runs_dry(30.0)


def test_lines_are_gathered_for_a_quarter_of_a_second_and_the_rest_comes_at_the_end() -> None:
    logs = LogCollector()
    logs.add(claim(), (1.0, "stdout", "a"), now=0.0)
    logs.add(claim(), (1.1, "stderr", "b"), now=0.1)
    assert logs.take(now=0.2) == []
    assert logs.take(now=0.25) == [
        {"task_id": 1, "attempt": 1, "chunk": 0, "lines": [[1.0, "stdout", "a"], [1.1, "stderr", "b"]]}
    ]
    logs.add(claim(), (1.2, "stdout", "c"), now=0.3)
    assert logs.end(claim(), at=9.0) == [{"task_id": 1, "attempt": 1, "chunk": 1, "lines": [[1.2, "stdout", "c"]]}]
    assert logs.end(claim(), at=9.0) == []


def test_lines_past_the_limit_are_counted_and_the_marker_says_so() -> None:
    logs = LogCollector(limit=100)
    for n in range(5):
        logs.add(claim(), (0.0, "stdout", f"{n}"), now=0.0)
    lines = logs.end(claim(), at=7.0)[0]["lines"]
    assert [line[2] for line in lines[:-1]] == ["0", "1"]
    assert lines[-1] == [7.0, "log", "[halfstep: the log reached its limit of 100 bytes; 3 more lines were dropped]"]


def test_a_lease_is_dead_after_it_has_not_moved_for_its_whole_length() -> None:
    observer = Observer()
    seen = [observer.look([lease("a", 1)], now=float(now)) for now in range(0, 12, 2)]
    assert seen == [[], [], [], [], [], [("a", 1)]]


def test_a_gap_in_the_looking_starts_the_observation_anew() -> None:
    observer = Observer()
    for now in (0.0, 2.0, 4.0, 6.0, 8.0):
        observer.look([lease("a", 1)], now=now)
    assert observer.look([lease("a", 1)], now=30.0) == []
    assert observer.look([lease("a", 1)], now=32.0) == []


def test_a_counter_that_moves_keeps_the_lease_alive() -> None:
    observer = Observer()
    assert all(observer.look([lease("a", now // 6)], now=float(now)) == [] for now in range(0, 60, 2))


def test_a_lease_that_is_marked_dead_is_not_marked_again() -> None:
    observer = Observer()
    assert all(observer.look([lease("a", 1, dead=True)], now=float(now)) == [] for now in range(0, 30, 2))


@pytest.mark.parametrize(
    ("name", "text", "limit"),
    [
        ("memory.max", "1000000\n", 400_000),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "9223372036854771712", None),
    ],
)
def test_a_slot_gets_its_share_of_the_containers_memory(tmp_path: Path, name: str, text: str, limit: int | None) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert slot_limit(2, cgroup=tmp_path) == limit

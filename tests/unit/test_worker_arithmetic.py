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
    assert logs.end(claim()) == [{"task_id": 1, "attempt": 1, "chunk": 1, "lines": [[1.2, "stdout", "c"]]}]
    assert logs.end(claim()) == []


def logged(logs: LogCollector, count: int, *, id: int = 1, text: str = "{}") -> list[str]:
    """The texts of an attempt's log that wrote so many numbered lines."""
    for n in range(count):
        logs.add(claim(id), (float(n), "stdout", text.format(n)), now=0.0)
    return [line[2] for chunk in logs.take(now=float("inf")) + logs.end(claim(id)) for line in chunk["lines"]]


def test_of_a_log_past_its_limit_the_beginning_and_the_end_are_kept_and_what_is_between_is_counted() -> None:
    beginning, end = 73 * 41, 24 * 41  # lines of one digit and their overhead; what one more line would not fit into
    texts = logged(LogCollector(limit=4000), 10 + 500, text="x")
    assert texts[:73] == ["x"] * 73
    assert texts[73] == (
        "[halfstep: the log has reached 3000 bytes; what follows is held back, and its last 1000 bytes are written when the "
        "attempt ends]"
    )
    assert texts[74] == f"[halfstep: {510 - 73 - 24} lines ({510 - 73 - 24} bytes) were left out here]"
    assert texts[75:] == ["x"] * 24
    assert beginning <= 3000
    assert end <= 1000


def test_a_log_of_a_little_less_than_its_limit_is_kept_whole_and_in_order() -> None:
    texts = logged(LogCollector(limit=4000), 90)
    assert [text for text in texts if not text.startswith("[")] == [str(n) for n in range(90)]


def test_the_marker_of_what_was_left_out_has_the_time_of_the_line_behind_it() -> None:
    logs = LogCollector(limit=400)
    for n in range(100):
        logs.add(claim(), (float(n), "stdout", f"{n}"), now=0.0)
    *_, marker, first, last = logs.end(claim())[0]["lines"]
    assert (marker[:2], first, last) == ([98.0, "log"], [98.0, "stdout", "98"], [99.0, "stdout", "99"])


def test_the_ends_of_all_long_logs_together_are_bounded_and_the_longest_gives_way() -> None:
    logs = LogCollector(limit=400_000, tails=200_000)
    for n in range(3000):
        for id in range(10):
            logs.add(claim(id), (float(n), "stdout", "x" * (200 if id else 10_000)), now=0.0)
    assert logs.held <= 200_000 + 10 * 10_040, "a block more for each"
    logs.take(now=float("inf"))
    for id in range(10):
        texts = [line[2] for chunk in logs.end(claim(id)) for line in chunk["lines"]]
        assert "were left out here" in texts[0]
        assert len(texts) > 1
    assert logs.held == 0


def test_an_adopted_log_whose_beginning_is_written_goes_on_with_its_end() -> None:
    logs = LogCollector(limit=400)
    logs.resume(claim(), chunk=7, written=300)
    assert not logs.add(claim(), (1.0, "stdout", "last words"), now=0.0)
    assert logs.take(now=float("inf")) == []
    assert logs.end(claim()) == [{"task_id": 1, "attempt": 1, "chunk": 7, "lines": [[1.0, "stdout", "last words"]]}]


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

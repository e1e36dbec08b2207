"""`halfstep bench`: the figures that scripts read, through real workers."""

from __future__ import annotations

import json

from end_to_end.conftest import run_halfstep
from halfstep_cli.bench.latency import summary


def test_drain_loses_and_repeats_nothing(database_url: str) -> None:
    words = ("bench", "drain", "--tasks", "500", "--workers", "1", "--slots", "2", "--json")
    done = run_halfstep(*words, HALFSTEP_DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert list(figures) == ["tasks", "seconds", "tasks_per_second", "bare_tasks_per_second", "lost", "repeated"]
    assert (figures["tasks"], figures["lost"], figures["repeated"]) == (500, 0, 0)
    assert figures["bare_tasks_per_second"] > 0


def test_latency_gives_percentiles_in_order(database_url: str) -> None:
    done = run_halfstep("bench", "latency", "--tasks", "10", "--json", HALFSTEP_DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert list(figures) == ["p50_ms", "p95_ms", "p99_ms", "max_ms"]
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"] <= figures["max_ms"] < 30_000


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    seen = summary([number / 1000 for number in range(1, 101)])
    assert (seen.p50_ms, seen.p95_ms, seen.p99_ms, seen.max_ms) == (50, 95, 99, 100)
    assert summary([0.004]).p99_ms == 4

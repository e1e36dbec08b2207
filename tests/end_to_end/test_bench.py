"""`halfstep bench`: the figures that scripts read, through real workers."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import closing

import pytest

from end_to_end.conftest import Up, run_halfstep
from halfstep.database import Database
from halfstep_cli.bench.latency import summary
from waiting import PATIENCE


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


@pytest.mark.parametrize("which", ["drain", "latency"])
def test_on_the_database_of_a_running_up_it_says_so_and_enqueues_nothing(start_up: Callable[..., Up], which: str) -> None:
    up = start_up()
    up.await_status(lambda status: status["workers"] == 0, "no worker")
    done = run_halfstep("bench", which, "--tasks", "10", HALFSTEP_DATABASE_URL=up.url)
    assert done.returncode == 6
    assert "halfstep: `halfstep up` works on this database" in done.stderr
    with closing(Database(up.url)) as database:
        assert database.execute("SELECT FROM halfstep.task UNION ALL SELECT FROM halfstep.history") == []
        assert database.execute("SELECT name FROM halfstep.queue") == [{"name": "default"}]
    up.signal(signal.SIGTERM)
    assert up.process.wait(timeout=PATIENCE) == 0


def test_beside_an_up_that_serves_other_queues_it_runs(start_up: Callable[..., Up]) -> None:
    up = start_up("--queues", "mail")
    done = run_halfstep("bench", "latency", "--tasks", "2", "--json", HALFSTEP_DATABASE_URL=up.url)
    assert done.returncode == 0, done.stderr
    up.signal(signal.SIGTERM)
    assert up.process.wait(timeout=PATIENCE) == 0


def test_where_a_scaler_starts_workers_for_every_queue_it_says_so(database_url: str, database: Database) -> None:
    sql = "INSERT INTO halfstep.scaler (id, name, waiting) VALUES (gen_random_uuid(), 's', %(waiting)s)"
    database.execute(sql, {"waiting": ["*"]})
    done = run_halfstep("bench", "latency", "--tasks", "2", HALFSTEP_DATABASE_URL=database_url)
    assert (done.returncode, "A scaler starts workers" in done.stderr) == (6, True)
    database.execute("UPDATE halfstep.scaler SET waiting = '{mail}'")
    assert run_halfstep("bench", "latency", "--tasks", "2", HALFSTEP_DATABASE_URL=database_url).returncode == 0


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    seen = summary([number / 1000 for number in range(1, 101)])
    assert (seen.p50_ms, seen.p95_ms, seen.p99_ms, seen.max_ms) == (50, 95, 99, 100)
    assert summary([0.004]).p99_ms == 4

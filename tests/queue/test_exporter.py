"""Exporter: one of many shows the figures of the queue; a frozen one shows nothing when it wakes; no count is ever lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from halfstep import NewTask, enqueue_many
from halfstep.claims import Ending, Wish
from halfstep.database import Database
from halfstep.metrics import names
from halfstep.metrics.exporter import Exporter, ExporterSettings
from halfstep.outcomes import Failed, Succeeded
from halfstep.queue import Queue
from waiting import PATIENCE, wait_until

Sample = tuple[str, tuple[tuple[str, str], ...]]
PROGRAM = Path(__file__).parents[1] / "run_exporter.py"


@pytest.fixture(autouse=True)
def _leaves_nothing(database: Database) -> Iterator[None]:
    wipe = "DELETE FROM halfstep.tally; DELETE FROM halfstep.election"
    database.script(wipe)
    yield
    database.close()
    database.script(wipe)


class Clock:
    """Monotonic seconds that stand still until they are moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_exporter(database_url: str, clock: Clock) -> Iterator[Callable[..., Exporter]]:
    made: list[Exporter] = []

    def make(name: str = "one") -> Exporter:
        made.append(Exporter(database_url, ExporterSettings(name, interval=15, lease=20), clock=clock))
        return made[-1]

    yield make
    for exporter in made:
        exporter.stop()
        exporter._leave()


def samples(text: str) -> dict[Sample, float]:
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def shown(exporter: Exporter) -> dict[Sample, float]:
    registry = CollectorRegistry()
    registry.register(exporter)
    return samples(generate_latest(registry).decode())


def of(found: dict[Sample, float], name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def test_everything_is_shown_under_its_documented_name(
    database: Database, make_worker: Any, queue: Queue, make_exporter: Callable[..., Exporter]
) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 6 + [NewTask("bash", {}, {"run_at": "2100-01-01T00:00:00Z"})])
    enqueue_many(database, [NewTask("bash", {}, {"queue": "held"})] * 2)
    queue.pause("held")
    worker, leaving = make_worker(slots=4), make_worker(slots=3)
    queue.drain(leaving.id)
    claims = worker.claim(4)
    ends = [
        Ending(claims[0], Succeeded(), 0.2),
        Ending(claims[1], Succeeded(), 7.0),
        Ending(claims[2], Failed("no", "timeout"), 3.0),
    ]
    worker.exchange(Wish(0, str(uuid.uuid4())), ends)
    exporter = make_exporter()
    exporter.step()
    found = shown(exporter)
    here = {"queue": "default", "placement": "worker"}
    states = {
        state: of(found, "halfstep_tasks", **here, state=state) for state in ("ready", "running", "scheduled", "due", "alone")
    }
    assert states == {"ready": 2, "running": 1, "scheduled": 1, "due": 0, "alone": 0}
    assert of(found, "halfstep_tasks", queue="held", placement="worker", state="paused") == 2
    assert of(found, "halfstep_oldest_runnable_seconds", **here) >= 0
    assert of(found, "halfstep_attempts_total", **here, outcome="succeeded", reason="") == 2
    assert of(found, "halfstep_attempts_total", **here, outcome="failed", reason="timeout") == 1
    assert of(found, "halfstep_attempts_total", **here, outcome="failed", reason="exception") == 0
    buckets = {le: of(found, "halfstep_run_seconds_bucket", **here, le=le) for le in ("0.1", "0.25", "5.0", "10.0", "+Inf")}
    assert buckets == {"0.1": 0, "0.25": 1, "5.0": 2, "10.0": 3, "+Inf": 3}
    assert of(found, "halfstep_run_seconds_count", **here) == 3
    assert of(found, "halfstep_run_seconds_sum", **here) == pytest.approx(10.2)
    assert of(found, "halfstep_wait_seconds_count", **here) == 4
    assert of(found, "halfstep_wait_seconds_count", queue="held", placement="worker") == 0
    assert of(found, "halfstep_workers", placement="worker", state="running") == 1
    assert of(found, "halfstep_workers", placement="worker", state="draining") == 1
    assert of(found, "halfstep_workers", placement="pod", state="dead") == 0
    assert (of(found, "halfstep_slots", placement="worker"), of(found, "halfstep_slots_busy", placement="worker")) == (4, 1)
    assert 0 <= of(found, "halfstep_lease_lag_seconds") < 60
    assert of(found, "halfstep_fenced_writes_total") == 0
    assert {name for name, _ in found} <= documented()


def documented() -> set[str]:
    """All names that a sample may have."""
    known = {value.name for value in vars(names).values() if isinstance(value, names.Metric)}
    return known | {f"{name}_{part}" for name in known for part in ("bucket", "count", "sum")}


def test_every_name_stands_in_the_reference() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    metrics = [value for value in vars(names).values() if isinstance(value, names.Metric)]
    for metric in metrics:
        assert f"`{metric.name}`" in text, metric.name
    told = set(re.findall(r"`(halfstep_[a-z_]+)`", text))
    assert told == {metric.name for metric in metrics}


def test_a_scrape_asks_no_database(make_exporter: Callable[..., Exporter], server: Any, database_url: str) -> None:
    exporter = make_exporter()
    exporter.step()
    first = shown(exporter)
    exporter._database.close()
    assert shown(exporter) == first
    assert exporter._database._connection is None


def test_the_loser_shows_nothing_and_takes_over_when_the_holder_leaves(
    make_exporter: Callable[..., Exporter], clock: Clock
) -> None:
    first, second = make_exporter("first"), make_exporter("second")
    first.step()
    second.step()
    assert (first.shows, second.shows) == (True, False)
    assert second.ready() == ""
    first._leave()
    second.step()
    assert (first.shows, second.shows) == (False, True)


def test_one_that_was_frozen_shows_nothing_when_it_wakes_although_its_row_still_stands(
    make_exporter: Callable[..., Exporter], clock: Clock, database: Database
) -> None:
    frozen, other = make_exporter("frozen"), make_exporter("other")
    frozen.step()
    clock.now += 20.5  # as long as its lease: by its own clock somebody else may hold the role
    assert not frozen.shows
    database.execute("UPDATE halfstep.election SET expires_at = clock_timestamp()")
    other.step()
    frozen.step()
    assert (frozen.shows, other.shows) == (False, True)


def test_figures_of_an_earlier_term_are_read_anew_before_they_are_shown(
    make_exporter: Callable[..., Exporter], clock: Clock, database: Database
) -> None:
    exporter = make_exporter()
    exporter.step()
    enqueue_many(database, [NewTask("bash", {}, {})] * 3)
    clock.now += 21
    exporter.step()  # nobody took the role meanwhile
    assert of(shown(exporter), "halfstep_tasks", queue="default", placement="worker", state="ready") == 3


def test_a_snapshot_is_read_once_an_interval(make_exporter: Callable[..., Exporter], clock: Clock, database: Database) -> None:
    exporter = make_exporter()

    def ready() -> float:
        exporter.step()
        return of(shown(exporter), "halfstep_tasks", queue="default", placement="worker", state="ready")

    assert ready() == 0
    enqueue_many(database, [NewTask("bash", {}, {})] * 3)
    clock.now += 10
    assert ready() == 0
    clock.now += 5
    assert ready() == 3


def test_without_its_database_it_is_not_ready_and_in_time_shows_nothing(
    make_exporter: Callable[..., Exporter], clock: Clock
) -> None:
    exporter = make_exporter()
    assert exporter.ready() != ""
    exporter.step()
    assert (exporter.ready(), exporter.healthy()) == ("", "")
    clock.now += 30
    assert exporter.ready() == "The database does not answer the exporter."
    assert not exporter.shows
    clock.now += 200
    assert "has not turned" in exporter.healthy()


def test_counts_outlive_their_workers(
    database: Database, make_worker: Any, queue: Queue, make_exporter: Callable[..., Exporter], clock: Clock
) -> None:
    exporter = make_exporter()
    for expected in range(1, 6):
        enqueue_many(database, [NewTask("bash", {}, {})])
        worker = make_worker()
        worker.finish(*worker.claim())
        queue.deregister(worker.id)
        if expected % 2:
            queue.fold()
        clock.now += 15
        exporter.step()
        found = of(
            shown(exporter), "halfstep_attempts_total", queue="default", placement="worker", outcome="succeeded", reason=""
        )
        assert found == expected


# -- real processes


class Running:
    """`run_exporter.py` as a process."""

    def __init__(self, url: str) -> None:
        environment = {**os.environ, "HALFSTEP_DATABASE_URL": url}
        self.process = subprocess.Popen([sys.executable, str(PROGRAM)], env=environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def get(self, path: str = "/metrics") -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return f"{error.code}"

    @property
    def shows(self) -> bool:
        return "halfstep_tasks{" in self.get()


@pytest.fixture
def run_exporter(database_url: str) -> Iterator[Callable[[], Running]]:
    made: list[Running] = []

    def run() -> Running:
        made.append(Running(database_url))
        return made[-1]

    yield run
    for running in made:
        running.process.send_signal(signal.SIGCONT)
        running.process.kill()
        running.process.wait()
        assert running.process.stdout is not None
        running.process.stdout.close()


def test_a_stopped_process_is_replaced_and_shows_nothing_when_it_goes_on(run_exporter: Callable[[], Running]) -> None:
    first = run_exporter()
    wait_until(lambda: first.shows, what="figures of the first")
    second = run_exporter()
    wait_until(lambda: second.get("/readyz") == "ok\n", what="the second")
    assert not second.shows
    first.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: second.shows, what="figures of the second")
    first.process.send_signal(signal.SIGCONT)
    assert not first.shows
    assert second.shows


def test_one_that_is_terminated_hands_over_at_once(run_exporter: Callable[[], Running], database: Database) -> None:
    first = run_exporter()
    wait_until(lambda: first.shows, what="figures of the first")
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(timeout=PATIENCE) == 0
    assert database.execute("SELECT FROM halfstep.election") == []

"""What a worker tells of itself: ready while its lease holds, drained or not, and alive while its loop turns."""

from __future__ import annotations

import time

import pytest
from prometheus_client.exposition import generate_latest

from halfstep_worker.heartbeat import Pulse
from halfstep_worker.metrics import WorkerHealth, WorkerMetrics, worker_server
from halfstep_worker.settings import WorkerSettings


@pytest.fixture
def settings() -> WorkerSettings:
    return WorkerSettings(database_url="postgresql://nobody@127.0.0.1:1/none", slots=3, lease_seconds=10)


@pytest.fixture
def pulse() -> Pulse:
    now = time.monotonic()
    return Pulse(worker_id="w", turned_at=now, renewed_at=now, busy=2, fenced=5)


def test_a_worker_is_ready_from_its_registration_until_it_has_ended(settings: WorkerSettings) -> None:
    pulse = Pulse()
    health = WorkerHealth(settings, pulse)
    assert (health.ready(), health.healthy()) == ("The worker is not registered yet.", "")
    pulse.worker_id, pulse.renewed_at = "w", time.monotonic()
    assert health.ready() == ""
    health.end()
    assert health.ready() == "The worker has ended."


def test_a_worker_whose_lease_ran_out_is_not_ready_and_one_whose_loop_hangs_not_healthy(
    settings: WorkerSettings, pulse: Pulse
) -> None:
    health = WorkerHealth(settings, pulse)
    assert (health.ready(), health.healthy()) == ("", "")
    pulse.renewed_at -= 11
    assert health.ready().startswith("The lease ran out 1 s ago")
    pulse.turned_at -= 31
    assert health.healthy().startswith("The loop has not turned for 31 s")


def test_its_figures_come_from_its_own_memory(settings: WorkerSettings, pulse: Pulse) -> None:
    metrics = WorkerMetrics(settings, pulse, children=lambda: 7, leaves=lambda: True)
    metrics.exchanged(0.02)
    text = generate_latest(metrics.registry).decode()
    for line in (
        "halfstep_worker_slots 3.0",
        "halfstep_worker_busy 2.0",
        "halfstep_worker_draining 1.0",
        "halfstep_worker_fenced_writes_total 5.0",
        "halfstep_worker_children_started_total 7.0",
        "halfstep_worker_exchange_seconds_count 1.0",
        'halfstep_worker_exchange_seconds_bucket{le="0.025"} 1.0',
    ):
        assert f"\n{line}\n" in text, line
    assert "halfstep_worker_lease_lag_seconds 0.0" in text


def test_nothing_listens_unless_it_is_told_to(settings: WorkerSettings, pulse: Pulse) -> None:
    metrics = WorkerMetrics(settings, pulse, leaves=lambda: False)
    assert worker_server(settings, metrics, WorkerHealth(settings, pulse)) is None

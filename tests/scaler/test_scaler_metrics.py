"""What the scaler shows to Prometheus and to probes."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable

import grpc
import pytest

from halfstep.database import Database
from halfstep.producer import enqueue
from ports import free_port
from scaler.keda import HangingProxy, Keda, ScalerProcess  # noqa: TID251
from waiting import PATIENCE, wait_until

Start = Callable[..., ScalerProcess]
Channels = Callable[..., grpc.Channel]


@pytest.fixture
def free_address() -> str:
    """Where nobody listens."""
    return f"127.0.0.1:{free_port()}"


def test_it_shows_its_calls_what_it_told_and_the_queues_metrics(
    start_scaler: Start, channels: Channels, database: Database, free_address: str
) -> None:
    keda = Keda(channels(start_scaler(metrics=free_address).address))
    enqueue(database, "bash")
    wait_until(lambda: keda.wanted() == 1, what="the task to be seen")
    shown = _page(free_address, "metrics")[1]
    assert 'halfstep_scaler_wanted{namespace="shop",scaledobject="workers"} 1.0' in shown
    assert 'halfstep_scaler_rpc_seconds_count{method="GetMetrics"}' in shown
    age = next(line for line in shown.splitlines() if line.startswith("halfstep_scaler_snapshot_age_seconds "))
    assert 0 <= float(age.split()[1]) < PATIENCE
    wait_until(lambda: "halfstep_tasks{" in _page(free_address, "metrics")[1], what="the exporter")


def test_it_is_ready_once_the_demand_is_known_and_stays_so_in_an_outage(
    start_scaler: Start, proxy: HangingProxy, free_address: str
) -> None:
    proxy.take_down()
    scaler = start_scaler(url=proxy.url, ready=False, metrics=free_address, exporter=False, max_age=1.0)
    assert scaler.address
    assert _page(free_address, "healthz") == (200, "ok\n")
    assert _page(free_address, "readyz") == (503, "The demand has not been read yet.\n")
    proxy.bring_up()
    wait_until(lambda: _page(free_address, "readyz")[0] == 200, what="readiness")
    proxy.take_down()
    wait_until(lambda: "Trying again" in scaler.said().partition("ready.")[2], what="the outage to be noticed")
    assert _page(free_address, "readyz") == (200, "ok\n")


def test_without_an_address_nothing_is_served(start_scaler: Start, free_address: str) -> None:
    start_scaler()
    with pytest.raises(urllib.error.URLError):
        _page(free_address, "metrics")


def _page(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}/{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()

"""A worker's probes and figures, of a real process."""

from __future__ import annotations

import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from ports import free_port
from waiting import PATIENCE, wait_until
from worker_processes import WorkerProcess


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def test_a_worker_shows_its_figures_and_stays_ready_while_it_drains(
    start_worker: Callable[..., WorkerProcess], call: Callable[..., int], tmp_path: Path
) -> None:
    port = free_port()
    worker = start_worker(metrics=f"127.0.0.1:{port}", slots=1, grace=30.0)
    wait_until(lambda: _get(port, "/readyz") == (200, "ok\n"), what="a ready worker")
    call("touch_and_wait", str(tmp_path / "starts"), 1.0)
    wait_until((tmp_path / "starts").exists, what="the start of the body")
    wait_until(lambda: "halfstep_worker_busy 1.0" in _get(port, "/metrics")[1], what="a busy slot")
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "halfstep_worker_draining 1.0" in _get(port, "/metrics")[1], what="the drain")
    assert (_get(port, "/readyz")[0], _get(port, "/healthz")[0]) == (200, 200)
    assert worker.wait() == 0
    assert _get(port, "/readyz")[0] == 0


def test_an_address_that_is_taken_is_told_and_nothing_starts(start_worker: Callable[..., WorkerProcess]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        worker = start_worker(metrics=f"127.0.0.1:{taken.getsockname()[1]}")
        assert worker.wait() != 0
    assert "choose another --metrics" in worker.log.read_text()

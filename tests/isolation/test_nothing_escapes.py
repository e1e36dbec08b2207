"""Whatever a body does to what bounds it: time limits, cancels and drains take hold, and nothing outlives the worker."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from halfstep.queue import Queue
from isolation.marked import marked, sweep
from isolation.scene import ESCAPES, GRACE, TIME_LIMIT, Scene, slack
from waiting import wait_until
from worker_processes import WorkerProcess

GONE_SECONDS = 5.0
"""How long after its SIGKILL a worker's processes may last."""


@pytest.fixture
def scene(
    start_worker: Callable[..., WorkerProcess], source: Path, queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    """The mark stands in the environment of all that the worker starts, and in the zygote's arguments."""
    mark = f"isolation-{secrets.token_hex(8)}"
    shutil.copy(Path(__file__).with_name("escapes.py"), source)
    monkeypatch.setenv("ISOLATION_MARK", mark)
    monkeypatch.syspath_prepend(str(tmp_path / mark))
    try:
        yield Scene(start_worker, queue, tmp_path, mark)
    finally:
        sweep(mark)


@pytest.mark.slow
@pytest.mark.parametrize("escape", ESCAPES)
def test_a_time_limit_takes_hold(scene: Scene, escape: str) -> None:
    guilty = scene.begin(escape, timeout=TIME_LIMIT, max_attempts=1)
    late = scene.over_at(guilty) - (guilty.started + TIME_LIMIT + GRACE)
    report = scene.reports.show(guilty.task)
    assert (report["state"], report["reason"]) == ("failed", "timeout")
    assert late <= slack()
    _assert_the_innocent_stands(scene, escape)


@pytest.mark.slow
@pytest.mark.parametrize("escape", ESCAPES)
def test_a_cancel_takes_hold(scene: Scene, escape: str) -> None:
    guilty = scene.begin(escape)
    asked = time.monotonic()
    scene.queue.cancel(guilty.task)
    late = scene.over_at(guilty) - (asked + GRACE)
    assert scene.reports.show(guilty.task)["state"] == "cancelled"
    assert late <= slack()
    _assert_the_innocent_stands(scene, escape)


@pytest.mark.slow
@pytest.mark.parametrize("escape", ESCAPES)
def test_a_drain_takes_hold_and_leaves_nothing(scene: Scene, escape: str) -> None:
    """The bodies' grace, then their stops, then the worker's own end."""
    guilty = scene.begin(escape)
    asked = time.monotonic()
    assert scene.worker.stop() == 0
    late = time.monotonic() - (asked + GRACE + GRACE)
    assert late <= slack()
    wait_until(lambda: not marked(scene.mark), seconds=slack(), what="the end of all that the worker started")
    assert [scene.reports.show(task)["state"] for task in (guilty.task, scene.innocent)] == ["ready", "ready"]


@pytest.mark.slow
@pytest.mark.parametrize("escape", ESCAPES)
def test_nothing_outlives_a_killed_worker(scene: Scene, escape: str) -> None:
    scene.begin(escape)
    scene.worker.kill()
    wait_until(lambda: not marked(scene.mark), seconds=GONE_SECONDS, what="the end of all that the worker started")


@pytest.mark.slow
def test_an_innocent_body_that_another_froze_can_be_cancelled_as_any(scene: Scene) -> None:
    scene.begin("freezes_its_siblings")
    asked = time.monotonic()
    scene.queue.cancel(scene.innocent)
    assert scene.await_end(scene.innocent)["state"] == "cancelled"
    late = time.monotonic() - (asked + GRACE)
    assert late <= slack()


def _assert_the_innocent_stands(scene: Scene, escape: str) -> None:
    """The innocent body ends as it should, and the worker serves on. One that is frozen has nobody who wakes it."""
    if escape != "freezes_its_siblings":
        reports = scene.end_of_the_innocent()
        assert [(report["state"], report["result"], report["failures"]) for report in reports] == [
            ("succeeded", "stood", 0),
            ("succeeded", "here", 0),
        ]
    assert scene.worker.process.poll() is None

"""How long beyond its grace a body lasts that freezes, forks, moves away or turns deaf.

It is ended by its time limit, by a cancel, by a drain, or with its worker. Bodies and scene are those of tests/isolation; a fresh
worker for each try.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from benchmarks.bars import Bar, Measure
from benchmarks.pods_ground import size
from halfstep.database import Database
from halfstep.queue import Queue
from isolation import escapes
from isolation.marked import marked, sweep
from isolation.scene import ESCAPES, GRACE, SLACK, TIME_LIMIT, Scene
from waiting import wait_until
from worker_processes import WorkerProcess

TRIES = size("ESCAPES", 3)
"""Of each body with each means."""
NEVER = float("inf")
LEFT_SECONDS = 5.0


def escape_bars(url: str) -> list[Bar]:
    """A bar for each means, over all bodies."""
    return [_bar(name, means, url) for name, means in _MEANS.items()]


MEASUREMENTS: dict[str, Measure] = {"isolation escapes": escape_bars}


def _bar(name: str, means: Callable[[Scene, str], float], url: str) -> Bar:
    late = {escape: max(_try(means, url, escape) for _ in range(TRIES)) for escape in ESCAPES}
    worst = max(late, key=lambda escape: late[escape])
    print(f"{name}: " + ", ".join(f"{escape} {seconds:+.2f}" for escape, seconds in late.items()), file=sys.stderr)
    bound = f"<= {SLACK:g} s, all stand"
    return Bar(f"{name}: beyond the grace, of {len(ESCAPES)}", f"{late[worst]:+.2f} s ({worst})", bound, late[worst] <= SLACK)


def _try(means: Callable[[Scene, str], float], url: str, escape: str) -> float:
    """Seconds beyond the grace, below 0 for none; NEVER if it was not over in half a minute, or an innocent one was harmed."""
    try:
        with _scene(url) as scene:
            return means(scene, escape)
    except (AssertionError, TimeoutExpired) as error:
        print(f"{escape}: {error}", file=sys.stderr)
        return NEVER


def _limit(scene: Scene, escape: str) -> float:
    guilty = scene.begin(escape, timeout=TIME_LIMIT, max_attempts=1)
    late = scene.over_at(guilty) - (guilty.started + TIME_LIMIT + GRACE)
    assert scene.reports.show(guilty.task)["reason"] == "timeout"
    _assert_the_innocent_stands(scene, escape)
    return late


def _cancel(scene: Scene, escape: str) -> float:
    guilty = scene.begin(escape)
    asked = time.monotonic()
    scene.queue.cancel(guilty.task)
    late = scene.over_at(guilty) - (asked + GRACE)
    assert scene.reports.show(guilty.task)["state"] == "cancelled"
    _assert_the_innocent_stands(scene, escape)
    return late


def _drain(scene: Scene, escape: str) -> float:
    scene.begin(escape)
    asked = time.monotonic()
    code = scene.worker.stop(seconds=60)
    assert code == 0, f"the worker ended with {code}"
    return _gone(scene) - (asked + GRACE + GRACE)


def _death(scene: Scene, escape: str) -> float:
    """What the zygote may take to end all below it is its grace here."""
    scene.begin(escape)
    killed = time.monotonic()
    scene.worker.kill()
    return _gone(scene) - (killed + LEFT_SECONDS)


def _gone(scene: Scene) -> float:
    """When nothing of the worker was there any more."""
    wait_until(lambda: not marked(scene.mark), what="the end of all that the worker started")
    return time.monotonic()


def _assert_the_innocent_stands(scene: Scene, escape: str) -> None:
    if escape != "freezes_its_siblings":
        ends = [(report["state"], report["failures"]) for report in scene.end_of_the_innocent()]
        assert ends == [("succeeded", 0)] * 2, f"innocent ones ended otherwise: {ends}"


_MEANS: dict[str, Callable[[Scene, str], float]] = {
    "time limit": _limit,
    "cancel": _cancel,
    "drain": _drain,
    "killed worker": _death,
}


@contextmanager
def _scene(url: str) -> Iterator[Scene]:
    """A worker that carries a mark; nothing that does is left at the end."""
    mark = f"isolation-{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory(prefix="halfstep-bars-") as top, closing(Database(url)) as database, _marks(top, mark):
        source = Path(top) / "source"
        source.mkdir()
        shutil.copy(escapes.__file__, source)
        try:
            yield Scene(partial(_start, url, source), Queue(database), Path(top), mark)
        finally:
            sweep(mark)
            database.execute("DELETE FROM halfstep.task")  # what was not over is nothing to the next worker


def _start(url: str, source: Path, **settings: Any) -> WorkerProcess:
    return WorkerProcess(url, source, source.parent / "worker.log", **settings)


@contextmanager
def _marks(top: str, mark: str) -> Iterator[None]:
    sys.path.append(f"{top}/{mark}")
    os.environ["ISOLATION_MARK"] = mark
    try:
        yield
    finally:
        sys.path.remove(f"{top}/{mark}")
        del os.environ["ISOLATION_MARK"]

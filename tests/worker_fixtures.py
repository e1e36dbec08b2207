"""Fixtures of tests with real worker processes, against a database of the test's own. A conftest.py imports them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from halfstep.database import Database
from halfstep.producer import enqueue
from halfstep.reports import Report, Reports
from proxy import Proxy
from waiting import PATIENCE, wait_until
from worker_processes import WorkerProcess

TASKS = """
import os, threading, time
from pathlib import Path
from halfstep import current, task

pause = threading.Event().wait

@task
def add(a, b):
    print("adding", a, b)
    return a + b

@task
def fail(message):
    raise ValueError(message)

@task
def crash(code):
    os._exit(code)

@task
def touch_and_wait(path, seconds=3600.0):
    with open(path, "a") as file:
        file.write(f"{current().task_id} {current().attempt}\\n")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pause(0.02)
    return "waited"

@task
def until_told(path):
    Path(path).touch()
    while current().stop_reason is None:
        pause(0.02)
    current().log("was told: " + current().stop_reason)
    return current().stop_reason

@task
def report_progress(path):
    current().heartbeat({"done": 7})
    while not os.path.exists(path):
        pause(0.02)

@task
def chatter(lines):
    for n in range(lines):
        print(f"line {n}")

@task
def number():
    return None

@task
def big(size):
    return "x" * size
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source folder with a module `jobs`."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "jobs.py").write_text(TASKS)
    return folder


@pytest.fixture
def start_worker(database_url: str, source: Path, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers; those that still run at the end are killed. Keyword arguments are WorkerSettings."""
    started: list[WorkerProcess] = []

    def start(*, url: str = database_url, **settings: Any) -> WorkerProcess:
        started.append(WorkerProcess(url, source, tmp_path / f"worker-{len(started)}.log", **settings))
        return started[-1]

    yield start
    for process in started:
        if process.process.poll() is None:
            process.kill()


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    """A proxy to the test's database."""
    with ExitStack() as stack:
        made = Proxy(database_url)
        stack.callback(made.close)
        yield made


@pytest.fixture
def call(database: Database) -> Callable[..., int]:
    """Enqueues a call of a function of the module `jobs`."""

    def enqueue_call(function: str, *args: Any, **options: Any) -> int:
        return enqueue(database, "python", {"function": f"jobs:{function}", "args": list(args)}, **options)

    return enqueue_call


@pytest.fixture
def ended(reports: Reports) -> Callable[..., Report]:
    """Waits for a task to end and returns its report."""

    def wait(task: int, *, seconds: float = PATIENCE) -> Report:
        over = ("succeeded", "failed", "cancelled")
        wait_until(lambda: reports.states([task]).get(task) in over, seconds=seconds, what=f"the end of task {task}")
        return reports.show(task)

    return wait

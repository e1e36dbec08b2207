"""The bars of the queue and its worker on one machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from benchmarks import structure
from benchmarks.bars import Bar, Measure
from halfstep.database import ConnectionSettings, Database
from halfstep.errors import HalfstepError
from halfstep.limits import POLL_SECONDS
from halfstep.producer import NewTask, Options, enqueue, enqueue_many
from halfstep.queue import Queue
from halfstep.reports import Report, Reports
from halfstep_cli.bench.drain import drain
from halfstep_cli.bench.ground import Team
from halfstep_cli.bench.latency import Latency, latency
from halfstep_cli.crew import Crew, WorkerSpec
from halfstep_cli.stopping import StopSignals

ROOT = Path(__file__).parents[1]
TASKS = 100_000
RESCUE_SECONDS = 30.0


def drain_bars(url: str) -> list[Bar]:
    """100,000 no-op tasks, beside the exchange statement alone."""
    seen = drain(url, TASKS, Team(), _quiet)
    share = seen.tasks_per_second / seen.bare_tasks_per_second
    figure = f"{share:.2f} ({seen.tasks_per_second:,.0f}/s)"
    return [
        Bar("drain 100,000: share of the exchange alone", figure, ">= 0.3", share >= 0.3),
        Bar("drain 100,000: lost", str(seen.lost), "0", seen.lost == 0),
        Bar("drain 100,000: run more than once", str(seen.repeated), "0", seen.repeated == 0),
    ]


def latency_bars(url: str) -> list[Bar]:
    """500 tasks one after the other, three times; two of the runs count."""
    runs = sorted((latency(url, 500, Team(workers=1)) for _ in range(3)), key=_share_of_bounds)
    second = runs[1]
    return [
        Bar(
            "start latency of 500: second best of 3 runs",
            f"{second.p50_ms:.1f}, {second.p99_ms:.1f}, {second.max_ms:.1f} ms",
            "p50 10, p99 50, max 250 ms",
            _share_of_bounds(second) <= 1,
        )
    ]


def polling_bars(url: str) -> list[Bar]:
    """Start latency when no notification is heard."""
    seen: Latency = latency(url, 20, Team(workers=1, notify=False))
    bound = POLL_SECONDS * 1000 + 100
    return [Bar("start latency by polling: max", f"{seen.max_ms:.0f} ms", f"<= {bound:.0f} ms", seen.max_ms <= bound)]


def rescue_bars(url: str) -> list[Bar]:
    """A worker is killed while it runs tasks; how long until they run on another."""
    with closing(Database(url)) as database, tempfile.TemporaryDirectory() as logs, StopSignals() as stop:
        spec = WorkerSpec(url, slots=2, queues=["default"], alone=True)
        doomed, heirs = Crew(spec, Path(logs) / "doomed"), Crew(spec, Path(logs) / "heirs")
        ids = [enqueue(database, "bash", {"command": "sleep 300"}) for _ in range(2)]
        try:
            doomed.start(1)
            _await(lambda: all(_is_running(database, id, number=1) for id in ids), "the tasks to start")
            heirs.start(1)
            os.kill(doomed.pids[0], signal.SIGKILL)
            seconds = _timed(lambda: all(_is_running(database, id, number=2) for id in ids), "the tasks to start again")
            reasons = {_attempt(database, id, 1)["reason"] for id in ids}
        finally:
            for id in ids:
                Queue(database).cancel(id)
            heirs.leave(stop)
            doomed.leave(stop)
    return [
        Bar("killed worker: its tasks run elsewhere", f"{seconds:.1f} s", "<= 30 s", seconds <= RESCUE_SECONDS),
        Bar("killed worker: the attempt says so", ", ".join(sorted(reasons)), "worker_lost", reasons == {"worker_lost"}),
    ]


def enqueue_bars(url: str) -> list[Bar]:
    """100,000 tasks by enqueue_many, in one transaction."""
    settings = ConnectionSettings(statement_timeout=60)
    with closing(Database(url, settings)) as database:
        tasks = (NewTask("bash", {"command": "true"}, Options(queue="bulk")) for _ in range(TASKS))
        begun = time.monotonic()
        with database.transaction():
            enqueue_many(database, tasks)
        seconds = time.monotonic() - begun
    return [Bar("enqueue_many of 100,000", f"{seconds:.2f} s", "< 5 s", seconds < 5)]


def plan_bars(url: str) -> list[Bar]:
    """The tests of the query plans."""
    return [_tests("query plans at 1 M foreign rows", "tests/queue", "-k", "plan")]


def input_bars(url: str) -> list[Bar]:
    """The table of bad input, which is a test."""
    return [_tests("bad input: refused in one sentence", "tests", "-k", "bad_input")]


def suite_bars(url: str) -> list[Bar]:
    """The whole suite: that it passes, and how long it takes."""
    begun = time.monotonic()
    passed = _tests("the whole suite", "tests")
    seconds = time.monotonic() - begun
    return [passed, Bar("the whole suite: duration", f"{seconds:.0f} s", "< 300 s", seconds < 300)]


def structure_bars(url: str) -> list[Bar]:
    """The shape of the code."""
    shape = structure.measure(ROOT)
    return [
        Bar("function length: median", f"{shape.median:g} lines", "<= 8 lines", shape.median <= 8),
        Bar("function length: longest", f"{shape.longest[0]} lines", "<= 60 lines", shape.longest[0] <= 60),
        Bar("module length: longest", f"{shape.largest[0]} lines", "<= 400 lines", shape.largest[0] <= 400),
        Bar("sleeps in tests", str(shape.sleeps), "0", shape.sleeps == 0),
    ]


MEASUREMENTS: dict[str, Measure] = {
    "drain": drain_bars,
    "latency": latency_bars,
    "polling": polling_bars,
    "rescue": rescue_bars,
    "enqueue": enqueue_bars,
    "plans": plan_bars,
    "input": input_bars,
    "structure": structure_bars,
    "suite": suite_bars,
}


def _share_of_bounds(run: Latency) -> float:
    return max(run.p50_ms / 10, run.p99_ms / 50, run.max_ms / 250)


def _tests(name: str, *arguments: str) -> Bar:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HALFSTEP_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    counts = re.findall(r"\d+ (?:passed|failed|errors?|skipped)", done.stdout.splitlines()[-1] if done.stdout else "")
    return Bar(name, ", ".join(counts) or "no tests", "all pass", done.returncode == 0)


def _is_running(database: Database, id: int, *, number: int) -> bool:
    last = Reports(database).show(id)["attempts"][-1:]
    return bool(last) and last[0]["number"] == number and last[0]["outcome"] == "running"


def _attempt(database: Database, id: int, number: int) -> Report:
    found: Report = Reports(database).show(id)["attempts"][number - 1]
    return found


def _await(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise HalfstepError(f"Waited 60 s for {what}.")
        threading.Event().wait(0.05)


def _timed(condition: Callable[[], bool], what: str) -> float:
    begun = time.monotonic()
    _await(condition, what)
    return time.monotonic() - begun


def _quiet(words: str) -> None:
    pass

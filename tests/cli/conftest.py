"""The command in this process (fast, for most tests) and as a real one (signals, pipes, workers)."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from halfstep.reports import Reports
from halfstep_cli.main import main
from waiting import PATIENCE, wait_until


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, read as JSON."""
        return json.loads(self.out)

    @property
    def ids(self) -> list[int]:
        """What it printed, read as one id a line."""
        return [int(line) for line in self.out.splitlines()]


Halfstep = Callable[..., Said]


def environment(**changes: str) -> dict[str, str]:
    """Ours, for a process that imports what we import; without a database."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HALFSTEP_")}
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path), "NO_COLOR": "1"} | changes


def command(*words: str) -> list[str]:
    """The command line of a real `halfstep`."""
    return [sys.executable, "-P", "-m", "halfstep_cli.main", *words]


@pytest.fixture
def halfstep_at(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Halfstep:
    """Runs the command in this process: `halfstep_at(url or None, *words, stdin="")`."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "nobody's"))

    def run(url: str | None, *words: str, stdin: str = "") -> Said:
        monkeypatch.setenv("HALFSTEP_DATABASE_URL", url or "")
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capfd.readouterr()
        code = main(list(words))
        return Said(code, *capfd.readouterr())

    return run


@pytest.fixture
def halfstep_process_at() -> Halfstep:
    """The same in a process of its own."""

    def run(url: str | None, *words: str, stdin: str = "") -> Said:
        chosen = environment(HALFSTEP_DATABASE_URL=url or "")
        done = subprocess.run(
            command(*words), env=chosen, input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def halfstep(halfstep_at: Halfstep, database_url: str) -> Halfstep:
    """Runs the command in this process on the test's database."""
    return lambda *words, **more: halfstep_at(database_url, *words, **more)


@pytest.fixture
def start_command(database_url: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a real command on the test's database: `start_command(*words, **changes to the environment)`; text, pipes."""
    with ExitStack() as stack:

        def start(*words: str, **changes: str) -> subprocess.Popen[str]:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            chosen = environment(**{"HALFSTEP_DATABASE_URL": database_url} | changes)
            started = stack.enter_context(subprocess.Popen(command(*words), env=chosen, text=True, **pipes))
            stack.callback(started.kill)
            return started

        yield start


@pytest.fixture
def start_worker(database_url: str, reports: Reports, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a real `halfstep worker *flags` and returns when it has registered; it is stopped at the end."""
    with ExitStack() as stack:

        def start(*flags: str, **changes: str) -> subprocess.Popen[bytes]:
            before = len(reports.workers())
            with (tmp_path / "worker.log").open("ab") as log:
                words = command("worker", *flags)
                started = subprocess.Popen(words, env=environment(HALFSTEP_DATABASE_URL=database_url, **changes), stderr=log)
            stack.callback(stop, started)
            wait_until(lambda: len(reports.workers()) > before or started.poll() is not None, what="the worker's registration")
            assert started.poll() is None, (tmp_path / "worker.log").read_text()
            return started

        yield start


def stop(process: subprocess.Popen[bytes]) -> None:
    """TERM, and KILL if it does not go."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait(timeout=PATIENCE)


@pytest.fixture
def command_line() -> Callable[..., list[str]]:
    """`command`, for test modules."""
    return command


@pytest.fixture
def plain_environment() -> Callable[..., dict[str, str]]:
    """`environment`, for test modules."""
    return environment

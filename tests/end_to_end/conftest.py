"""The command as its users start it: real processes in folders of their own, and what is left of them afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from embedded.observation import nothing_runs, wait_until_nothing_runs
from halfstep_cli.embedded import discard
from waiting import PATIENCE, wait_until


def environment(**changes: str) -> dict[str, str]:
    """Ours, for a process that imports what we import; without settings of halfstep's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HALFSTEP_")}
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path), "NO_COLOR": "1"} | changes


def command(*words: str) -> list[str]:
    """The command line of a real `halfstep`."""
    return [sys.executable, "-P", "-m", "halfstep_cli.main", *words]


def run_halfstep(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(command(*words), env=environment(**changes), capture_output=True, text=True, timeout=PATIENCE)


def descendants(pid: int) -> set[int]:
    """The process ids of all that came from this process and still run."""
    parents: dict[int, int] = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Up:
    """A running `halfstep up --json`."""

    folder: Path
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it has said."""
        return [json.loads(line) for line in self.output.read_text().splitlines() if line.endswith("}")]

    @property
    def url(self) -> str:
        """The URL of its database, once it is there."""
        return (self.folder / "url").read_text().strip()

    def await_status(self, condition: Callable[[dict[str, Any]], bool], what: str) -> None:
        """Returns once the last status that it has said is such a one."""

        def is_last() -> bool:
            said = [event for event in self.events if event["event"] == "status"]
            return bool(said) and condition(said[-1])

        wait_until(is_last, what=what)

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """The path of a data folder that does not exist yet; no server may run in it afterwards."""
    with tempfile.TemporaryDirectory(prefix="halfstep-") as top:
        Path(top).chmod(0o711)  # as root the server runs as another user, who has to pass
        yield Path(top) / "data"
        wait_until_nothing_runs(Path(top) / "data")
        discard(Path(top) / "data")


@pytest.fixture
def start_up(data_folder: Path, tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts `halfstep up` in the data folder, and returns when it can be used. first: what its process does first."""
    with ExitStack() as stack:

        def start(*words: str, first: Callable[[], None] | None = None, **changes: str) -> Up:
            output = tmp_path / "up.json"
            with output.open("wb") as out:
                line = command("up", "--data", str(data_folder), "--json", *words)
                process = subprocess.Popen(line, env=environment(**changes), stdout=out, preexec_fn=first)
            up = Up(data_folder, process, output)
            stack.callback(_end, up)
            wait_until(lambda: up.events, what="the start")
            return up

        yield start


def _end(up: Up) -> None:
    for number in (signal.SIGTERM, signal.SIGTERM):
        if up.process.poll() is None:
            up.signal(number)
    up.process.wait(timeout=PATIENCE)
    assert nothing_runs(up.folder)

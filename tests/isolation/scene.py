"""A worker of two slots with an innocent body in one and a guilty one in the other, and clocks that say when that one is over."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halfstep.producer import enqueue
from halfstep.queue import Queue
from halfstep.reports import Report, Reports
from isolation.marked import marked
from waiting import wait_until
from worker_processes import WorkerProcess

GRACE = 0.5
"""Of the worker, between a drain and its stops, and between TERM and KILL."""
SLACK = 1.0
"""What is allowed beyond the graces on a machine that does nothing else."""
BURN_SECONDS = 0.05
TIME_LIMIT = 1.0
OVER = ("succeeded", "failed", "cancelled")
SETTINGS: dict[str, Any] = {"slots": 2, "grace": GRACE, "stop_grace": GRACE, "poll_seconds": 0.2}

ESCAPES = (
    "just_waits",
    "ignores_term",
    "blocks_every_signal",
    "swallows_every_exception",
    "freezes_itself",
    "freezes_its_zygote",
    "freezes_its_zygote_and_itself",
    "keeps_its_zygote_frozen",
    "forks",
    "forks_twice",
    "starts_a_session",
    "becomes_a_daemon",
    "leaves_its_group",
    "leaves_its_zygote",
    "runs_away",
    "freezes_its_siblings",
    "truncates_what_it_shares",
)
"""Functions of the module `escapes`, which lies in the worker's source folder."""


@dataclass(frozen=True, slots=True)
class Guilty:
    """A body that has begun: its task, its start (monotonic seconds), and the pids of all that has to end with it."""

    task: int
    started: float
    pids: tuple[int, ...]


class Scene:
    """Its worker carries `mark`, in its environment or its zygote's arguments, and so does all that it starts."""

    def __init__(self, start: Callable[..., WorkerProcess], queue: Queue, folder: Path, mark: str) -> None:
        self.mark = mark
        self.queue = queue
        self.reports = Reports(queue.database)
        self._folder = folder
        self.worker = start(**SETTINGS)
        self.innocent = self._call("waits", str(folder / "go"))
        wait_until((folder / "go.begun").exists, what="the innocent body")

    def begin(self, escape: str, **options: Any) -> Guilty:
        """A guilty body begins beside the innocent one."""
        path = self._folder / "guilty"
        path.unlink(missing_ok=True)
        task = self._call(escape, str(path), **options)
        started, *pids = wait_until(lambda: path.exists() and path.read_text().split(), what="the guilty body")
        return Guilty(task, float(started), tuple(map(int, pids)))

    def over_at(self, guilty: Guilty) -> float:
        """Waits for its end and that of all that it started; the monotonic second of it."""
        self.await_end(guilty.task)
        wait_until(lambda: not self._left(guilty), what="the end of its processes")
        return time.monotonic()

    def await_end(self, task: int) -> Report:
        """Its report once it has ended."""
        wait_until(lambda: self.reports.states([task]).get(task) in OVER, what=f"the end of task {task}")
        return self.reports.show(task)

    def end_of_the_innocent(self) -> tuple[Report, Report]:
        """Of the body beside the guilty one, and of one that comes after it."""
        (self._folder / "go").touch()
        return self.await_end(self.innocent), self.await_end(self._call("answers"))

    def _call(self, function: str, *args: Any, **options: Any) -> int:
        return enqueue(self.queue.database, "python", {"function": f"escapes:{function}", "args": list(args)}, **options)

    def _left(self, guilty: Guilty) -> set[int]:
        return {pid for pid in marked(self.mark) if pid in guilty.pids or _name(pid) == "escapee"}


def slack() -> float:
    """The second that is allowed beyond the grace, in time of this machine: longer while others use its processors too."""
    begun, used = time.monotonic(), time.thread_time()
    while time.thread_time() - used < BURN_SECONDS:
        pass
    return SLACK * max(1.0, (time.monotonic() - begun) / BURN_SECONDS)


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""

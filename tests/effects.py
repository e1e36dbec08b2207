"""What bodies did, as they noted it themselves on disk: a witness that knows nothing of the queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = '''
import os, threading, time
from halfstep import current, task

pause = threading.Event().wait

def note(path, event):
    me = current()
    line = f"{event} {me.task_id} {me.attempt} {time.time():.6f}\\n".encode()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(file, line)  # one write: lines of several bodies never mix
    os.close(file)

@task
def effect(path, seconds):
    note(path, "start")
    pause(seconds)
    note(path, "end")
    return current().task_id

@task
def effect_until(path, file):
    note(path, "start")
    while not os.path.exists(file):
        pause(0.02)
    note(path, "end")

@task
def effect_or_fail(path, seconds):
    """Fails at its first attempt."""
    note(path, "start")
    pause(seconds)
    if current().attempt == 1:
        raise ValueError("fails once")
    note(path, "end")

@task
def fail_always(path, seconds):
    note(path, "start")
    pause(seconds)
    raise ValueError("fails always")
'''
"""A module of users' tasks."""

Key = tuple[int, int]
"""Task id and number of the attempt."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A line. event: start or end; at: seconds of the wall clock."""

    event: str
    key: Key
    at: float


class Effects:
    """The log at `path`, which bodies append to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        path.chmod(0o666)

    def read(self) -> Iterator[Effect]:
        """All lines so far."""
        for line in self.path.read_text().splitlines():
            event, task, attempt, at = line.split()
            yield Effect(event, (int(task), int(attempt)), float(at))

    def starts(self) -> Counter[Key]:
        """How often the body of each attempt began."""
        return Counter(effect.key for effect in self.read() if effect.event == "start")

    def ends(self) -> dict[Key, float]:
        """When the body of each attempt was done."""
        return {effect.key: effect.at for effect in self.read() if effect.event == "end"}

    def call(self, given: float | str, function: str = "effect") -> dict[str, object]:
        """The args of a `python` task that notes its start and end here. The source folder holds SOURCE as noted.py.

        given: how many seconds the body takes, or for `effect_until` the file that it waits for.
        """
        return {"function": f"noted:{function}", "args": [str(self.path), given]}

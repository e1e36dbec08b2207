"""What a running body is connected to in its pod: the log and SIGTERM, and nothing else."""

from __future__ import annotations

from math import inf
from time import monotonic

from halfstep.context import Stopped
from halfstep_worker.children.storable import plain
from halfstep_worker.kubernetes.frames import frame
from halfstep_worker.kubernetes.held import Held

UNKNOWN_REASON = "stopped"
"""What a body in a pod is told when its time was not over: SIGTERM says nothing of a cancel, an eviction or a person."""
PROGRESS_SECONDS = 1.0
"""Progress goes into the log at most so often, as the last one counts."""


class Output:
    """Lines of ours on the pod's log, by a descriptor of its own that a body can't close by closing 1."""

    def __init__(self) -> None:
        self._held = Held(1, 2)

    def write(self, line: str) -> None:
        """One line, by one system call. A log that can't be written is not the body's failure."""
        self._held.write(line.encode(errors="replace") + b"\n")


class Link:
    """Where `halfstep.current()` of the body leads. `told`: somebody has asked it to end."""

    def __init__(self, output: Output) -> None:
        self.told = False
        self.ends_at = inf
        """When the timeout is over, monotonic seconds."""
        self._output = output
        self._progress: str | None = None
        self._progress_at = 0.0

    def stop_reason(self) -> str | None:
        """`timeout` past the timeout, else `stopped`. Whoever ends the pod gives no reason, and we invent none."""
        if not self.told:
            return None
        return "timeout" if monotonic() >= self.ends_at else UNKNOWN_REASON

    def log(self, text: str, /) -> None:
        """A line on the pod's log."""
        self._output.write(plain(text, len(text) * 4))

    def heartbeat(self, progress: str, /) -> None:
        """A line for the launcher, or the next one that is due."""
        self._progress = progress
        if monotonic() >= self._progress_at:
            self.flush()

    def alone(self) -> bool:
        """A pod runs one body."""
        return True

    def flush(self) -> None:
        """The last progress goes out."""
        if self._progress is not None:
            for line in frame("progress", self._progress):
                self._output.write(line)
            self._progress, self._progress_at = None, monotonic() + PROGRESS_SECONDS

    def on_term(self, *_: object) -> None:
        """A signal handler; wherever the body is, Stopped strikes it."""
        self.told = True
        raise Stopped(self.stop_reason() or "")

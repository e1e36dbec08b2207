"""What a running body can know of itself: `current()`, and how it is told to stop."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import Protocol

from halfstep.errors import HalfstepError

PROGRESS_BYTES = 16 * 1024
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Stopped(BaseException):
    """The body was told to end. `reason` is one word: `timeout`, `cancelled`, `drain`, `lease`; in a pod `timeout` or `stopped`.

    Not an Exception, so that a body's own `except Exception` does not swallow it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotAlone(BaseException):
    """The body wants a process of its own, and this one has run others: it has not begun, and begins in a new one."""


class Link(Protocol):
    """The child runtime's side of a context: where its words go and where the stop reason comes from."""

    def stop_reason(self) -> str | None: ...

    def log(self, text: str, /) -> None: ...

    def heartbeat(self, progress: str, /) -> None: ...

    def alone(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Context:
    """The attempt that runs now. `deadline` is a value of `time.monotonic()`, or None without a timeout."""

    task_id: int
    attempt: int
    deadline: float | None
    link: Link = field(repr=False, compare=False)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the timeout, never below 0; None without a timeout."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @property
    def stop_reason(self) -> str | None:
        """Why the body should end soon (the reasons of `Stopped`), or None; ask again, it changes."""
        return self.link.stop_reason()

    def log(self, text: str) -> None:
        """Write `text` as a line of the attempt's log."""
        self.link.log(str(text))

    def heartbeat(self, progress: object = None) -> None:
        """Say that the body is alive, with any JSON value as its progress.

        ValueError: the value is not JSON (NaN, bytes, ...), holds a NUL, or is larger than 16 KiB.
        """
        self.link.heartbeat(_progress_text(progress))


def _progress_text(progress: object) -> str:
    try:
        text = json.dumps(progress, allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"Progress must be a JSON value: {error}.") from None
    if size > PROGRESS_BYTES:
        raise ValueError(f"Progress is {size} bytes of JSON; the limit is {PROGRESS_BYTES}.")
    if _NUL.search(text):
        raise ValueError("Progress holds a NUL character, which PostgreSQL can't store.")
    return text


# One body a process at a time. Set by the child runtime, read by the body and by threads that it starts.
_running: Context | None = None


def current() -> Context:
    """The context of the running task. HalfstepError outside of one."""
    if _running is None:
        raise HalfstepError("current() works only inside a running task; this code runs outside of one.")
    return _running


def running() -> Context | None:
    """The context of the running task, or None outside of one."""
    return _running


def enter(*, task_id: int, attempt: int, deadline_seconds: float | None, link: Link) -> Context:
    """For the child runtime: an attempt begins; `deadline_seconds` from now it times out."""
    global _running
    deadline = None if deadline_seconds is None else time.monotonic() + deadline_seconds
    _running = Context(task_id=task_id, attempt=attempt, deadline=deadline, link=link)
    return _running


def leave() -> None:
    """For the child runtime: the attempt ended."""
    global _running
    _running = None

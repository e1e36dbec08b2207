"""What other threads have for the launcher's loop, and the threads that wait for the API server."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from halfstep_worker.progress import Part

CALL_SECONDS = 120.0
"""Longer than any call with all its waiting: one that is not over hangs, in a name's look-up or a program of the kubeconfig's."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A call has ended. `result` is what it returned, or the exception that it raised."""

    attempt_id: str
    call: str
    result: object


class Inbox:
    """Any thread puts, the loop takes. `wake_fd` becomes readable when there is something."""

    def __init__(self) -> None:
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._things: SimpleQueue[object] = SimpleQueue()

    def put(self, thing: object) -> None:
        """From any thread."""
        self._things.put(thing)
        os.eventfd_write(self.wake_fd, 1)

    def take(self, most: int = 1000) -> list[object]:
        """Up to `most` things; the loop asks again soon if there are more."""
        try:
            os.eventfd_read(self.wake_fd)
        except BlockingIOError:
            return []
        taken: list[object] = []
        try:
            while len(taken) < most:
                taken.append(self._things.get_nowait())
        except Empty:
            return taken
        os.eventfd_write(self.wake_fd, 1)
        return taken


class Calls:
    """A few threads that wait for the API server, however many pods there are."""

    def __init__(self, inbox: Inbox, *, threads: int = 8, part: Part | None = None) -> None:
        self._inbox = inbox
        self._part = part or Part("calls", bound=CALL_SECONDS)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="api")
        self.open = 0
        """Calls without an answer yet. Written by the loop only."""

    def submit(self, attempt_id: str, call: str, function: Callable[[], object]) -> None:
        """Makes the call in a thread; its Answer comes to the inbox."""
        self.open += 1
        self._threads.submit(self._run, attempt_id, call, function)

    def _run(self, attempt_id: str, call: str, function: Callable[[], object]) -> None:
        self._part.turned(threading.get_ident())
        try:
            result: object = function()
        except Exception as error:
            result = error
        finally:
            self._part.rests(threading.get_ident())
        self._inbox.put(Answer(attempt_id, call, result))

    def stop(self) -> None:
        """Waits for the calls that run; what has not begun is dropped."""
        self._threads.shutdown(wait=True, cancel_futures=True)

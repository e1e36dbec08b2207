"""Inside a child: take a task, run its body, send what became of it, again and again until the worker closes the channel."""

from __future__ import annotations

import os
import signal
import time
from typing import Any, NamedTuple, Protocol

from halfstep import context
from halfstep.context import Stopped
from halfstep.outcomes import Outcome
from halfstep_worker.children.channel import Channel
from halfstep_worker.children.failures import failed
from halfstep_worker.children.marks import Marks
from halfstep_worker.children.messages import pack, scan, stopped
from halfstep_worker.children.page import Page
from halfstep_worker.children.storable import outcome_of, plain

ORPHANS_EVERY = 64


class Registry(Protocol):
    """What the loader returned in the zygote."""

    def run(self, operator: str, args: Any, /) -> object: ...


class Task(NamedTuple):
    """The header of a task message; a named tuple because one is made a task, in microseconds that count."""

    number: int
    task_id: int
    attempt: int
    timeout: float | None
    operator: str


class Link:
    """Where `halfstep.current()` of the running body leads: to the shared page and to the worker."""

    def __init__(self, page: Page, channel: Channel) -> None:
        self._page = page
        self._channel = channel
        self.number = 0

    def stop_reason(self) -> str | None:
        """Why the body should end soon, or None."""
        return self._page.reason(self.number)

    def log(self, text: str, /) -> None:
        """Send a line of the attempt's log."""
        self._say("log", text)

    def heartbeat(self, progress: str, /) -> None:
        """Send how far the body is, as JSON text."""
        self._say("progress", progress)

    def _say(self, kind: str, text: str) -> None:
        self._channel.send(f'[{self.number},"{kind}",0,0]\n{plain(text, len(text) * 4)}')


class Runner:
    """One child's loop. Only the main thread runs it, as only that one meets signals."""

    def __init__(self, registry: Registry, *, channel: Channel, page: Page, marks: Marks, result_bytes: int) -> None:
        self._registry = registry
        self._channel = channel
        self._page = page
        self._marks = marks
        self._result_bytes = result_bytes
        self._link = Link(page, channel)
        self._done = 0

    def serve(self) -> None:
        """Run tasks until the channel ends, or until one was told to stop: its child is not used again."""
        signal.signal(signal.SIGTERM, self._on_term)
        while (text := self._channel.receive()) is not None:
            header, end = scan(text, 0)
            task = Task._make(header)
            self._one(task, text[end + 1 :])
            if self._page.stops(task.number):
                return
            self._reap()

    def _one(self, task: Task, args: str) -> None:
        started = time.monotonic_ns()
        try:
            kind, body = pack(self._attempt(task, args, started))
        except Stopped:
            kind, body = pack(stopped(self._page.reason(task.number) or "", task.timeout))
        self._page.end(task.number)
        marks = self._marks.end(task.number)
        seconds = (time.monotonic_ns() - started) / 1e9
        self._channel.send(f'[{task.number},"{kind}",{seconds:.6f},{marks}]\n{body}')

    def _attempt(self, task: Task, args: str, started: int) -> Outcome:
        """Run the body. A stop shows as Stopped, wherever in here it strikes."""
        try:
            return outcome_of(self._run(task, args, started), self._result_bytes)
        except Stopped:
            raise
        except BaseException as error:  # SystemExit and KeyboardInterrupt of a body end the body, not the child
            return failed(error)

    def _run(self, task: Task, args: str, started: int) -> object:
        self._link.number = task.number
        self._page.begin(task.number, started)
        if self._page.stops(task.number):
            raise Stopped(self._page.reason(task.number) or "")
        context.enter(task_id=task.task_id, attempt=task.attempt, deadline_seconds=task.timeout, link=self._link)
        try:
            return self._registry.run(task.operator, scan(args.lstrip(), 0)[0])
        finally:
            context.leave()

    def _on_term(self, number: int, _: object) -> None:
        """A stop of the running body raises in it; one that came too late is nothing; any other TERM is what it always is."""
        if not self._page.stops(self._link.number):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self._page.running():
            raise Stopped(self._page.reason(self._link.number) or "")

    def _reap(self) -> None:
        """Bury orphans that bodies left to this child now and then: it is their subreaper."""
        self._done += 1
        if self._done % ORPHANS_EVERY:
            return
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return

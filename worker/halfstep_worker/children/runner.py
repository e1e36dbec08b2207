"""Inside a child: take a task, run its body, send what became of it, again and again until the worker closes the channel."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from halfstep import context
from halfstep.context import NotAlone, Stopped
from halfstep.errors import HalfstepError, InvalidTask
from halfstep.outcomes import Failed, Outcome, Succeeded
from halfstep_worker.children.channel import Channel
from halfstep_worker.children.failures import failed
from halfstep_worker.children.leftovers import lent_threads
from halfstep_worker.children.marks import Marks
from halfstep_worker.children.messages import pack, scan, stopped
from halfstep_worker.children.page import Page
from halfstep_worker.children.pristine import Memory, Pristine
from halfstep_worker.children.storable import outcome_of_body, plain

SAID_CHARACTERS = 1024 * 1024
"""Most of what a body says at once by `current().log`."""
_getpid, _exit, _monotonic_ns = os.getpid, os._exit, time.monotonic_ns


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
    """Where `halfstep.current()` of one attempt leads: to the shared page and to the worker, as long as its body runs."""

    __slots__ = ("_channel", "_first", "_number", "_page", "last")

    def __init__(self, page: Page, channel: Channel, number: int, *, first: bool) -> None:
        self._page = page
        self._channel = channel
        self._number = number
        self._first = first
        self.last = False

    def stop_reason(self) -> str | None:
        """Why the body should end soon, or None."""
        return self._page.reason(self._number)

    def log(self, text: str, /) -> None:
        """Send a line of the attempt's log. HalfstepError: the attempt has ended."""
        self._say("log", text)

    def heartbeat(self, progress: str, /) -> None:
        """Send how far the body is, as JSON text. HalfstepError: the attempt has ended."""
        self._say("progress", progress)

    def alone(self) -> bool:
        """Whether no other body ran here before; none will after this one."""
        self.last = True
        return self._first

    @property
    def is_refused(self) -> bool:
        """Whether the body has asked to be alone, and is not."""
        return self.last and not self._first

    def _say(self, kind: str, text: str) -> None:
        """A thread that outlives its body, or has kept the context of an earlier one, is not to speak for the next."""
        if not self._page.runs(self._number):
            raise HalfstepError("This attempt has ended, so nothing more can be said of it; end threads before the body returns.")
        self._channel.send(f'[{self._number},"{kind}",0,0]\n{_cut(text)}')


@dataclass(frozen=True, slots=True)
class Wires:
    """What connects a child with its worker. streams: by descriptor 0, 1 and 2, our own copy of what belongs there."""

    channel: Channel
    page: Page
    marks: Marks
    streams: Mapping[int, int]


class Runner:
    """One child's loop. Only the main thread runs it, as only that one meets signals."""

    def __init__(self, registry: Registry, wires: Wires, code: Sequence[Memory], *, result_bytes: int, growth_bytes: int) -> None:
        self._registry = registry
        self._channel = wires.channel
        self._page = wires.page
        self._marks = wires.marks
        self._result_bytes = result_bytes
        self._pid = os.getpid()
        self._number = 0
        self._kind = "", ""
        self._link: Link | None = None
        signal.signal(signal.SIGTERM, self._on_term)
        self._pristine = Pristine(code, wires.streams, growth_bytes=growth_bytes, native_threads=lent_threads())
        wires.page.be_ready()

    def serve(self) -> None:
        """Run tasks until the channel ends, or until one was told to stop or left what spoils the child for the next."""
        while (text := self._channel.receive()) is not None:
            header, end = scan(text, 0)
            task = Task._make(header)
            if not self._one(task, text[end + 1 :]) or self._page.stops(task.number):
                return

    def _one(self, task: Task, args: str) -> bool:
        """Run one task and tell what became of it; whether the child may take another."""
        given = _parsed(args)
        self._kind = task.operator, _function(given)
        if self._pristine.is_due_before(self._kind) and self._pristine.flaw(self._kind):
            self._channel.send(f'[{task.number},"back",0,0]\n')
            return False
        try:
            return self._run_and_tell(task, given)
        except NotAlone:
            self._channel.send(f'[{task.number},"fresh",0,0]\n')
            return False

    def _run_and_tell(self, task: Task, given: Any) -> bool:
        started = _monotonic_ns()
        self._number = task.number
        try:
            outcome = self._attempt(task, given, started)
        except Stopped:
            outcome = stopped(self._page.reason(task.number) or "", task.timeout)
        if _getpid() != self._pid:  # a copy of us that the body has made by fork and let return
            _exit(0)
        nanoseconds = _monotonic_ns() - started
        self._page.end(task.number)
        flaw = self._flaw(outcome)
        marks = self._marks.end(task.number)
        kind, body = pack(outcome)
        if flaw:
            self._channel.send(f'[{task.number},"log",0,0]\n[halfstep: this process is not used again, as the body left {flaw}]')
        self._channel.send(f'[{task.number},"{kind}",{nanoseconds},{marks}]\n{body}')
        return not (flaw or (self._link and self._link.last))

    def _flaw(self, outcome: Outcome) -> str | None:
        """What was written to a stream that the body put in the place of ours is flushed before that is put right."""
        if isinstance(outcome, Succeeded) and self._pristine.seems_untouched(self._kind):
            return None
        self._marks.flush()
        found = self._pristine.flaw(self._kind)
        if isinstance(outcome, Failed) and outcome.reason == "memory":
            return found or "too little memory"
        return found

    def _attempt(self, task: Task, given: Any, started: int) -> Outcome:
        """Run the body. A stop shows as Stopped, wherever in here it strikes; NotAlone, that it has not begun."""
        try:
            return outcome_of_body(self._run(task, given, started), self._result_bytes)
        except Stopped:
            raise
        except BaseException as error:  # SystemExit and KeyboardInterrupt of a body end the body, not the child
            if isinstance(error, NotAlone) and self._link and self._link.is_refused:
                raise
            return failed(error)

    def _run(self, task: Task, given: Any, started: int) -> object:
        self._page.begin(task.number, started)
        if self._page.stops(task.number):
            raise Stopped(self._page.reason(task.number) or "")
        if isinstance(given, InvalidTask):
            raise given
        self._pristine.prepare(self._kind[1])
        self._link = Link(self._page, self._channel, task.number, first=self._link is None)
        context.enter(task_id=task.task_id, attempt=task.attempt, deadline_seconds=task.timeout, link=self._link)
        try:
            return copy_context().run(self._registry.run, task.operator, given)
        finally:
            context.leave()

    def _on_term(self, number: int, _: object) -> None:
        """A stop of the running body raises in it; one that came too late is nothing; any other TERM is what it always is."""
        if not self._page.stops(self._number):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self._page.running():
            raise Stopped(self._page.reason(self._number) or "")


def _parsed(args: str) -> Any:
    """The args as a value, or InvalidTask as one: what can't be read now never can."""
    try:
        return scan(args.lstrip(), 0)[0]
    except (ValueError, RecursionError) as error:
        return InvalidTask(f"The args of this task can't be read: {type(error).__name__}: {error}.")


def _function(given: Any) -> str:
    """What a body of operator `python` calls; empty for others."""
    return str(given.get("function", "")) if type(given) is dict else ""


def _cut(text: str) -> str:
    """What goes to the worker at once, which reads it in its loop."""
    if len(text) <= SAID_CHARACTERS:
        return plain(text, len(text) * 4)
    return (
        plain(text[:SAID_CHARACTERS], SAID_CHARACTERS * 4)
        + f"\n[halfstep: {len(text) - SAID_CHARACTERS} characters were left out here]"
    )

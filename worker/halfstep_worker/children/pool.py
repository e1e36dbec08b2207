"""The pool: a fixed number of children at work, replaced when they end, reloaded when user code changes."""

from __future__ import annotations

import itertools
import select
import time
from collections.abc import Hashable, Iterator
from math import inf

from halfstep.errors import HalfstepError
from halfstep.events import emit
from halfstep_worker.children import processes
from halfstep_worker.children.capture import Stream
from halfstep_worker.children.causes import cause_of, see_dead, size_text
from halfstep_worker.children.child import Child
from halfstep_worker.children.forker import Forker, Report
from halfstep_worker.children.messages import Ended, Event, LoadFailed, TaskMessage, Unstarted, stopped
from halfstep_worker.children.settings import PoolSettings

STEADY_SECONDS = 10.0
BACKOFF_SECONDS = 0.1
BACKOFF_CAP = 5.0
FORK_PAUSE_SECONDS = 1.0
STOP_EXTRA_SECONDS = 2.0
THAW_SECONDS = 0.2
"""How often it is looked whether a body has stopped the zygote, or a child."""
ONCE = select.EPOLLIN | select.EPOLLONESHOT
"""Armed anew after each read: what was read keeps no place in the kernel's list, so that streams come in the order of writing."""


class Pool:
    """Children of one worker. Everything here is called by one thread, and nothing blocks but `start`, `stop` and `poll`.

    A task that was sent ends in exactly one event: `Ended` or `Unstarted`. The caller watches timeouts: it compares
    `child.current` with the task's timeout and calls `stop_body`.
    """

    def __init__(self, settings: PoolSettings) -> None:
        self.settings = settings
        self._epoll = select.epoll()
        self._watched: dict[int, Forker | Child | tuple[Child, Stream]] = {}
        self._children: dict[int, Child] = {}
        self._ids = itertools.count(1)
        self._started = 0
        self._forkers: list[Forker] = []
        self._current: Forker | None = None
        self._next: Forker | None = None
        self._events: list[Event] = []
        self._failures = 0
        self._start_at: float | None = None
        self._fork_at = 0.0
        self._sample_at = 0.0
        self._thaw_at = 0.0
        self._load_error: str | None = None

    @property
    def started(self) -> int:
        """How many children were started so far."""
        return self._started

    @property
    def children(self) -> list[Child]:
        """The living children; those that are `open` take tasks."""
        return list(self._children.values())

    @property
    def line_due(self) -> float:
        """When `poll` is to show what there is of a line that its body has not ended, monotonic seconds; infinity: none."""
        return min((_line_due(child) for child in self._children.values()), default=inf)

    def fileno(self) -> int:
        """Readable when `poll` has something to do; deadlines aside, so poll at least every 0.1 s while a stop runs."""
        return self._epoll.fileno()

    def start(self) -> None:
        """Import user code and fork the children. Raises HalfstepError with what the import said."""
        self._load()
        deadline = time.monotonic() + self.settings.load_seconds
        while not (self._children and all(child.pid for child in self.children)):
            self._turn(min(0.5, max(0.0, deadline - time.monotonic())))
            if self._load_error or time.monotonic() >= deadline:
                error = self._load_error or f"User code was not loaded within {self.settings.load_seconds:g} s."
                self.stop(grace=0)
                raise HalfstepError(error)

    def poll(self, timeout: float | None = None) -> list[Event]:
        """Wait up to `timeout` seconds (None: without end) for something to happen; what happened, in order."""
        self._turn(0.0 if self._events else timeout)
        events, self._events = self._events, []
        return events

    def recall(self, child: Child) -> list[Hashable]:
        """Take back the tasks that this child has not begun; no other event follows for them."""
        return [task.key for task in child.recall()]

    def stop_body(self, key: Hashable, reason: str, grace: float) -> None:
        """End one task: `timeout`, `cancelled`, `drain` or `lease`. Its event says that reason, whatever the body does.

        TERM to its process group now, KILL after `grace` seconds. A task that has not begun is taken out of the queue;
        one that has just ended keeps its own outcome; an unknown key is passed over. Said again, only an earlier KILL counts.
        """
        found = next(((child, sent) for child in self.children if (sent := child.find(key))), None)
        if not found or found[0].is_stopping(found[1], grace):
            return
        child, sent = found
        if not child.runs(sent) and (task := child.withdraw(key)):
            self._events.append(_unbegun(task, reason))
        else:
            self._give_back(child.end_body(sent, reason, grace))

    def warn(self, reason: str) -> None:
        """Let every body read `reason` as its stop reason; none is signalled."""
        for child in self.children:
            child.warn(reason)

    def reload(self) -> None:
        """Import user code afresh. Idle children follow at once, busy ones when their current body ends.

        If the import fails, `LoadFailed` says why and everything goes on with the old code.
        """
        if self._next:
            self._drop(self._next)
        self._try_to_load()

    def stop(self, grace: float) -> list[Event]:
        """End everything: bodies get TERM, and KILL after `grace` seconds. The last events. Twice or unstarted is fine."""
        self._start_at, self._fork_at = None, float("inf")
        for child in self.children:
            self._give_back(child.retire())
            for key in child.keys:
                self.stop_body(key, "drain", grace)
        deadline = time.monotonic() + grace + STOP_EXTRA_SECONDS
        while self._children and time.monotonic() < deadline:
            self._turn(0.1)
        for forker in list(self._forkers):
            self._drop(forker)
        events, self._events = self._events, []
        return events

    # One turn

    def _turn(self, timeout: float | None) -> None:
        ready = self._epoll.poll(self._wait(timeout))
        dirty: dict[Child, None] = {}
        forkers: list[Forker] = []
        for fd, _ in ready:
            match self._watched.get(fd):
                case Child() as child:
                    dirty[child] = None
                case (child, stream):
                    self._read(stream)
                    dirty[child] = None
                case Forker() as forker:
                    forkers.append(forker)
        for child in dirty:
            self._settle(child)
        for forker in forkers:
            self._hear(forker)
        self._keep_deadlines(time.monotonic())

    def _wait(self, timeout: float | None) -> float:
        due = min(self._deadlines(), default=None)
        if due is None:
            return -1 if timeout is None else timeout
        left = max(0.0, due - time.monotonic())
        return left if timeout is None else min(left, timeout)

    def _deadlines(self) -> Iterator[float]:
        for child in self._children.values():
            if child.stop and child.stop.kill_at < float("inf"):
                yield child.stop.kill_at
        if (line_due := self.line_due) < inf:
            yield line_due
        if self._start_at is not None:
            yield self._start_at
        if self._samples:
            yield self._sample_at
        if self._is_short and self._fork_at < float("inf"):
            yield self._fork_at

    def _keep_deadlines(self, now: float) -> None:
        for child in self._children.values():
            child.flush()
            if now >= _line_due(child) or child.is_overdue(now):
                self._settle(child)
            if child.stop and now >= child.stop.kill_at:
                child.stop.kill_at = float("inf")
                child.kill()
            elif child.is_stuck(now):
                self._give_back(child.recall())
                child.kill()
        if now >= self._thaw_at:
            self._thaw_at = now + THAW_SECONDS
            if any(forker.thaw() for forker in self._forkers):
                emit("zygote.thawed")
            for child in self._children.values():
                child.group.thaw()
        if self._start_at is not None and now >= self._start_at:
            self._start_at = None
            self._try_to_load()
        if self._is_short and now >= self._fork_at:
            self._fill()
        if self._samples and now >= self._sample_at:
            self._sample_at = now + self.settings.sample_seconds
            self._sample()

    def _read(self, stream: Stream) -> None:
        stream.read()
        if stream.closed:
            self._unwatch(stream.fd)
        else:
            self._epoll.modify(stream.fd, ONCE)

    def _settle(self, child: Child) -> None:
        child.settle(self._events)
        if child.done >= child.lifetime:
            child.retire_when_empty()

    # Memory

    @property
    def _samples(self) -> bool:
        return bool(self._children and (self.settings.memory_bytes or self.settings.idle_bytes))

    def _sample(self) -> None:
        found = processes.snapshot()
        for child in self.children:
            used = processes.resident(child.pid, found) if child.pid else 0
            limit = self.settings.memory_bytes
            if limit and used > limit and not child.over_memory:
                child.over_memory = f"The body used {size_text(used)}; its limit is {size_text(limit)}."
                child.kill()
            elif self.settings.idle_bytes and used > self.settings.idle_bytes and not child.busy:
                child.retire_when_empty()

    # Children and zygotes come and go

    @property
    def _is_short(self) -> bool:
        return self._current is not None and self._current.ready and len(self._children) < self.settings.slots

    def _fill(self) -> None:
        while self._is_short and self._current:
            try:
                child = Child(next(self._ids), self._current, lifetime=self.settings.recycle_after)
            except OSError:  # no descriptors left
                self._pause_forks()
                return
            self._children[child.id] = child
            self._started += 1
            self._watch(child.channel.end.fileno(), child)
            for stream in child.streams:
                self._watch(stream.fd, (child, stream), ONCE)

    def _load(self) -> None:
        self._load_error = None
        self._next = Forker(self.settings)
        self._forkers.append(self._next)
        self._watch(self._next.fileno(), self._next)

    def _try_to_load(self) -> None:
        try:
            self._load()
        except (HalfstepError, OSError) as error:  # no room for another process, or no descriptors
            self._events.append(LoadFailed(str(error)))
            self._start_later()

    def _start_later(self) -> None:
        """Each failure in a row doubles the pause."""
        self._failures += 1
        self._start_at = time.monotonic() + min(BACKOFF_CAP, BACKOFF_SECONDS * 2 ** min(self._failures, 8))

    def _hear(self, forker: Forker) -> None:
        reports = forker.reports()
        if reports is None:
            self._lose(forker)
        for report in reports or ():
            self._take(forker, report)

    def _take(self, forker: Forker, report: Report) -> None:
        match report:
            case ["ready"]:
                self._switch_to(forker)
            case ["failed", str(error)]:
                self._load_error = error
            case ["forked", int(identity), int(pid)]:
                if identity in self._children:
                    self._children[identity].born(pid)
            case ["unforked", int(identity), str(cause)]:
                self._pause_forks()
                self._bury(identity, cause)
            case ["ended", int(identity), int(code), int(peak_kib)]:
                if code and identity in self._children and not self._children[identity].has_begun:
                    self._pause_forks()
                self._bury(identity, cause_of(code, peak=peak_kib * 1024))

    def _pause_forks(self) -> None:
        """A child that could not even begin will not be the last one."""
        self._fork_at = max(self._fork_at, time.monotonic() + FORK_PAUSE_SECONDS)

    def _switch_to(self, forker: Forker) -> None:
        forker.ready = True
        self._next, old, self._current = None, self._current, forker
        for child in self.children:
            if child.forker is old:
                self._give_back(child.retire())
        self._drop_unused()
        self._fill()

    def _bury(self, identity: int, cause: str) -> None:
        child = self._children.pop(identity, None)
        if child is None:
            return
        for fd in (child.channel.end.fileno(), *(stream.fd for stream in child.streams)):
            self._unwatch(fd)
        child.bury(cause, self._events)
        self._drop_unused()

    def _lose(self, forker: Forker) -> None:
        """A zygote has ended by itself: its children end with it, and another one is started after a pause."""
        if time.monotonic() - forker.started > STEADY_SECONDS:
            self._failures = 0
        if forker is self._next:
            self._load_error = self._load_error or "User code could not be loaded: its process ended meanwhile."
            self._events.append(LoadFailed(self._load_error))
        if forker is self._current or not self._current:
            self._start_later()
        self._drop(forker)

    def _drop_unused(self) -> None:
        used = {child.forker for child in self.children} | {self._current, self._next}
        for forker in [forker for forker in self._forkers if forker not in used]:
            self._drop(forker)

    def _drop(self, forker: Forker) -> None:
        """Close a zygote; what children it still has are dead when this returns."""
        self._unwatch(forker.fileno())
        self._forkers.remove(forker)
        self._current = None if forker is self._current else self._current
        self._next = None if forker is self._next else self._next
        forker.close()
        for child in [child for child in self.children if child.forker is forker]:
            see_dead(child.pid)
            child.orphaned = True
            self._bury(child.id, "The process that the bodies' processes come from was killed, and the body with it.")
        if self.settings.sole:
            processes.kill_others({forker.pid for forker in self._forkers})

    def _give_back(self, tasks: list[TaskMessage]) -> None:
        self._events += [Unstarted(task.key) for task in tasks]

    def _watch(self, fd: int, owner: Forker | Child | tuple[Child, Stream], events: int = select.EPOLLIN) -> None:
        self._watched[fd] = owner
        self._epoll.register(fd, events)

    def _unwatch(self, fd: int) -> None:
        if self._watched.pop(fd, None):
            self._epoll.unregister(fd)


def _unbegun(task: TaskMessage, reason: str) -> Event:
    if reason in ("timeout", "cancelled"):
        return Ended(task.key, stopped(reason, task.timeout), 0.0)
    return Unstarted(task.key)


def _line_due(child: Child) -> float:
    out, err = child.streams
    return min(out.due, err.due)

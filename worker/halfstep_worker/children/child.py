"""The worker's end of one child: tasks go in, events come out, and it is known at any time what it has begun.

What bounds a body is the worker's own: the time since the worker saw it begin, and signals that the worker itself sends.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import time
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, replace

from halfstep.errors import HalfstepError
from halfstep.outcomes import Failed, Lost, Outcome
from halfstep_worker.children import page as pages
from halfstep_worker.children.capture import Stream
from halfstep_worker.children.channel import Channel, pair
from halfstep_worker.children.forker import Forker
from halfstep_worker.children.ledger import AnsweredTwice, ChildConfused, Ledger, Sent
from halfstep_worker.children.messages import Ended, Event, TaskMessage, Unstarted, number_of, stopped, write_task
from halfstep_worker.children.process_group import ProcessGroup

MESSAGES_A_TURN = 4096
OVER_SECONDS = 1.0
"""A body that says it has ended has so long to bring its result, once it is to stop."""
UNBEGUN_SECONDS = 5.0
"""A living child that does not begin what it was sent is frozen, or worse."""
UNREADY_SECONDS = 90.0
"""The same of one that may still be importing; it ends itself before (imports.py)."""


@dataclass(slots=True)
class Stop:
    """A stop under way: TERM has been sent, KILL follows at `kill_at` (monotonic seconds).

    over: the body said before that it has ended, so there was no TERM; its result stands if it comes.
    """

    number: int
    reason: str
    kill_at: float
    over: bool = False


class Child:
    """One child. Tasks can be sent from the start: they wait in its channel until it has been forked.

    Used by the supervising loop only.
    """

    def __init__(self, identity: int, forker: Forker, *, lifetime: int) -> None:
        self.id = identity
        self.lifetime = lifetime
        self.group = ProcessGroup()
        self.confused_by = 0
        """The number of the task whose body has written on the channel; -1: it was none's. Nothing more of this child counts."""
        self.orphaned = False
        self.forker = forker
        self.done = 0
        self.stop: Stop | None = None
        self.over_memory: str | None = None
        self._closing = False
        self._retiring = False
        self._backlog: deque[tuple[int, str]] = deque()
        self._ready = False
        self._heard_at = time.monotonic()
        self._be_born()

    def _be_born(self) -> None:
        token = secrets.token_hex(8)
        page, out, out_end, err, err_end = _descriptors()
        near, far = pair()
        self._page = pages.Page(page)
        self.streams = (self._stream("stdout", 0, out, token), self._stream("stderr", 1, err, token))
        self._ledger = Ledger(self.streams, self._page)
        self.channel = Channel(near, socket.MSG_DONTWAIT)
        # The child's own end, kept to take back what it has not read.
        self._unread = Channel(far, socket.MSG_DONTWAIT)
        self.forker.fork(self.id, token, [far.fileno(), out_end, err_end, page])
        for fd in (page, out_end, err_end):
            os.close(fd)

    def _stream(self, name: str, index: int, fd: int, token: str) -> Stream:
        os.set_blocking(fd, False)
        return Stream(name, index=index, fd=fd, page=self._page, token=token.encode())

    def born(self, pid: int) -> None:
        """The zygote has forked it."""
        self._heard_at = time.monotonic()
        self.group.be(pid)

    @property
    def pid(self) -> int:
        """0 until the zygote reports it."""
        return self.group.pid

    # What the caller sees

    @property
    def keys(self) -> list[Hashable]:
        """The keys of the tasks sent and not handed back, in order; the first may be running."""
        return [sent.task.key for sent in self._ledger.tasks]

    @property
    def queued(self) -> int:
        """How many those are."""
        return len(self._ledger.tasks)

    @property
    def busy(self) -> bool:
        """Whether it has any task."""
        return bool(self._ledger.tasks)

    @property
    def open(self) -> bool:
        """Whether it takes more tasks; not once it is to end."""
        return not (self._retiring or self.stop or self.over_memory or self.is_full)

    @property
    def is_full(self) -> bool:
        """Whether it has been given as many as it may run."""
        return self.done + len(self._ledger.tasks) >= self.lifetime

    @property
    def is_new(self) -> bool:
        """Whether it has had no task yet."""
        return not (self.done or self.queued or self.has_begun)

    @property
    def has_begun(self) -> bool:
        """Whether it ever began a body."""
        return self._page.words[pages.BEGUN] > 0

    @property
    def current(self) -> tuple[TaskMessage, float] | None:
        """The task whose body runs now, and the monotonic seconds at which it began."""
        sent = self._ledger.unanswered
        if sent is None or not self._has_begun(sent):
            return None
        return sent.task, sent.began or 0.0

    def _has_begun(self, sent: Sent) -> bool:
        """Once seen, its start stands, whatever the page says later; nor was it before it was sent, or is it still to come."""
        if sent.began is None and self._page.words[pages.BEGUN] == sent.number:
            sent.began = min(max(self._page.words[pages.STARTED] / 1e9, sent.at), time.monotonic())
        return sent.began is not None

    @property
    def started(self) -> float | None:
        """When the running body began, monotonic seconds."""
        current = self.current
        return current[1] if current else None

    def is_overdue(self, now: float) -> bool:
        """Whether a result is held back for a marker that does not come."""
        return self._ledger.is_overdue(now)

    def is_stuck(self, now: float) -> bool:
        """Whether it lives and does not begin what it was sent."""
        sent = self._ledger.unanswered
        if sent is None or not self.pid or self.stop or self._has_begun(sent):
            return False
        if not self._ready and self._page.words[pages.READY]:
            self._ready, self._heard_at = True, now
        return now - max(sent.at, self._heard_at) > (UNBEGUN_SECONDS if self._ready else UNREADY_SECONDS)

    def send(self, task: TaskMessage) -> None:
        """Queue a task. Never blocks: what does not fit into the channel follows as the child makes room.

        Raises HalfstepError if the child is not `open`.
        """
        if not self.open:
            raise HalfstepError("This child takes no more tasks; send it to another one.")
        self._post(task)

    def _post(self, task: TaskMessage) -> None:
        number = self._ledger.add(task)
        text = write_task(number, task)
        if self._backlog or not self._sends(text):
            self._backlog.append((number, text))

    def flush(self) -> None:
        """Send what did not fit before, as far as it fits now."""
        while self._backlog and self._sends(self._backlog[0][1]):
            self._backlog.popleft()

    def _sends(self, text: str) -> bool:
        """Whether it fitted. Not if its child is dead, or no descriptor is left for a large message: the next time, or bury."""
        try:
            self.channel.send(text)
        except OSError:
            return False
        return True

    # What the pool does with it

    def recall(self) -> list[TaskMessage]:
        """Take back the tasks that it has not read. Each message is received by it or by us, never by both."""
        return self._ledger.remove(self._take_back())

    def _take_back(self) -> set[int]:
        numbers = {number for number, _ in self._backlog}
        self._backlog.clear()
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while text := self._unread.receive():
                numbers.add(number_of(text))
        return numbers

    def settle(self, events: list[Event]) -> None:
        """After its pipes were read: take its messages, hand out lines and results."""
        self._receive(events)
        self._heed_result()
        self._ledger.attribute(events)
        self.done += self._ledger.finished(events, kept=self.stop.number if self.stop else 0)
        self.flush()
        if self._retiring and not self.busy:
            self._close_channel()

    def _heed_result(self) -> None:
        """A stop that came after its body's end is over with its result."""
        found = self._ledger.unanswered
        if self.stop and self.stop.over and (found is None or found.number != self.stop.number):
            self.stop = None

    def _receive(self, events: list[Event]) -> None:
        """Until there is nothing more: only then is it known who wrote the text that has no marker yet."""
        if self.confused_by:
            return
        now = time.monotonic()
        try:
            for _ in range(MESSAGES_A_TURN):
                if not (text := self.channel.receive()):
                    return
                self._heard_at = now
                self._ledger.take(text, now, events)
        except (BlockingIOError, ConnectionError):
            return
        except (ChildConfused, ValueError, OSError) as error:
            # Messages keep their order: it was sent while the first without a result ran, or before, by what others have left.
            guilty = None if isinstance(error, AnsweredTwice) else self._ledger.unanswered
            self.confused_by = guilty.number if guilty and self._has_begun(guilty) else -1
            self.kill()

    def retire(self) -> list[TaskMessage]:
        """Have it end when its current body does; what it has not read comes back."""
        self._retiring = True
        unread = self.recall()
        if not self.busy:
            self._close_channel()
        return unread

    def retire_when_empty(self) -> None:
        """Send it no more; it ends after the tasks that it has."""
        self._retiring = True
        if not self.busy:
            self._close_channel()

    def _close_channel(self) -> None:
        if not self._closing:
            self._closing = True
            self.channel.end.shutdown(socket.SHUT_WR)

    def withdraw(self, key: Hashable) -> TaskMessage | None:
        """Take one task out of the queue if it has not been read; the others keep their order."""
        unread = self.recall()
        found = next((task for task in unread if task.key == key), None)
        for task in unread:
            if task is not found:
                self._post(task)
        return found

    def find(self, key: Hashable) -> Sent | None:
        """The task of that key, if it has no result yet."""
        return self._ledger.find(key)

    def warn(self, reason: str) -> None:
        """Let its bodies see a reason to end soon."""
        self._page.warn(reason)

    def runs(self, sent: Sent) -> bool:
        """Whether the body of this task runs now, or has just ended."""
        return sent.outcome is None and self._has_begun(sent)

    def is_stopping(self, sent: Sent, grace: float) -> bool:
        """Whether it is being stopped already; if for this task, it has no more than `grace` seconds left from now on."""
        if self.stop and self.stop.number == sent.number and self.stop.kill_at < float("inf"):
            self.stop.kill_at = min(self.stop.kill_at, time.monotonic() + grace)
        return self.stop is not None

    def end_body(self, sent: Sent, reason: str, grace: float) -> list[TaskMessage]:
        """TERM to the group of a body that runs or is about to; the child ends with it. What it has not read comes back.

        The wish is written first and looked at by the child before and after each body: so either the signal meets this
        body, or the body was over before and its result stands.
        """
        self._page.ask_to_stop(sent.number, reason)
        over = self._page.words[pages.ENDED] >= sent.number or self._page.words[pages.BEGUN] > sent.number
        self.stop = Stop(sent.number, reason, time.monotonic() + (OVER_SECONDS if over else grace), over)
        if not over:
            self.group.send(signal.SIGTERM)
            self.group.send(signal.SIGCONT)  # one that was frozen is to hear it too
        return self.recall()

    def kill(self) -> None:
        """KILL to its whole group."""
        self.group.send(signal.SIGKILL)

    def bury(self, cause: str, events: list[Event]) -> None:
        """After its death: hand out all that is left, and say who ran, who came back. `cause`: how the process ended."""
        for stream in self.streams:
            stream.read_rest()
        self._receive(events)
        self._heed_result()
        self._ledger.attribute(events, all_of_it=True)
        unread = self._take_back()
        for sent in self._ledger.tasks:
            events.append(self._end_of(sent, cause, unread))
        self.close()

    def _end_of(self, sent: Sent, cause: str, unread: set[int]) -> Event:
        begun = self._has_begun(sent) and not sent.back
        if self.stop and self.stop.number == sent.number and (begun or self.stop.reason in ("timeout", "cancelled")):
            return Ended(sent.task.key, self._stopped(self.stop, sent, cause), self._seconds(sent))
        if sent.outcome is not None:
            return Ended(sent.task.key, sent.outcome, sent.seconds)
        if sent.number in unread or not begun:
            return Unstarted(sent.task.key, fresh=sent.fresh, read=sent.number not in unread and not sent.back)
        return Ended(sent.task.key, self._crash(sent, cause), self._seconds(sent))

    def _stopped(self, stop: Stop, sent: Sent, cause: str) -> Outcome:
        outcome = stopped(stop.reason, sent.task.timeout)
        if isinstance(outcome, Failed) and stop.kill_at == float("inf"):
            return replace(outcome, error=f"{outcome.error} It did not end at SIGTERM. {cause}")
        return outcome

    def _crash(self, sent: Sent, cause: str) -> Outcome:
        if self.orphaned:
            return Lost("zygote", cause)
        if self.over_memory:
            return Failed(self.over_memory, reason="memory")
        if self.confused_by == sent.number:
            return Failed("The body wrote on the channel between its process and the worker, and was killed.", reason="crash")
        if self.confused_by:
            return Lost("neighbour", "A body before it in the same process wrote on the channel to the worker.")
        return Failed(cause, reason="crash")

    def _seconds(self, sent: Sent) -> float:
        if sent.outcome is not None or sent.began is None:
            return sent.seconds
        return max(0.0, time.monotonic() - sent.began)

    def close(self) -> None:
        """Give back all descriptors."""
        self.group.close()
        self.channel.close()
        self._unread.close()
        for stream in self.streams:
            stream.close()
        self._page.close()


def _descriptors() -> list[int]:
    """A page, and both ends of two pipes. Raises OSError, leaving none open."""
    opened: list[int] = []
    try:
        opened.append(pages.create())
        opened += os.pipe2(os.O_CLOEXEC)
        opened += os.pipe2(os.O_CLOEXEC)
    except OSError:
        for fd in opened:
            os.close(fd)
        raise
    return opened

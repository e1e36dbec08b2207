"""What one child was sent and what became of it: results in order, each held back until all its output has been seen."""

from __future__ import annotations

import math
import os
import time
from array import array
from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from halfstep.outcomes import Outcome
from halfstep_worker.children.capture import Piece, Stream, lines_of
from halfstep_worker.children.messages import Ended, Event, Line, Progress, TaskMessage, scan, unpack
from halfstep_worker.children.page import BEGUN, ENDED, Page

GAPS = 1024
MARKER_SECONDS = 2.0


class ChildConfused(Exception):
    """A child said something that no child of ours says: user code wrote to its channel."""


class AnsweredTwice(ChildConfused):
    """The task before has two results: its body had forged the first, and has ended. Whoever runs by now is innocent."""


@dataclass(slots=True)
class Sent:
    """A task sent to the child. `marks` are the streams (1, 2) that carry its marker; they count once `outcome` is there.

    at: when it was sent; began: when its body was first seen to have begun, monotonic seconds. Known once, it stays: the page is
    the child's to write, and a time limit is not. back: the child has handed it back, as it is spoilt, or (`fresh`) not new.
    """

    number: int
    task: TaskMessage
    at: float = 0.0
    began: float | None = None
    fresh: bool = False
    back: bool = False
    outcome: Outcome | None = None
    seconds: float = 0.0
    marks: int = 0
    answered: float = 0.0


class Ledger:
    """The tasks of one child that have not been handed back yet, in the order in which it takes them."""

    def __init__(self, streams: tuple[Stream, Stream], page: Page) -> None:
        self.tasks: deque[Sent] = deque()
        self._streams = streams
        self._page = page
        self._results = 0  # how many of `tasks`, from the left, have an outcome
        self._last = 0
        self._answered = 0
        self._gaps = array("I")

    def add(self, task: TaskMessage) -> int:
        """Note a task as sent; the number it goes by: a larger one each time, that no body can guess before its task has come."""
        if not self._gaps:
            self._gaps.frombytes(os.urandom(GAPS * self._gaps.itemsize))
        self._last += 1 + self._gaps.pop()
        self.tasks.append(Sent(self._last, task, time.monotonic()))
        return self._last

    def remove(self, numbers: Iterable[int]) -> list[TaskMessage]:
        """Strike out tasks that came back unread."""
        gone = set(numbers)
        removed = [sent.task for sent in self.tasks if sent.number in gone]
        if removed:
            self.tasks = deque(sent for sent in self.tasks if sent.number not in gone)
        return removed

    @property
    def unanswered(self) -> Sent | None:
        """The first task without a result, so the one that runs if any does."""
        return self.tasks[self._results] if self._results < len(self.tasks) else None

    def find(self, key: Hashable) -> Sent | None:
        """The task of that key that has no result yet."""
        return next((sent for sent in self.tasks if sent.outcome is None and sent.task.key == key), None)

    def take(self, text: str, now: float, events: list[Event]) -> None:
        """A message of the child: a result is noted, a log line or progress becomes an event. Raises ChildConfused.

        now: monotonic seconds, as it came.
        """
        try:
            (number, kind, nanoseconds, marks), end = scan(text, 0)
            if kind in ("log", "progress"):
                self._say(kind, self._key(number), text[end + 1 :], events)
            elif kind in ("fresh", "back"):
                self._hand_back(number, fresh=kind == "fresh")
            else:
                self._note(number, unpack(kind, text[end + 1 :]), nanoseconds / 1e9, int(marks), now)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ChildConfused from error

    def _note(self, number: int, outcome: Outcome, seconds: float, marks: int, now: float) -> None:
        """Believed only of a task that this child has begun, when its body has ended, and in their order."""
        sent, words = self.unanswered, self._page.words
        if number == self._answered:
            raise AnsweredTwice
        if sent is None or sent.number != number or min(words[BEGUN], words[ENDED]) < number or not 0.0 <= seconds < math.inf:
            raise ChildConfused
        sent.outcome, sent.seconds, sent.marks, sent.answered = outcome, seconds, marks & 3, now
        self._results += 1
        self._answered = number

    def _hand_back(self, number: int, *, fresh: bool) -> None:
        sent = self.unanswered
        if sent is None or sent.number != number:
            raise ChildConfused
        sent.fresh, sent.back = fresh, True

    def _say(self, kind: str, key: Hashable, text: str, events: list[Event]) -> None:
        if kind == "progress":
            events.append(Progress(key, text))
            return
        now = time.time()
        events += [Line(key, now, "log", line) for line in lines_of(text.encode())]

    def attribute(self, events: list[Event], *, all_of_it: bool = False) -> None:
        """Turn what the streams hold into lines of their tasks.

        Text with a marker behind it belongs to the task of that marker. Other text was read from the pipe before the
        channel was, so every earlier task's result is known by now: it belongs to the first that may still be writing.
        What was read first comes first: that is all that the kernel tells of two pipes.
        """
        out, err = self._streams
        for stream in (err, out) if err.read_at < out.read_at else (out, err):
            if not stream.waiting:
                continue
            now = time.monotonic()
            at = time.time() - (now - stream.read_at)
            for piece in stream.pieces(now, all_of_it=all_of_it):
                events += _lines(piece, self._owner(piece.number, stream), at, stream.name)
            if stream.waiting and self._writer(stream) is None:
                events += [Line(None, at, stream.name, line) for line in stream.drop()]

    def _key(self, number: int) -> Hashable:
        sent = self._find(number)
        return sent.task.key if sent else None

    def _find(self, number: int) -> Sent | None:
        for sent in self.tasks:
            if sent.number == number:
                return sent
        return None

    def _owner(self, number: int, stream: Stream) -> Hashable:
        """Whose text stands before a marker of that number. A marker that a body has forged costs nobody else anything."""
        if not number or number > stream.begun:
            return self._writer(stream)
        sent = self._find(number)
        if sent is None or number in stream.seen:
            return sent.task.key if sent and sent.outcome is None else None
        if not self._may_end(sent, stream) or self._is_early(sent, stream):
            return self._writer(stream)
        stream.seen.add(number)
        return sent.task.key

    def _is_early(self, sent: Sent, stream: Stream) -> bool:
        """Whether a marker of an earlier task is still to come."""
        for one in self.tasks:
            if one is sent or one.outcome is None:
                return False
            if not self._all_seen(one, stream):
                return True
        return False

    def _may_end(self, sent: Sent, stream: Stream) -> bool:
        """Whether a marker of this task can stand in the stream."""
        if sent.number > stream.begun or sent.number in stream.seen:
            return False
        return sent.outcome is None or bool(sent.marks >> stream.index & 1)

    def _writer(self, stream: Stream) -> Hashable:
        """Who may still write to the stream: never a task that had not begun when it was read, whatever stands in the pipe."""
        for sent in self.tasks:
            if self._may_end(sent, stream):
                return sent.task.key
        return None

    def _all_seen(self, sent: Sent, stream: Stream) -> bool:
        return not sent.marks >> stream.index & 1 or sent.number in stream.seen

    def finished(self, events: list[Event], *, kept: int = 0) -> int:
        """Hand out the results whose output has all been seen, up to the task `kept`; how many."""
        before = len(self.tasks)
        while self._results and self.tasks[0].number != kept and (not (sent := self.tasks[0]).marks or self._complete(sent)):
            self._results -= 1
            self.tasks.popleft()
            assert sent.outcome is not None
            events.append(Ended(sent.task.key, sent.outcome, sent.seconds))
        return before - len(self.tasks)

    def is_overdue(self, now: float) -> bool:
        """Whether a result has waited for long for a marker that does not come: the body has spoilt it, or the shared page."""
        sent = self.tasks[0] if self._results else None
        if sent is None or not sent.marks or now - sent.answered < MARKER_SECONDS:
            return False
        return not any(stream.holds_more() for stream in self._streams)

    def _complete(self, sent: Sent) -> bool:
        if not all(self._all_seen(sent, stream) for stream in self._streams) and not self.is_overdue(time.monotonic()):
            return False
        for stream in self._streams:
            stream.seen.discard(sent.number)
        return True


def _lines(piece: Piece, key: Hashable, at: float, stream: str) -> list[Line]:
    lines = [Line(key, at, stream, line) for line in piece.lines]
    if piece.goes_on and lines:
        lines[-1] = lines[-1]._replace(goes_on=True)
    return lines

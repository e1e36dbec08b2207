"""The last lines of running bodies: the evidence where a body could not say itself why it ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import replace

from halfstep.outcomes import Failed, Outcome
from halfstep_worker.children import Line

TAIL_LINES, TAIL_WIDTH = 5, 200


class Tails:
    """By body. Used by the worker's loop only."""

    def __init__(self) -> None:
        self._tails: dict[Hashable, deque[Line]] = {}

    def add(self, line: Line) -> None:
        """A line that was told in parts is one in the end."""
        tail = self._tails.get(line.key)
        if tail is None:
            tail = self._tails[line.key] = deque(maxlen=TAIL_LINES)
        if tail and tail[-1].goes_on and tail[-1].stream == line.stream:
            line = line._replace(text=(tail.pop().text + line.text)[:TAIL_WIDTH])
        tail.append(line)

    def end(self, key: Hashable, outcome: Outcome) -> Outcome:
        """The body has ended; its outcome, with what it last wrote if that is all that is known of why."""
        tail = self._tails.pop(key, None)
        if tail and isinstance(outcome, Failed) and outcome.reason in ("crash", "memory", "timeout"):
            texts = (line.text[:TAIL_WIDTH] for line in tail)
            return replace(outcome, error="\n  ".join((f"{outcome.error}\nIts last lines:", *texts)))
        return outcome

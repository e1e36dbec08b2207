"""What the server refuses is cut down to the culprit: it is written in a form that is always taken, the others as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from halfstep.errors import RefusedValue
from halfstep.events import emit
from halfstep_worker.mending import Kind

T = TypeVar("T")

MOST_HOPELESS = 3
"""So many of one batch that are refused in any form: it is not the values, and the rest of the batch waits."""
REMEMBERED = 10_000


class Culprits:
    """Every part of an exchange is written by `write`. Remembers whose values were refused; used by one thread."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], str] = {}  # kind, task and attempt: why it was refused
        self._told: set[tuple[str, int, int]] = set()

    def write(self, kind: Kind[T], items: Sequence[T], send: Callable[[list[T]], None]) -> list[T]:
        """Sends all of it, in order. A batch of n with one culprit takes about 2 log2(n) statements more.

        send: writes some and keeps the books; it does all of it or raises RefusedValue and has done nothing.
        Returns what was refused in any form; after `MOST_HOPELESS` or more of those the rest was not tried.
        """
        hopeless: list[T] = []
        found: list[tuple[T, RefusedValue]] = []
        together = 1  # forms that go in one statement: more and more, as long as they are taken
        pile = [self._foreseen(kind, items)]
        while pile and len(hopeless) < MOST_HOPELESS:
            some = pile.pop()
            try:
                send(some)
            except RefusedValue as refusal:
                if len(some) > 1:
                    pile += [some[len(some) // 2 :], some[: len(some) // 2]]
                else:
                    found.append((some[0], refusal))
            if found and (len(found) == together or not pile):
                hopeless += self._replace(kind, found, send)
                found, together = [], 1 if hopeless else 2 * together
        return hopeless

    def _foreseen(self, kind: Kind[T], items: Sequence[T]) -> list[T]:
        """An attempt whose log was refused goes on in the form that was not: no statement is refused for each of its chunks."""
        if not self._known:
            return list(items)
        reasons = [(item, self._known.get((kind.name, *kind.attempt(item)))) for item in items]
        return [item if reason is None else kind.mend(item, reason) for item, reason in reasons]

    def _replace(self, kind: Kind[T], found: list[tuple[T, RefusedValue]], send: Callable[[list[T]], None]) -> list[T]:
        """Writes culprits in the other form; returns those of which that is refused too."""
        try:
            send([kind.mend(culprit, str(refusal)) for culprit, refusal in found])
        except RefusedValue as error:
            if len(found) > 1:
                half = len(found) // 2
                return self._replace(kind, found[:half], send) + self._replace(kind, found[half:], send)
            self._tell("task.unwritable", kind, found[0][0], error)
            return [found[0][0]]
        for culprit, refusal in found:
            self._tell("task.unstorable", kind, culprit, refusal)
            self._known[kind.name, *kind.attempt(culprit)] = str(refusal)
            if len(self._known) > REMEMBERED:
                self._known.pop(next(iter(self._known)))
        return []

    def _tell(self, event: str, kind: Kind[T], culprit: T, error: RefusedValue) -> None:
        """Once for each part of an attempt."""
        key = (kind.name, *kind.attempt(culprit))
        if len(self._told) > REMEMBERED:
            self._told.clear()
        if key not in self._told:
            self._told.add(key)
            emit(event, part=key[0], task=key[1], error=error)

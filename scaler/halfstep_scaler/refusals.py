"""Which ScaledObjects are refused now, and why. Each refusal is logged once, for as long as it is repeated."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from halfstep.events import emit
from halfstep.visible import visible_line
from halfstep_scaler import events as _words  # noqa: F401  the words of what is emitted here
from halfstep_scaler.errors import Refused

FORGET_SECONDS = 180.0
"""KEDA asks for an object at least once a minute, by its stream."""
MOST_REFUSALS = 1_000
MOST_LINES = 30
LINES_SECONDS = 60.0
LONGEST_NAME = 63


@dataclass(frozen=True, slots=True)
class Refusal:
    """Of one ScaledObject; its names as they can be shown, cut where they are too long to be real ones."""

    namespace: str
    name: str
    sentence: str


class Refusals:
    """`note` each one. Used by the event loop only, but for `listed`. clock: monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: OrderedDict[Refusal, float] = OrderedDict()  # the longest unseen first
        self._lines_since, self._lines, self._unsaid = -inf, 0, 0
        self.listed: tuple[Refusal, ...] = ()
        """Those of the last minutes, the newest last. Replaced as a whole by the event loop, for any thread."""

    def note(self, namespace: str, name: str, refused: Refused) -> None:
        """It was refused just now."""
        refusal = Refusal(_shown(namespace), _shown(name), str(refused))
        if new := refusal not in self._seen:
            self._log(refusal, refused)
        self._seen[refusal] = self._clock()
        self._seen.move_to_end(refusal)
        if len(self._seen) > MOST_REFUSALS:
            self._seen.popitem(last=False)
        if new:
            self._list()

    def forget(self, namespace: str, name: str) -> None:
        """It was mended. (If only one of its triggers was, the next call tells of the other again.)"""
        gone = [each for each in self._seen if (each.namespace, each.name) == (_shown(namespace), _shown(name))]
        self._drop(gone)

    def age(self) -> None:
        """Gives up those that were not repeated for long. Called now and then."""
        limit = self._clock() - FORGET_SECONDS
        self._drop([each for each, seen_at in self._seen.items() if seen_at < limit])

    def _drop(self, gone: list[Refusal]) -> None:
        for refusal in gone:
            del self._seen[refusal]
        if gone:
            self._list()

    def _list(self) -> None:
        self.listed = tuple(self._seen)

    def _log(self, refusal: Refusal, refused: Refused) -> None:
        now = self._clock()
        if now - self._lines_since >= LINES_SECONDS:
            if self._unsaid:
                emit("scaler.refusals_unsaid", count=self._unsaid)
            self._lines_since, self._lines, self._unsaid = now, 0, 0
        if self._lines >= MOST_LINES:
            self._unsaid += 1
            return
        self._lines += 1
        emit(
            "scaler.refused",
            namespace=refusal.namespace,
            name=refusal.name,
            code=refused.code.name,
            sentence=refusal.sentence,
        )


def _shown(name: str) -> str:
    return visible_line(name[:LONGEST_NAME])[:LONGEST_NAME] + ("…" if len(name) > LONGEST_NAME else "")

"""What keeps a launcher from getting on with its cluster, whatever its tasks ask for; and a log of what the server refuses.

A part is a verb and an object in the words of RBAC: "create pods", "get pods/log". Any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from halfstep.events import emit
from halfstep.visible import visible_line
from halfstep_worker.children.storable import plain

Clock = Callable[[], float]

SURE_SECONDS = 2.0
"""What the server did not answer, or answered with a fault of its own, is told of when it lasts: single ones are everyday."""
STALE_SECONDS = 90.0
"""What nobody has met again for so long, as nobody tries any more, is over."""
LOG_SECONDS = 60.0
"""Between two lines of the log about the same refusal."""
MOST_KEYS = 1000
SENTENCE_BYTES = 1500
SAID_BYTES = 500
READ = "read pods"
"""What the server says of pods makes no sense to us."""
BLOCKING = ("create pods", "create configmaps", "list pods", "watch pods", READ)
"""Without these no pod of a task's can be made and seen."""
ADMISSION = "admission"
"""A webhook that the API server can't reach. It may be asked of some pods only: others go on."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What does not get on, where and why. since, met: monotonic, first and last. sure: it need not last to be believed."""

    namespace: str
    part: str
    sentence: str
    since: float
    met: float
    sure: bool

    @property
    def blocks(self) -> bool:
        """Nothing is claimed for the namespace, and no pod asked for there."""
        return self.part in BLOCKING


class Troubles:
    """Of one cluster. name: as the log shows it."""

    def __init__(self, name: str, *, clock: Clock = time.monotonic) -> None:
        self.name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Trouble] = {}
        self._lines: dict[tuple[str, str, int], tuple[float, int]] = {}

    def met(self, namespace: str, part: str, sentence: str, *, sure: bool) -> bool:
        """It did not get on just now; whether that is believed to last."""
        now = self._clock()
        with self._lock:
            known = self._known.get((namespace, part)) or Trouble(namespace, part, "", now, now, sure=False)
            said = visible_line(plain(sentence, SENTENCE_BYTES))
            known = self._known[namespace, part] = replace(known, sentence=said, met=now, sure=known.sure or sure)
        return self._is_told(known, now)

    def over(self, namespace: str, part: str) -> None:
        """It gets on."""
        if not self._known:  # nearly always
            return
        with self._lock:
            past = self._known.pop((namespace, part), None)
        if past is not None and self._is_told(past, self._clock()):
            emit("cluster.works", cluster=self.name, namespace=namespace, part=part, seconds=self._clock() - past.since)

    def standing(self) -> list[Trouble]:
        """What is believed to go on, the oldest first."""
        if not self._known:
            return []
        now = self._clock()
        with self._lock:
            for key in [key for key, known in self._known.items() if now - known.met > STALE_SECONDS and not known.blocks]:
                del self._known[key]
            told = [known for known in self._known.values() if self._is_told(known, now)]
        return sorted(told, key=lambda trouble: trouble.since)

    def open(self) -> list[tuple[str, str]]:
        """(namespace, part) of all that was met and has not worked since, be it only just now."""
        return list(self._known)

    def blocked(self, namespace: str) -> str | None:
        """Why nothing is asked for in the namespace now."""
        return next((known.sentence for known in self.standing() if known.blocks and known.namespace == namespace), None)

    def knows(self, namespace: str, *parts: str) -> bool:
        """Whether one of these does not get on, be it only just now."""
        return any((namespace, part) in self._known for part in parts)

    def refused(self, namespace: str, part: str, code: int, said: str) -> None:
        """One line of the log for each part, namespace and status; those within a minute are counted. code 0: no answer."""
        now, key = self._clock(), (namespace, part, code)
        with self._lock:
            last, more = self._lines.get(key, (float("-inf"), 0))
            if now - last < LOG_SECONDS:
                self._lines[key] = last, more + 1
                return
            if len(self._lines) >= MOST_KEYS:
                self._lines.clear()
            self._lines[key] = now, 0
        counted, error = f" And {more} more since the last line about it." if more else "", visible_line(plain(said, SAID_BYTES))
        emit("cluster.refused", cluster=self.name, namespace=namespace, part=part, code=code, error=error, counted=counted)

    @staticmethod
    def _is_told(known: Trouble, now: float) -> bool:
        """What blocks is asked again until it is over (`Probes`, the watch); of the rest, nobody may have asked since."""
        return known.sure or (now if known.blocks else known.met) - known.since >= SURE_SECONDS

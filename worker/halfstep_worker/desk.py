"""The desk between the worker's loop and its exchange: what goes out to SQL, and what came in. Two threads, one lock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from halfstep.claims import Claim, Ending
from halfstep.outcomes import Retry
from halfstep.pods import Doubt, Past, PodRow, Strangers

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Release:
    """A claim to hand back; `started`: its body had begun."""

    claim: Claim
    reason: str
    started: bool


@dataclass(slots=True)
class Outgoing:
    """What the loop wants written."""

    endings: list[Ending] = field(default_factory=list)
    retries: list[tuple[Claim, Retry]] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    chunks: list[dict[str, Any]] = field(default_factory=list)
    progress: dict[int, tuple[Claim, str]] = field(default_factory=dict)
    pods: dict[str, PodRow] = field(default_factory=dict)
    """By attempt: intents and facts. A launcher's only."""
    doubtful: list[Doubt] = field(default_factory=list)
    """Pods that no flight of ours explains: are they garbage? A launcher's only."""
    strangers: Strangers | None = None
    """Those that are not ours, as they are now. A launcher's only."""

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)

    def claims(self) -> list[Claim]:
        """Those whose attempt is over."""
        return [e.claim for e in self.endings] + [claim for claim, _ in self.retries] + [r.claim for r in self.releases]

    def take(self, claims: Sequence[Claim]) -> Outgoing:
        """Takes out the ends, retries and releases of these claims, and returns them."""
        if not (self.endings or self.retries or self.releases):
            return Outgoing()
        named = {(claim.id, claim.token) for claim in claims}
        taken = Outgoing()
        taken.endings, self.endings = _parted(self.endings, named, lambda ending: ending.claim)
        taken.retries, self.retries = _parted(self.retries, named, lambda item: item[0])
        taken.releases, self.releases = _parted(self.releases, named, lambda release: release.claim)
        return taken

    def merge(self, other: Outgoing) -> None:
        """Takes over what stands in `other`."""
        self.endings += other.endings
        self.retries += other.retries
        self.releases += other.releases
        self.chunks += other.chunks
        self.progress |= other.progress
        self.pods |= other.pods
        self.doubtful += other.doubtful
        self.strangers = other.strangers or self.strangers


def _parted(items: list[T], named: set[tuple[int, str]], claim: Callable[[T], Claim]) -> tuple[list[T], list[T]]:
    """Those of the named claims (id and token), and the others."""
    theirs: list[T] = []
    others: list[T] = []
    for item in items:
        of = claim(item)
        (theirs if (of.id, of.token) in named else others).append(item)
    return theirs, others


@dataclass(slots=True)
class Incoming:
    """What the exchange has for the loop. `lost`: claims that this worker does not hold any more."""

    claims: list[Claim] = field(default_factory=list)
    lost: list[Claim] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    drain: bool = False
    settled: list[Claim] = field(default_factory=list)
    """A launcher's: claims whose end, retry or release is written."""
    intended: list[str] = field(default_factory=list)
    """A launcher's: attempts whose pods may be asked for now."""
    garbage: list[str] = field(default_factory=list)
    """A launcher's: uids of pods that nobody needs."""
    strangers: dict[str, str] = field(default_factory=dict)
    """A launcher's: pods that are not ours, by uid, with the word for why."""
    pasts: dict[str, Past] = field(default_factory=dict)
    """A launcher's: what earlier owners left of adopted attempts."""

    def merge(self, other: Incoming) -> None:
        """Takes over what stands in `other`."""
        self.claims += other.claims
        self.lost += other.lost
        self.cancelled += other.cancelled
        self.drain = self.drain or other.drain
        self.settled += other.settled
        self.intended += other.intended
        self.garbage += other.garbage
        self.strangers |= other.strangers
        self.pasts |= other.pasts


class Desk:
    """`wake_fd` becomes readable when something came in for the loop."""

    def __init__(self) -> None:
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._changed = threading.Condition()
        self._outgoing = Outgoing()
        self._incoming = Incoming()
        self._target = 0
        self._hints: set[str] = set()
        self._fault: BaseException | None = None

    # -- the loop's side

    def send(self, outgoing: Outgoing) -> None:
        """Hands over what is to be written."""
        if outgoing:
            with self._changed:
                self._outgoing.merge(outgoing)
                self._changed.notify()

    def aim(self, target: int) -> None:
        """How many claims the worker wants to hold; 0: claim nothing."""
        with self._changed:
            if target != self._target:
                self._target = target
                self._changed.notify()

    def collect(self) -> Incoming:
        """What came in since the last call.

        Raises RuntimeError once the exchange has ended by a fault: nothing is written any more.
        """
        try:
            os.eventfd_read(self.wake_fd)
        except BlockingIOError:
            return Incoming()
        with self._changed:
            if self._fault is not None:
                raise RuntimeError(f"The exchange with the database has ended: {self._fault!r}") from self._fault
            incoming, self._incoming = self._incoming, Incoming()
            return incoming

    # -- the exchange's side

    @property
    def target(self) -> int:
        """The last aim."""
        return self._target

    def take(self) -> Outgoing:
        """What is to be written, now the exchange's to keep until it is."""
        with self._changed:
            outgoing, self._outgoing = self._outgoing, Outgoing()
            return outgoing

    def deliver(self, incoming: Incoming) -> None:
        """Hands claims and requests to the loop."""
        with self._changed:
            self._incoming.merge(incoming)
        os.eventfd_write(self.wake_fd, 1)

    def fail(self, fault: BaseException) -> None:
        """The exchange has ended by an error that nobody expected, and the loop must: what it would do is never written."""
        with self._changed:
            self._fault = fault
        os.eventfd_write(self.wake_fd, 1)

    def wait(self, seconds: float, *, target: int) -> set[str]:
        """Until something is to be written, a hint comes, or the aim is no more `target`; returns the hints."""
        with self._changed:
            self._changed.wait_for(lambda: self._outgoing or self._hints or self._target != target, timeout=max(0.0, seconds))
            hints, self._hints = self._hints, set()
            return hints

    # -- anybody's

    def hint(self, word: str) -> None:
        """Something happened that the exchange should look at: "ready", "cancel", "stop"."""
        with self._changed:
            self._hints.add(word)
            self._changed.notify()

    def close(self) -> None:
        """After both threads have ended."""
        os.close(self.wake_fd)

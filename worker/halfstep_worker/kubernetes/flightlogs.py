"""The logs of flights on their way into the log store: read by the collector's threads, bounded and chunked by the loop."""

from __future__ import annotations

from dataclasses import dataclass

from halfstep.claims import Claim
from halfstep.outcomes import Outcome
from halfstep.pods import LogPosition
from halfstep_worker.desk import Outgoing
from halfstep_worker.kubernetes.api import ClusterApi
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.frames import Frames
from halfstep_worker.kubernetes.inbox import Inbox
from halfstep_worker.kubernetes.logpage import Line
from halfstep_worker.kubernetes.logplan import LogSource
from halfstep_worker.kubernetes.names import MAIN
from halfstep_worker.kubernetes.podlogs import PodLogCollector
from halfstep_worker.kubernetes.reading import has_started, is_body
from halfstep_worker.logs import LogCollector
from halfstep_worker.progress import Part


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of one flight (`_key`), in order for each container."""

    key: str
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class LogDone:
    """An attempt's log has been read to its end, or there is none."""

    attempt_id: str


class FlightLogs:
    """`deliver` is called by the collector's threads; everything else by the loop."""

    def __init__(self, api: ClusterApi, inbox: Inbox, *, part: Part | None = None) -> None:
        self._inbox = inbox
        self._pages = PodLogCollector(api, deliver=self.deliver, part=part)
        self._chunks = LogCollector()
        self._frames: dict[str, Frames] = {}
        self._positions: dict[str, LogPosition] = {}
        self._claims: dict[str, Claim] = {}
        self._full: set[str] = set()  # written by the loop, read by the collector's threads

    def start(self) -> None:
        """Returns when logs are read."""
        self._pages.start()

    def stop(self) -> None:
        """Returns when nothing is read any more."""
        self._pages.stop()

    # -- what a flight asks

    def resume(self, claim: Claim, position: LogPosition) -> None:
        """An adopted attempt's log goes on where it was left."""
        self._positions[_key(claim)] = position
        self._chunks.resume(claim, chunk=position.chunk, written=position.written)

    def follow(self, flight: Flight) -> None:
        """The pod runs."""
        self._claims[_key(flight.claim)] = flight.claim
        self._pages.follow(self._source(flight))

    def finish(self, flight: Flight) -> None:
        """The pod has ended: LogDone comes when its log is in."""
        self._claims[_key(flight.claim)] = flight.claim
        if flight.pod is None or flight.vanished or not has_started(flight.pod):
            self._inbox.put(LogDone(flight.attempt_id))
        else:
            done, needed = (lambda: self._inbox.put(LogDone(flight.attempt_id))), flight.framed is not None
            self._pages.finish(self._source(flight), done, needed=needed)

    def forget(self, flight: Flight) -> None:
        """Nothing more of it is wanted; what is not on its way to SQL yet is for an adopter to read again."""
        key = _key(flight.claim)
        self._pages.forget(key)
        self._chunks.end(flight.claim)
        self._full.discard(key)
        for known in (self._frames, self._positions, self._claims):
            known.pop(key, None)

    def _source(self, flight: Flight) -> LogSource:
        assert flight.pod is not None
        key = _key(flight.claim)
        stored = self._positions[key].streams if key in self._positions else {}
        names = tuple(container["name"] for container in flight.pod["spec"].get("containers", ())) or (MAIN,)
        hook = self._frames.setdefault(key, Frames()).take if is_body(flight.pod) else None
        return LogSource(key, flight.namespace, flight.name, names, stored, hook)

    # -- what comes of it

    def deliver(self, key: str, lines: list[Line]) -> bool:
        """From the collector's threads. False: the beginning of the log is full, and its end is read when the pod has ended."""
        self._inbox.put(Lines(key, lines))
        return key not in self._full

    def take(self, arrived: Lines, outgoing: Outgoing, now: float) -> None:
        """Lines on their way to SQL, and progress that stood framed among them."""
        claim = self._claims.get(arrived.key)
        if claim is None:
            return
        for line in arrived.lines:
            if not self._chunks.add(claim, line, now=now):
                self._full.add(arrived.key)
        frames = self._frames.get(arrived.key)
        if frames is not None and frames.progress is not None:
            outgoing.progress[claim.id] = (claim, frames.progress)

    def end(self, flight: Flight, outgoing: Outgoing) -> Outcome | None:
        """The last chunk; and the outcome, if the body's program left it in the log."""
        outgoing.chunks += self._chunks.end(flight.claim)
        frames = self._frames.get(_key(flight.claim))
        if frames is None or flight.framed is None:
            return None
        return frames.outcome(flight.framed)

    def flush(self, outgoing: Outgoing, now: float) -> None:
        """Chunks that are due."""
        outgoing.chunks += self._chunks.take(now=now)

    def due_at(self) -> float | None:
        """When `flush` has something."""
        return self._chunks.due_at()


def _key(claim: Claim) -> str:
    """One owner's reading of an attempt's log: lines that an earlier reading of it still delivers are none of the next one's."""
    return f"{claim.attempt_id} {claim.token}"

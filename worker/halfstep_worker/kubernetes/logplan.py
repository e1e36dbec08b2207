"""Whose log is read next: few requests a second for all running containers together, ended ones first. Times are monotonic."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count

from halfstep.pods import StreamEnd
from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.logposition import Position
from halfstep_worker.kubernetes.names import MAIN
from halfstep_worker.kubernetes.throttle import Throttle


@dataclass(frozen=True, slots=True)
class LogSource:
    """One attempt's pod. key: the attempt, as the owner calls it. stored: by stream, what is stored already (adoption).

    hook: sees every line of the main container, whole, and gives back what of it is to be stored, or None. One thread at a time.
    """

    key: str
    namespace: str
    pod: str
    containers: tuple[str, ...] = (MAIN,)
    stored: Mapping[str, StreamEnd] = field(default_factory=dict)
    hook: Callable[[str], str | None] | None = None


@dataclass(frozen=True, slots=True)
class LogTimes:
    """Seconds, and requests a second."""

    interval: float = 5.0
    """Between two reads of a running container, if there are not too many of them."""
    rate: float = 9.0
    """Requests a second for running containers, all together: the more there are, the less often each is read."""
    first: float = 1.0
    """From a pod's start to its first read."""
    read: float = 20.0
    """How long one read may take; the next goes on where it ended."""
    final: float = 60.0
    """How long the last read of an ended pod may take, all its tries together."""
    patient: float = 300.0
    """The same while the API server shows us no log at all: it is away, or takes us for somebody who may not."""
    needed: float = 3600.0
    """The same where the attempt's outcome stands in the log."""
    retry: float = 1.0
    retry_cap: float = 60.0
    final_cap: float = 5.0


@dataclass(slots=True, eq=False)
class Attempt:
    """done: set when the pod has ended. open: containers that are not read to their end. full: only the log's end is wanted."""

    source: LogSource
    open: int
    done: Callable[[], None] | None = None
    ends: float = 0.0
    patient_until: float = 0.0
    full: bool = False
    forgotten: bool = False

    def last_moment(self, error: ApiError) -> float:
        """When the last read is given up, after such an error."""
        return self.patient_until if error.access else self.ends


@dataclass(slots=True, eq=False)
class Reader:
    """One container's log. It waits in one of the plan's heaps, or a thread has it (`busy`)."""

    attempt: Attempt
    container: str
    position: Position
    ticket: int = 0
    failures: int = 0
    busy: bool = False
    kept_out: bool = False  # the API server has shown us no log at all for a while
    ended: bool = False

    @property
    def is_final(self) -> bool:
        """The pod has ended: its log is read to the end."""
        return self.attempt.done is not None


_Heap = list[tuple[float, int, Reader]]


@dataclass(slots=True)
class Plan:
    """Guarded by its owner's lock."""

    times: LogTimes
    readers: int = 0
    """All that are known, busy ones too."""
    _running: _Heap = field(default_factory=list)
    _final: _Heap = field(default_factory=list)
    _tickets: count[int] = field(default_factory=count)
    _rate: Throttle = field(init=False)

    def __post_init__(self) -> None:
        self._rate = Throttle(self.times.rate, 1)

    def put(self, reader: Reader, due: float) -> None:
        """It is read at or after `due`. Where it waited before counts for nothing."""
        reader.busy = False
        reader.ticket = next(self._tickets)
        heapq.heappush(self._final if reader.is_final else self._running, (due, reader.ticket, reader))

    def again(self, reader: Reader, *, began: float, now: float) -> None:
        """It was read from `began` to `now`, and will be again."""
        times = self.times
        if reader.is_final:
            pause = min(times.retry * 2.0 ** min(reader.failures - 1, 10), max(times.retry, times.final_cap))
            self.put(reader, now + pause if reader.failures else now)
            return
        pause = max(times.interval, self.readers / times.rate)
        self.put(reader, began + min(pause * 2.0 ** min(reader.failures, 10), max(pause, times.retry_cap)))

    def pick(self, now: float) -> Reader | None:
        """Whose turn it is; the caller has it then, until it is put back."""
        heap = self._final
        if (due := _head(heap)) is not None and due <= now:
            self._rate.spend()
        else:
            heap = self._running
            if (due := _head(heap)) is None or due > now or not self._rate.take():
                return None
        reader = heapq.heappop(heap)[2]
        reader.busy = True
        return reader

    def wait(self, now: float) -> float | None:
        """Seconds until it may be somebody's turn; None: nobody waits."""
        final, running = _head(self._final), _head(self._running)
        waits = [] if final is None else [final - now]
        if running is not None:
            waits.append(max(running - now, self._rate.wait()))
        return max(0.001, min(waits)) if waits else None


def _head(heap: _Heap) -> float | None:
    while heap and (heap[0][1] != heap[0][2].ticket or heap[0][2].attempt.forgotten):
        heapq.heappop(heap)
    return heap[0][0] if heap else None

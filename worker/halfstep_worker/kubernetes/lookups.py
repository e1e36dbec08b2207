"""Reads of single pods by their names: of those that the watch does not show. Nothing is believed of them before. By the loop."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from halfstep.events import emit
from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.errands import Api
from halfstep_worker.kubernetes.flight import Flight, Stage
from halfstep_worker.kubernetes.identity import as_claimed, belongs, lacking
from halfstep_worker.kubernetes.inbox import Calls
from halfstep_worker.kubernetes.names import INSTALLATION
from halfstep_worker.kubernetes.objects import inside
from halfstep_worker.kubernetes.reading import meta
from halfstep_worker.kubernetes.timeline import trim
from halfstep_worker.kubernetes.timers import Timers
from halfstep_worker.kubernetes.values import Pod

AT_ONCE = 4
"""Reads that are under way together: thousands of them must not keep a create call waiting."""
LOOK_SECONDS = 5.0
"""Between two reads of a pod that the watch does not show."""
PAUSE_SECONDS = 4.0
"""Where the server shows us no pod, the others are not asked for either until then: it has more to do, and so have we."""
MOMENT_SECONDS = 2.0
SILENCE_SECONDS = 300.0
"""A pod of which nothing was heard for so long is read."""
MOST_SILENT = 100
"""So many of those at a time."""
MEND_SECONDS = 5.0
MOST_MEND_SECONDS = 300.0
"""Marks that are taken away again and again, by a policy say, are put back ever more rarely."""


class Lookups:
    """The words of its timers and calls are `lookup` and `mend`."""

    def __init__(self, installation: str, *, api: Api, calls: Calls, timers: Timers) -> None:
        self.doubted: set[str] = set()
        """Namespaces in which the watch does not show what is there."""
        self._installation = installation
        self._api = api
        self._calls = calls
        self._timers = timers
        self._waiting: dict[str, Flight] = {}
        self._open = 0
        self._pauses: dict[str, float] = {}
        """By namespace: until when nothing is read there, as the server shows us none of it."""

    # -- what the watch shows

    def show(self, flight: Flight, now: float) -> None:
        """It shows the flight's pod."""
        flight.shown, flight.heard_at, flight.unseen = True, now, False

    def hide(self, flight: Flight, now: float, *, last: Pod | None = None) -> None:
        """It does not show it any more, or somebody says that it is gone: it may be, or its labels are. last: as it was."""
        if flight.stage is not Stage.PARKED:
            return
        flight.shown = False
        flight.pod = flight.pod if last is None else as_claimed(last, flight)
        self._at_once(flight, now)

    def doubt(self, flights: Iterable[Flight], now: float) -> None:
        """Now and then: what is not shown, and some of what nobody has said a word of for long, is read."""
        parked = [flight for flight in flights if flight.stage is Stage.PARKED]
        silent = [flight for flight in parked if flight.shown and now - flight.heard_at > SILENCE_SECONDS]
        for flight in [flight for flight in parked if not flight.shown] + silent[:MOST_SILENT]:
            self._at_once(flight, now)

    # -- reading

    def later(self, flight: Flight, now: float, seconds: float = LOOK_SECONDS) -> None:
        """It is read then, if the watch has not shown it by then."""
        if not flight.looking:
            flight.looking = True
            self._timers.set(now + seconds, flight.attempt_id, "lookup")

    def rang(self, flight: Flight, now: float) -> None:
        """Its timer."""
        flight.looking = False
        if flight.stage is Stage.PARKED and not flight.shown:
            self._at_once(flight, now)

    def ended(self, now: float) -> None:
        """A read has ended, of whatever flight: it is another one's turn."""
        self._open -= 1
        self._read_some(now)

    def answered(self, flight: Flight, found: object, now: float) -> Pod | None:
        """What is known by this answer: the flight's pod as it is; an empty one: it is gone; None: nothing new."""
        if flight.stage is not Stage.PARKED:
            return None
        there = trim(found) if isinstance(found, dict) else None
        if isinstance(found, Exception):
            if isinstance(found, ApiError) and found.access:
                self._pauses[flight.namespace] = now + PAUSE_SECONDS
            self.later(flight, now)
        elif there is not None and belongs(there, flight, self._installation):
            return self._found(flight, there, now)
        elif flight.shown:  # the watch has yet to say so, or never will
            flight.shown = False
            self.doubted.add(flight.namespace)
            self.later(flight, now, MOMENT_SECONDS)
        else:
            return {}
        return None

    def _found(self, flight: Flight, there: Pod, now: float) -> Pod | None:
        """What the watch shows is newer, unless it has been silent while the pod changed."""
        if inside(meta(there), "labels").get(INSTALLATION) == self._installation and not _is_as_shown(flight, there):
            self.doubted.add(flight.namespace)
        flight.heard_at = now
        if flight.shown:
            return None
        flight.unseen = False
        self.later(flight, now)
        return there

    def _at_once(self, flight: Flight, now: float) -> None:
        """Or when it is its turn."""
        self._waiting[flight.attempt_id] = flight
        self._read_some(now)

    def _read_some(self, now: float) -> None:
        while self._waiting and self._open < AT_ONCE:
            flight = self._waiting.pop(next(iter(self._waiting)))
            if flight.stage is Stage.PARKED and now < self._pauses.get(flight.namespace, now):
                self.later(flight, now)
            elif flight.stage is Stage.PARKED:
                self._open += 1
                self._calls.submit(flight.attempt_id, "lookup", partial(self._api.get_pod, flight.namespace, flight.name))

    # -- our marks

    def mend(self, flight: Flight, pod: Pod, now: float) -> None:
        """Puts back what of our marks is not on it any more."""
        marks = lacking(pod, flight, self._installation)
        if not marks or flight.uid is None:
            return
        if now < flight.mend_at:
            if not flight.mending:
                flight.mending = True
                self._timers.set(flight.mend_at, flight.attempt_id, "mend")
            return
        flight.mend_at = now + min(MOST_MEND_SECONDS, MEND_SECONDS * 2.0 ** min(flight.mended, 10))
        if not flight.mended:
            emit("pod.mended", what=" and ".join(marks), name=flight.name, task=flight.claim.id)
        flight.mended += 1
        errand = partial(self._api.mark_pod, flight.namespace, flight.name, uid=flight.uid, marks=marks)
        self._calls.submit(flight.attempt_id, "mend", errand)


def _is_as_shown(flight: Flight, there: Pod) -> bool:
    shown = flight.pod if flight.shown else None
    return shown is not None and meta(shown).get("resourceVersion") == meta(there).get("resourceVersion")

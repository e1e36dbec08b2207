"""All flights of a launcher, by attempt; and the pods in its namespaces that no flight explains. Used by the loop only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Protocol

from halfstep.claims import Claim, Ending
from halfstep.outcomes import Failed
from halfstep.pods import LogPosition, Past
from halfstep_worker.desk import Incoming, Outgoing, Release
from halfstep_worker.kubernetes.course import Collector, Course
from halfstep_worker.kubernetes.errands import Api, take_away, take_bare, take_garbage
from halfstep_worker.kubernetes.flight import ON_FINISH, Flight, Stage
from halfstep_worker.kubernetes.identity import attempt_of, belongs, name_of
from halfstep_worker.kubernetes.inbox import Answer, Calls
from halfstep_worker.kubernetes.objects import inside
from halfstep_worker.kubernetes.reading import OVER, ending, meta, phase
from halfstep_worker.kubernetes.record import inherit, poison
from halfstep_worker.kubernetes.timers import Timers
from halfstep_worker.kubernetes.unexplained import Unexplained
from halfstep_worker.kubernetes.values import Listed, Pod, PodGone, PodSeen, WatchEvent

Planner = Callable[[Claim], Flight | Failed]


class Logs(Collector, Protocol):
    """What of the log collection all flights need."""

    def resume(self, claim: Claim, position: LogPosition) -> None: ...

    def forget(self, flight: Flight) -> None: ...


class Flights:
    """One entry a pod: that is all that a running pod costs."""

    def __init__(
        self, cluster: str, *, installation: str, api: Api, calls: Calls, timers: Timers, planner: Planner, logs: Logs
    ) -> None:  # fmt: skip
        self._cluster = cluster
        self._installation = installation
        self._api = api
        self._calls = calls
        self._planner = planner
        self._logs = logs
        self._flights: dict[str, Flight] = {}
        self._unexplained = Unexplained(cluster, installation)
        self.alive: Callable[[], None] = lambda: None
        """Called before every plan: reading many large templates must not look like a loop that hangs."""
        self.course = Course(
            cluster, installation=installation, api=api, calls=calls, timers=timers, logs=logs, forget=self._forget
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def creating(self) -> int:
        """Flights whose pods are not acknowledged yet."""
        return sum(1 for flight in self._flights.values() if flight.stage in (Stage.INTENDED, Stage.CREATING))

    def making(self) -> int:
        """The same, without those that wait for their namespace: they keep nobody from being claimed."""
        blocked = self.course.making.blocked
        asked = Counter(flight.namespace for flight in self._flights.values() if flight.stage in (Stage.INTENDED, Stage.CREATING))
        return sum(number for namespace, number in asked.items() if blocked(namespace) is None)

    @property
    def unwritten(self) -> int:
        """Flights whose verdict is on its way to SQL."""
        return sum(1 for flight in self._flights.values() if flight.stage is Stage.ENDING)

    def take_outgoing(self) -> Outgoing:
        """What is to be written now."""
        outgoing, self.course.unsent.outgoing = self.course.outgoing, Outgoing()
        return outgoing

    # -- what the exchange says

    def hear(self, incoming: Incoming, now: float) -> None:
        """Claims, requests and receipts."""
        for claim in incoming.claims:
            self._begin(claim, incoming.pasts.get(claim.attempt_id), now)
        for claim in incoming.lost:
            self._drop(claim)
        for id in incoming.cancelled:
            self._cancel(id, now)
        for attempt_id in incoming.intended:
            self._step(attempt_id, lambda flight: self._intended(flight, now), now)
        for claim in incoming.settled:
            self._step(claim.attempt_id, self.course.settled, now)
        self._unexplained.call_strangers(incoming.strangers)
        for uid in incoming.garbage:
            self._remove_garbage(uid)

    def _begin(self, claim: Claim, past: Past | None, now: float) -> None:
        self.alive()
        planned = poison(past) or self._planner(claim)
        if isinstance(planned, Failed) and claim.pod_namespace is None:
            self.course.outgoing.endings.append(Ending(claim, planned))
            return
        if (ours := self._flights.get(claim.attempt_id)) is not None:
            self._drop(ours.claim)  # we were taken for dead, and adopt our own
        flight = planned if isinstance(planned, Flight) else Flight.adopted_as_it_is(claim, planned)
        self._flights[claim.attempt_id] = flight
        self._step(claim.attempt_id, lambda flight: self._take_up(flight, past, now), now)

    def _take_up(self, flight: Flight, past: Past | None, now: float) -> None:
        claim = flight.claim
        if claim.pod_namespace is not None:
            self._adopt(flight, claim.pod_namespace, past or Past(), now)
        if claim.pod_uid is not None:
            self.course.park(flight, claim.pod_uid, now)
        else:
            self.course.unsent.intend(flight)
        self._explain(flight, now)

    def _explain(self, flight: Flight, now: float) -> None:
        """Its pod may have been seen before it was known whose it is."""
        seen = self._unexplained.named(flight.namespace, flight.name)
        if seen is not None and belongs(seen.pod, flight, self._installation):
            self._unexplained.gone(flight.namespace, flight.name)
            self._show(flight, seen.pod, now)

    def _show(self, flight: Flight, pod: Pod, now: float) -> None:
        self.course.lookups.show(flight, now)
        self.course.see(flight, pod, now)

    def _adopt(self, flight: Flight, namespace: str, past: Past, now: float) -> None:
        claim = flight.claim
        flight.namespace, flight.adopted, flight.doubtful = namespace, True, claim.pod_uid is None or claim.pod_kept
        flight.marked = past.marked
        inherit(flight, past, now)
        self._logs.resume(claim, past.log)

    def _drop(self, claim: Claim) -> None:
        """Somebody else holds the claim, and the pod with it; we may be the ones who adopt it."""
        flight = self._flights.get(claim.attempt_id)
        if flight is not None and flight.claim.token == claim.token:
            self._forget(flight)
            if flight.pod is not None and flight.shown:  # what is not may be gone
                self._unexplained.see(PodSeen(self._cluster, flight.namespace, flight.pod))

    def _cancel(self, id: int, now: float) -> None:
        for attempt_id in [flight.attempt_id for flight in self._flights.values() if flight.claim.id == id]:
            self._step(attempt_id, lambda flight: self.course.stop(flight, "cancelled"), now)

    def _intended(self, flight: Flight, now: float) -> None:
        if not flight.recorded:
            flight.recorded = True
            if flight.stage is Stage.INTENDED:
                self.course.making.create(flight, now)

    def _step(self, attempt_id: str, act: Callable[[Flight], None], now: float) -> None:
        """One step of one attempt, if it is ours. Whatever it stumbles over is that attempt's own: nobody else's step is lost."""
        flight = self._flights.get(attempt_id)
        if flight is None:
            return
        try:
            act(flight)
        except Exception as error:
            self.course.stumbled(flight, error, now)

    def _forget(self, flight: Flight) -> None:
        self._logs.forget(flight)
        self._flights.pop(flight.attempt_id, None)
        if flight.adopted and flight.doubtful and flight.pod is not None:
            # Left standing, as a create of its earlier owner may still arrive and must meet the name; collected after that.
            self._unexplained.see(PodSeen(self._cluster, flight.namespace, flight.pod))

    # -- what API threads, watch, logs and timers say

    def answered(self, answer: Answer, now: float) -> None:
        """A call has ended."""
        self._calls.open -= 1
        if answer.call == "lookup":
            self.course.lookups.ended(now)
        self._step(answer.attempt_id, lambda flight: self.course.answered(flight, answer, now), now)
        if answer.call == "create":
            self._step(answer.attempt_id, lambda flight: self._explain(flight, now), now)

    def watched(self, event: WatchEvent, now: float) -> None:
        """A pod was seen, is gone, or a whole list was delivered."""
        match event:
            case PodSeen():
                self._seen(event, now)
            case PodGone():
                self._gone(event, now)
            case Listed():
                self._listed(event, now)

    def swept(self, events: list[PodSeen]) -> None:
        """Pods that our finalizer holds and the watch can't show. Those of flights are seen to by them."""
        self._unexplained.see_bare(event for event in events if self._flight_of(event) is None)

    def _flight_of(self, event: PodSeen | PodGone) -> Flight | None:
        """By the pod's name: its labels may say anything."""
        flight = self._flights.get(attempt_of(event.pod) or "")
        return flight if flight is not None and flight.namespace == event.namespace else None

    def _seen(self, event: PodSeen, now: float) -> None:
        flight = self._flight_of(event)
        if flight is not None and belongs(event.pod, flight, self._installation):
            self._step(flight.attempt_id, lambda flight: self._show(flight, event.pod, now), now)
            return
        self._unexplained.see(event)
        if flight is not None and flight.uid is not None:  # another pod has the name
            self._step(flight.attempt_id, lambda flight: self.course.lookups.hide(flight, now), now)

    def _gone(self, event: PodGone, now: float) -> None:
        self._unexplained.gone(event.namespace, name_of(event.pod))
        flight = self._flight_of(event)
        if flight is not None and belongs(event.pod, flight, self._installation):
            self._step(flight.attempt_id, lambda flight: self.course.lookups.hide(flight, now, last=event.pod), now)

    def _listed(self, listed: Listed, now: float) -> None:
        """What was seen or acknowledged before the list began, also to an earlier owner, and is not in it is looked up."""
        self._unexplained.listed(listed.namespace)
        for flight in list(self._flights.values()):
            if flight.namespace != listed.namespace or flight.name in listed.names:
                continue
            known = flight.pod is not None or flight.adopted or (flight.parked_at or 0.0) < listed.began
            if flight.stage is Stage.PARKED and known:
                self._step(flight.attempt_id, lambda flight: self.course.lookups.hide(flight, now), now)

    def log_finished(self, attempt_id: str, now: float) -> None:
        """A pod's log has been read to its end."""
        self._step(attempt_id, self.course.log_finished, now)

    def heard(self, attempt_id: str, word: str, now: float) -> None:
        """A timer rang."""
        self._step(attempt_id, lambda flight: self.course.heard(flight, word, now), now)

    # -- now and then

    def write_facts(self, now: float) -> None:
        """What has changed since the last call goes to SQL."""
        changed, self.course.unsent.changed = self.course.unsent.changed, set()
        for attempt_id in changed:
            flight = self._flights.get(attempt_id)
            if flight is not None and not flight.is_over:
                self._step(attempt_id, self.course.unsent.write_facts, now)

        self.course.outgoing.strangers = self._unexplained.report(now) or self.course.outgoing.strangers

    def doubt(self, now: float) -> set[str]:
        """Asks whether the pods that no flight explains are still needed by anybody, and looks for pods that are not shown.

        Returns the namespaces in which the watch has missed something: they are to be listed again.
        """
        self.course.outgoing.doubtful += self._unexplained.doubts()
        lookups = self.course.lookups
        lookups.doubt(self._flights.values(), now)
        doubted, lookups.doubted = lookups.doubted, set()
        return doubted

    def _remove_garbage(self, uid: str) -> None:
        seen = self._unexplained.with_uid(uid)
        if seen is None:
            self._remove_bare(uid)
            return
        name, runs = name_of(seen.pod), phase(seen.pod) not in OVER
        self._unexplained.gone(seen.namespace, name)
        keep = partial(take_away, self._api, seen.namespace, name, uid, keep=True, runs=runs)
        self._calls.submit(uid, "garbage", keep if _is_wanted(seen.pod) else partial(take_garbage, self._api, seen))

    def _remove_bare(self, uid: str) -> None:
        bare = self._unexplained.bare(uid)
        if bare is not None and attempt_of(bare.pod) not in self._flights:
            self._calls.submit(uid, "garbage", partial(take_bare, self._api, bare, _is_wanted))

    def leave(self) -> None:
        """Pods are handed over; what was never asked for goes back unstarted."""
        self.course.making.leaving = True
        self._hand_back("drain")

    def hand_back(self) -> int:
        """How many go back unstarted, as no pod can be made for them. One that may have been made is kept, and looked for."""
        return self._hand_back("trouble", lambda namespace: self.course.making.blocked(namespace) is not None)

    def _hand_back(self, reason: str, where: Callable[[str], bool] = lambda namespace: True) -> int:
        unasked = [
            one for one in self._flights.values() if one.stage is Stage.INTENDED and not one.doubtful and where(one.namespace)
        ]
        for flight in unasked:
            self.course.outgoing.releases.append(Release(flight.claim, reason, started=False))
            self._forget(flight)
        return len(unasked)


def _is_wanted(pod: Pod) -> bool:
    """Its program has ended, and its task wanted it kept; its name had to stay taken for a while first, or its launcher died."""
    wish = inside(meta(pod), "annotations").get(ON_FINISH)
    end = ending(pod)
    failed = phase(pod) == "Failed" or (end is not None and end.get("exitCode") != 0)
    return (phase(pod) in OVER or end is not None) and (wish == "keep" or (wish == "keep_on_failure" and failed))

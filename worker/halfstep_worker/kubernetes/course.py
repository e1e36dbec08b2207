"""The course of a flight: what an answer, a sighting or a deadline does to it. Used by the launcher's loop only.

The order that makes a second pod impossible: the intent is in SQL before the create call; the pod's name is the attempt's;
a verdict is in SQL before the pod may go; what was acknowledged and is gone is lost, never made again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from halfstep.events import emit
from halfstep.failpoints import reach
from halfstep.outcomes import Cancelled, Failed, Outcome
from halfstep_worker.children.storable import plain
from halfstep_worker.desk import Outgoing
from halfstep_worker.kubernetes.closing import LATE_CREATE_SECONDS, Closing
from halfstep_worker.kubernetes.errands import Api, make
from halfstep_worker.kubernetes.findings import Verdict, kind_of, known_of
from halfstep_worker.kubernetes.flight import Flight, Stage
from halfstep_worker.kubernetes.furnishing import Furnishing
from halfstep_worker.kubernetes.identity import as_claimed, belongs
from halfstep_worker.kubernetes.inbox import Answer, Calls
from halfstep_worker.kubernetes.lookups import LOOK_SECONDS, Lookups
from halfstep_worker.kubernetes.podevents import PodEvents
from halfstep_worker.kubernetes.podevents import told as why
from halfstep_worker.kubernetes.reading import ending, main, meta, state
from halfstep_worker.kubernetes.record import facts_of, row
from halfstep_worker.kubernetes.stops import AGAIN_SECONDS, Stops, stopping
from halfstep_worker.kubernetes.stumbles import CURELESS, UNREADABLE, stumbled_over, told
from halfstep_worker.kubernetes.timeline import trim
from halfstep_worker.kubernetes.timers import Timers
from halfstep_worker.kubernetes.values import Created, CreateOutcome, Pod, Refused, Taken, TryLater, Unavailable
from halfstep_worker.kubernetes.verdict import FORCED_SECONDS, TAKEN, judge, taken
from halfstep_worker.kubernetes.waits import Waits

CREATE_SECONDS = 10.0
"""Longest create call, on both ends; less when less is left of the lease."""
LEASE_SHARE = 0.7
"""Of what is left of the lease, the part that a create call may take."""
SHORTEST_CREATE = 0.5
HELD_SECONDS = 1.0
"""How often a pod that can't be made, as none can be made there, asks whether that is over."""
LEASE_SECONDS = 0.2
"""Before a create that too little of the lease was left for is tried again."""


class Collector(Protocol):
    """What of the log collection a flight needs."""

    def follow(self, flight: Flight) -> None: ...

    def finish(self, flight: Flight) -> None: ...

    def end(self, flight: Flight, outgoing: Outgoing) -> Outcome | None: ...


class Course:
    """Acts on flights; keeps none. `forget` is called with flights that are over."""

    def __init__(
        self, cluster: str, *, installation: str, api: Api, calls: Calls, timers: Timers, logs: Collector,
        forget: Callable[[Flight], None],
    ) -> None:  # fmt: skip
        self.outgoing = Outgoing()
        self.changed: set[str] = set()
        self.leaving = False
        self.lease_left: Callable[[], float] = lambda: CREATE_SECONDS
        self.blocked: Callable[[str], str | None] = lambda namespace: None
        """Why no pod can be made in a namespace, whatever it is. Asked by API threads, too."""
        self._cluster = cluster
        self._installation = installation
        self._api = api
        self._calls = calls
        self._timers = timers
        self._logs = logs
        self._forget = forget
        self._stops = Stops(api=api, calls=calls, timers=timers, note=lambda flight: self.changed.add(flight.attempt_id))
        self._waits = Waits(timers)
        self._events = PodEvents(api=api, calls=calls, timers=timers)
        self.lookups = Lookups(installation, api=api, calls=calls, timers=timers)
        self._closing = Closing(cluster, api=api, calls=calls, forget=forget)
        self._furnishing = Furnishing(api=api, calls=calls, timers=timers)
        self.stop = self._stops.stop
        self.settled = self._closing.settled

    # -- creating

    def intend(self, flight: Flight) -> None:
        """The intent goes to SQL first; and, of an adopted pod, that a create of its earlier owner may still arrive."""
        keep = LATE_CREATE_SECONDS if flight.adopted else None
        self.outgoing.pods[flight.attempt_id] = row(flight, self._cluster, keep_seconds=keep)

    def create(self, flight: Flight, now: float) -> None:
        """Asks for the pod, unless somebody has cancelled it, we leave, or too little is left of the lease."""
        if flight.stop_reason is not None and not flight.doubtful:
            self.end(flight, Cancelled(), "cancelled")
        elif flight.manifest is None:
            self._calls.submit(flight.attempt_id, "look", partial(self._api.get_pod, flight.namespace, flight.name))
        elif self.leaving or self._create_seconds() < SHORTEST_CREATE:
            self._timers.set(now + LEASE_SECONDS, flight.attempt_id, "create")
        elif (why := self.blocked(flight.namespace)) is not None:
            self._tell(flight, why)
            self._waits.heard(flight, now, held=False)
            self._timers.set(now + HELD_SECONDS, flight.attempt_id, "create")
        else:
            flight.stage = Stage.CREATING
            self._calls.submit(flight.attempt_id, "create", partial(self._make, flight.namespace, flight.manifest))

    def _create_seconds(self) -> float:
        return min(CREATE_SECONDS, self.lease_left() * LEASE_SHARE)

    def _make(self, namespace: str, manifests: tuple[Pod, Pod | None]) -> CreateOutcome:
        """In a thread, which may have had to wait for its turn: what is left of the lease counts now."""
        seconds = self._create_seconds()
        if seconds < SHORTEST_CREATE:
            return TryLater("The launcher's lease has to be renewed first.", LEASE_SECONDS)
        if (why := self.blocked(namespace)) is not None:
            return Unavailable(why)
        return make(self._api, namespace, manifests, seconds)

    def answered(self, flight: Flight, answer: Answer, now: float) -> None:
        """A call for this flight has ended."""
        match answer.call, answer.result:
            case "create", Created(uid=uid):
                self.park(flight, uid, now)
                flight.config_map = None
            case "create", Taken(message=message, found=found):
                self._taken(flight, message, trim(found), now)
            case "create", Refused(message=message, reason=reason):
                self._refused(flight, Failed(message, reason, final=True))
            case "create", TryLater(delay=delay, unknown=unknown, message=message) as later:
                self._waits.heard(flight, now, held=later.held is not None)
                self._try_later(flight, now + delay, message, unknown)
                if flight.stage is Stage.INTENDED and (failed := self._waits.refused(flight, later, now)) is not None:
                    self._make_no_more(flight, failed, now)
            case "create", Unavailable(message=message, unknown=unknown):
                self._waits.heard(flight, now, held=False)
                self._try_later(flight, now + HELD_SECONDS, message, unknown)
            case "create" | "furnish", error if isinstance(error, CURELESS):
                self.stumbled(flight, error, now)
            case "create", Exception() as error:
                self._waits.heard(flight, now, held=False)
                self._try_later(flight, now + 1.0, f"{type(error).__name__}: {error}", unknown=True)
            case "look", found:
                self._looked(flight, found, now)
            case "lookup", found:
                self._looked_up(flight, self.lookups.answered(flight, found, now), now)
            case "mend", Exception() if flight.pod is not None and flight.stage is Stage.PARKED:
                self.lookups.mend(flight, flight.pod, now)
            case "furnish", Taken(message=message, found=found):
                self._taken(flight, message, trim(found), now)
            case "furnish", Refused(message=message):
                self._refused(flight, Failed(message, "refused", final=True))
            case "furnish", answered:
                self._furnishing.answered(flight, answered, now)
            case "clean", Exception():
                self._timers.set(now + AGAIN_SECONDS, flight.attempt_id, "clean")
            case "clean", _:
                self._forget(flight)
            case "events", found:
                self._events.answered(flight, found, now)
                self._tell_why(flight, flight.pod or {})
            case "delete", Exception():
                self._timers.set(now + AGAIN_SECONDS, flight.attempt_id, "delete")
            case "delete", False:
                self.lookups.hide(flight, now)

    def _try_later(self, flight: Flight, at: float, message: str, unknown: bool) -> None:
        if flight.stage is not Stage.CREATING:  # the watch has shown the pod meanwhile
            self._timers.set(at, flight.attempt_id, "furnish")
            return
        flight.stage = Stage.INTENDED
        flight.doubtful = flight.doubtful or unknown
        self._tell(flight, message)
        self._timers.set(self._waits.next_try(flight, at), flight.attempt_id, "create")

    def _make_no_more(self, flight: Flight, failed: Failed, now: float) -> None:
        """It was held for too long. A create that may have been taken all the same is looked for first."""
        if flight.doubtful:
            flight.refusal, flight.manifest = failed, None
            self._timers.set(now, flight.attempt_id, "create")
        else:
            self.end(flight, failed, failed.reason)

    def park(self, flight: Flight, uid: str, now: float) -> None:
        """The API server has the pod."""
        reach("pod.acknowledged")
        if flight.is_over or flight.stage is Stage.PARKED:
            return
        flight.config_map = flight.manifest[1] if flight.manifest is not None else None
        if flight.config_map is not None and flight.stage is not Stage.CREATING:
            self._timers.set(now, flight.attempt_id, "furnish")
        flight.stage, flight.uid, flight.manifest = Stage.PARKED, uid, None
        flight.parked_at = now if flight.parked_at is None else flight.parked_at
        self.changed.add(flight.attempt_id)
        if flight.claim.alone:
            self.write_facts(flight)  # at once: the next suspect waits until this one is known to do no harm
        self._waits.parked(flight, now)
        self.lookups.later(flight, now, LOOK_SECONDS if uid else 0.0)
        if flight.stop_reason is not None:
            self._stops.delete(flight)

    def _looked(self, flight: Flight, found: object, now: float) -> None:
        """For a pod that we would not make, but that an earlier owner may have made."""
        match found:
            case dict() if belongs(ours := trim(found), flight, self._installation):
                self.see(flight, ours, now)
            case None | dict() if flight.stage is Stage.INTENDED:
                refusal = flight.refusal or Failed("The pod was never made.", "refused")
                cancelled = flight.stop_reason == "cancelled"
                self.end(flight, Cancelled() if cancelled else refusal, "cancelled" if cancelled else refusal.reason)
            case Exception():
                self._timers.set(now + AGAIN_SECONDS, flight.attempt_id, "create")

    def _taken(self, flight: Flight, message: str, found: Pod, now: float) -> None:
        """Somebody else's object has the name of the pod, or of its ConfigMap; it is neither believed nor deleted."""
        if belongs(found, flight, self._installation):
            self.see(flight, found, now)
        elif flight.stage is Stage.PARKED:  # the pod is there, the ConfigMap is another's
            self._stops.give_up(flight, Failed(plain(message), TAKEN))
        elif flight.stop_reason == "cancelled":
            self.end(flight, Cancelled(), "cancelled")
        elif not flight.is_over:
            verdict = taken(plain(message), known_of(flight, now))
            self.end(flight, verdict.outcome, verdict.kind)

    def _refused(self, flight: Flight, failed: Failed) -> None:
        if flight.stage is Stage.PARKED:  # the pod is there, what it reads was refused
            self._stops.give_up(flight, failed)
        elif not flight.is_over:
            self.end(flight, failed, failed.reason)

    # -- watching

    def see(self, flight: Flight, pod: Pod, now: float) -> None:
        """The pod as it is now."""
        raw, pod = pod, as_claimed(pod, flight)
        flight.pod = pod
        self.park(flight, str(pod["metadata"]["uid"]), now)
        if flight.is_over:
            return
        flight.pod = pod = self._waits.seen(flight, pod, now)
        if meta(pod).get("deletionTimestamp") and ending(pod) is None:
            self._note_deletion(flight, pod, now)
        if not flight.followed and state(main(pod), "running") is not None:
            self._start(flight, now)
        self._events.seen(flight, pod, now)
        self._tell_why(flight, pod)
        self.changed.add(flight.attempt_id)
        self._judge(flight, pod, now)
        if flight.stage is Stage.PARKED:
            self.lookups.mend(flight, raw, now)
        self._stops.give_up_the_hopeless(flight)

    def _note_deletion(self, flight: Flight, pod: Pod, now: float) -> None:
        flight.deleted_early = True
        if flight.forced_since is None and pod["metadata"].get("deletionGracePeriodSeconds") == 0:
            flight.forced_since = now
            self._timers.set(now + FORCED_SECONDS + 1.0, flight.attempt_id, "judge")

    def _start(self, flight: Flight, now: float) -> None:
        """It runs; if an earlier owner has seen that too, its timeout goes on."""
        flight.followed = True
        flight.running_since = now if flight.running_since is None else flight.running_since
        self._logs.follow(flight)
        if flight.claim.timeout is not None:
            self._timers.set(flight.running_since + flight.claim.timeout, flight.attempt_id, "timeout")

    def _looked_up(self, flight: Flight, there: Pod | None, now: float) -> None:
        if there:
            self.see(flight, there, now)
        elif there is not None:
            self.gone(flight, flight.pod or {}, now)

    def gone(self, flight: Flight, pod: Pod, now: float) -> None:
        """The object does not exist any more, before the verdict: it is lost."""
        if flight.stage is Stage.PARKED:
            flight.vanished = True
            self._judge(flight, pod or flight.pod or {}, now)

    def _judge(self, flight: Flight, pod: Pod, now: float) -> None:
        verdict = judge(pod, known_of(flight, now))
        if verdict is not None:
            self._decide(flight, verdict)

    # -- ends

    def _decide(self, flight: Flight, verdict: Verdict) -> None:
        """The verdict is known; the log is read to its end first, as long as the pod is there."""
        reach("pod.verdict")
        flight.stage = Stage.ENDING
        flight.verdict, flight.kind, flight.framed = verdict.outcome, verdict.kind, verdict.framed
        self._logs.finish(flight)

    def log_finished(self, flight: Flight) -> None:
        """The log is in, so the verdict may be written; it may have stood in the log."""
        framed = self._logs.end(flight, self.outgoing)
        if flight.verdict is None or flight.stage is not Stage.ENDING:
            return
        if framed is not None:
            flight.verdict, flight.kind = framed, kind_of(framed)
        self._closing.write(flight, flight.verdict, self.outgoing)

    def end(self, flight: Flight, outcome: Outcome, kind: str) -> None:
        """An end without a pod."""
        flight.stage = Stage.ENDING
        flight.verdict, flight.kind = outcome, kind
        self._closing.write(flight, outcome, self.outgoing)

    def stumbled(self, flight: Flight, error: Exception, now: float) -> None:
        """We can't make sense of something of this flight: it ends, and it alone. A pod that may be there is looked for first."""
        emit("pod.stumbled", task=flight.claim.id, error=told(error))
        what = "what the cluster, or the program itself, says of the task's pod"
        failed = Failed(stumbled_over(what, error), UNREADABLE, final=True)
        if flight.stage is Stage.CLEANING:
            self._timers.set(now + AGAIN_SECONDS, flight.attempt_id, "clean")
        elif flight.stage is Stage.CREATING or (flight.stage is Stage.INTENDED and flight.doubtful):
            flight.stage, flight.doubtful, flight.refusal, flight.manifest = Stage.INTENDED, True, failed, None
            self._timers.set(now + AGAIN_SECONDS, flight.attempt_id, "create")
        elif not flight.written:
            if flight.uid is not None:
                self._stops.delete(flight)
            self._closing.break_off(flight, failed, self.outgoing)

    # -- deadlines, and what people see

    def heard(self, flight: Flight, word: str, now: float) -> None:
        """A timer rang; it may mean nothing any more."""
        match word:
            case "create" if flight.stage is Stage.INTENDED:
                self.create(flight, now)
            case "timeout" if not flight.is_over:
                self.stop(flight, "timeout")
            case "startup" if flight.stage is Stage.PARKED and flight.running_since is None:
                self._stops.expire(flight, now)
            case "silence" if flight.stage is Stage.PARKED and flight.pod is not None:
                self._events.heard(flight, now)
                self._tell_why(flight, flight.pod)
            case "queue" if flight.stage is Stage.PARKED:
                self._stops.end_the_queueing(flight, now)
            case "judge" if flight.stage is Stage.PARKED and flight.pod is not None:
                self._judge(flight, flight.pod, now)
            case "delete" if flight.stage is Stage.PARKED:
                self._stops.delete(flight)
            case "furnish" if flight.stage is Stage.PARKED:
                self._furnishing.make(flight, seconds=CREATE_SECONDS)
            case "lookup":
                self.lookups.rang(flight)
            case "mend" if flight.stage is Stage.PARKED and flight.pod is not None:
                flight.mending = False
                self.lookups.mend(flight, flight.pod, now)
            case "clean" if flight.stage is Stage.CLEANING:
                self._closing.clean(flight)

    def _tell_why(self, flight: Flight, pod: Pod) -> None:
        if flight.stage is Stage.PARKED:
            self._tell(flight, why(flight, pod) or stopping(flight))

    def _tell(self, flight: Flight, reason: str | None) -> None:
        if flight.waiting != reason:
            flight.waiting = reason
            self.changed.add(flight.attempt_id)

    def write_facts(self, flight: Flight) -> None:
        """What is known of the pod goes to SQL."""
        self.outgoing.pods[flight.attempt_id] = row(flight, self._cluster, told=facts_of(flight))

"""The course of a flight: what an answer, a sighting or a deadline does to it. Used by the launcher's loop only.

The order that makes a second pod impossible: the intent is in SQL before the create call; the pod's name is the attempt's;
a verdict is in SQL before the pod may go; what was acknowledged and is gone is lost, never made again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from halfstep.events import emit
from halfstep.failpoints import reach
from halfstep.outcomes import Failed, Outcome
from halfstep_worker.children.storable import plain
from halfstep_worker.desk import Outgoing
from halfstep_worker.kubernetes.closing import Closing
from halfstep_worker.kubernetes.errands import Api
from halfstep_worker.kubernetes.findings import Verdict, kind_of, known_of
from halfstep_worker.kubernetes.flight import Flight, Stage
from halfstep_worker.kubernetes.furnishing import Furnishing
from halfstep_worker.kubernetes.identity import as_claimed
from halfstep_worker.kubernetes.inbox import Answer, Calls
from halfstep_worker.kubernetes.lookups import LOOK_SECONDS, Lookups
from halfstep_worker.kubernetes.making import CREATE_SECONDS, HELD_SECONDS, Making
from halfstep_worker.kubernetes.podevents import PodEvents
from halfstep_worker.kubernetes.podevents import told as why
from halfstep_worker.kubernetes.reading import ending, main, meta, state
from halfstep_worker.kubernetes.stops import AGAIN_SECONDS, Stops, stopping
from halfstep_worker.kubernetes.stumbles import CURELESS, UNREADABLE, stumbled_over, told
from halfstep_worker.kubernetes.timeline import trim
from halfstep_worker.kubernetes.timers import Timers
from halfstep_worker.kubernetes.unsent import Unsent
from halfstep_worker.kubernetes.values import Created, Pod, Refused, Taken, TryLater, Unavailable
from halfstep_worker.kubernetes.verdict import FORCED_SECONDS, TAKEN, judge
from halfstep_worker.kubernetes.waits import Waits


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
        self.unsent = Unsent(cluster)
        self._calls = calls
        self._timers = timers
        self._logs = logs
        self._forget = forget
        self._stops = Stops(api=api, calls=calls, timers=timers, note=self.unsent.note)
        self._waits = Waits(timers)
        self._events = PodEvents(api=api, calls=calls, timers=timers)
        self.lookups = Lookups(installation, api=api, calls=calls, timers=timers)
        self._closing = Closing(cluster, api=api, calls=calls, forget=forget)
        self._furnishing = Furnishing(api=api, calls=calls, timers=timers)
        self.making = Making(
            installation, api=api, calls=calls, timers=timers, waits=self._waits, stops=self._stops, closing=self._closing,
            unsent=self.unsent,
        )  # fmt: skip
        self.stop = self._stops.stop
        self.settled = self._closing.settled

    @property
    def outgoing(self) -> Outgoing:
        """What is to be written now."""
        return self.unsent.outgoing

    # -- answers

    def answered(self, flight: Flight, answer: Answer, now: float) -> None:
        """A call for this flight has ended."""
        match answer.call, answer.result:
            case "create", Created(uid=uid, beside=beside):
                self.park(flight, uid, now)
                flight.config_map = flight.config_map if beside else None
                if beside is not None:  # the pod is there, and may start: what it lacks is seen to as for any such pod
                    self.answered(flight, Answer(flight.attempt_id, "furnish", beside), now)
            case "create", Taken(message=message, found=found):
                self._see_found(flight, self.making.taken(flight, message, trim(found), now), now)
            case "create", Refused(message=message, reason=reason):
                self.making.refused(flight, Failed(message, reason, final=True), now)
            case "create", TryLater(delay=delay, unknown=unknown, message=message) as later:
                self._waits.heard(flight, now, held=later.held is not None)
                self.making.try_later(flight, delay, message, unknown, now)
                if flight.stage is Stage.INTENDED and (failed := self._waits.refused(flight, later, now)) is not None:
                    self.making.make_no_more(flight, failed, now)
            case "create", Unavailable(message=message, unknown=unknown):
                self._waits.heard(flight, now, held=False)
                self.making.try_later(flight, HELD_SECONDS, message, unknown, now)
            case "create" | "furnish", error if isinstance(error, CURELESS):
                self.stumbled(flight, error, now)
            case "create", Exception() as error:
                self._waits.heard(flight, now, held=False)
                self.making.try_later(flight, 1.0, f"{type(error).__name__}: {error}", True, now)
            case "look", found:
                self._see_found(flight, self.making.looked(flight, found, now), now)
            case "lookup", Exception() as error if flight.stage is Stage.PARKED:
                self.unsent.tell(flight, f"The pod can't be looked at: {plain(str(error))}")
                self.lookups.answered(flight, error, now)
            case "lookup", found:
                self._looked_up(flight, self.lookups.answered(flight, found, now), now)
            case "mend", Exception() if flight.pod is not None and flight.stage is Stage.PARKED:
                self.lookups.mend(flight, flight.pod, now)
            case "furnish", Taken(message=message):
                self.making.refused(flight, Failed(plain(message), TAKEN), now)
            case "furnish", Refused(message=message):
                self.making.refused(flight, Failed(message, "refused", final=True), now)
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
            case "delete", False:  # it is gone, or there was a conflict, which may be somebody's denial
                self.lookups.hide(flight, now)
                self._timers.set(now + AGAIN_SECONDS, flight.attempt_id, "delete")

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
        self.unsent.note(flight)
        if flight.claim.alone:
            self.unsent.write_facts(flight)  # at once: the next suspect waits until this one is known to do no harm
        self._waits.parked(flight, now)
        self.lookups.later(flight, now, LOOK_SECONDS if uid else 0.0)
        if flight.stop_reason is not None:
            self._stops.delete(flight)

    # -- watching

    def _see_found(self, flight: Flight, pod: Pod | None, now: float) -> None:
        if pod is not None:
            self.see(flight, pod, now)

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
        self.unsent.note(flight)
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
                self.making.create(flight, now)
            case "timeout" if not flight.is_over:
                self.stop(flight, "timeout")
            case "startup" if flight.stage is Stage.PARKED and flight.running_since is None:
                if self._is_seen(flight, word, now):
                    self._stops.expire(flight, now)
            case "silence" if flight.stage is Stage.PARKED and flight.pod is not None:
                self._events.heard(flight, now)
                self._tell_why(flight, flight.pod)
            case "queue" if flight.stage is Stage.PARKED:
                if self._is_seen(flight, word, now):
                    self._stops.end_the_queueing(flight, now)
            case "judge" if flight.stage is Stage.PARKED and flight.pod is not None:
                self._judge(flight, flight.pod, now)
            case "delete" if flight.stage is Stage.PARKED:
                self._stops.delete(flight)
            case "furnish" if flight.stage is Stage.PARKED:
                self._furnishing.make(flight, seconds=CREATE_SECONDS)
            case "lookup":
                self.lookups.rang(flight, now)
            case "mend" if flight.stage is Stage.PARKED and flight.pod is not None:
                flight.mending = False
                self.lookups.mend(flight, flight.pod, now)
            case "clean" if flight.stage is Stage.CLEANING:
                self._closing.clean(flight)

    def _is_seen(self, flight: Flight, word: str, now: float) -> bool:
        """Whether a limit may end it now. What nobody could see when it was over may have begun since: it is read first."""
        if self.making.blocked(flight.namespace) is not None:
            flight.unseen = True
        elif flight.unseen:
            self.lookups.hide(flight, now)
        else:
            return True
        self._timers.set(now + HELD_SECONDS, flight.attempt_id, word)
        return False

    def _tell_why(self, flight: Flight, pod: Pod) -> None:
        if flight.stage is Stage.PARKED:
            self.unsent.tell(flight, why(flight, pod) or stopping(flight))

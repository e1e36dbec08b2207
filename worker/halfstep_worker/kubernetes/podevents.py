"""Why a pod does not start that names no reason itself: a volume, its sandbox, a pull secret. Only the cluster's events tell.

Optional: a launcher that may not list events goes on without. Anybody who may write events in the namespace may write these: they
are shown to people, and the word that goes with a failure is all that is decided by them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from threading import BoundedSemaphore
from typing import Any

from halfstep.events import emit
from halfstep.visible import visible_line
from halfstep_worker.children.storable import plain
from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.errands import Api
from halfstep_worker.kubernetes.flight import Flight, Silence
from halfstep_worker.kubernetes.inbox import Calls
from halfstep_worker.kubernetes.objects import inside
from halfstep_worker.kubernetes.pending import MESSAGE_CHARACTERS, Obstacle, obstacle, silence, waiting_reason, with_event
from halfstep_worker.kubernetes.reading import condition, has_started, meta, phase, seconds
from halfstep_worker.kubernetes.timers import Timers
from halfstep_worker.kubernetes.values import Pod

SILENCE_SECONDS = 3.0
"""So long all may be on its way; then it is said what is known."""
AGAIN_SECONDS = (10.0, 20.0, 40.0, 60.0)
"""Between the readings of one pod's events."""
SPACING_SECONDS = 0.05
"""Between two readings of any pods."""
BUSY_SECONDS = 1.0
READERS = 2
"""Threads that read events at a time, of all that wait for the API server: creating pods comes first."""
FORBIDDEN_SECONDS = 600.0
SAME_ROUND_SECONDS = 150.0
"""A kubelet tries every volume again within this time: what it last said of one longer ago is over."""
MOST_EVENTS = 3

_MOUNT = {"FailedMount", "FailedAttachVolume", "FailedMapVolume"}
_BEFORE_IMAGES = _MOUNT | {"FailedCreatePodSandBox", "NetworkNotReady", "FailedPrepareDynamicResources"}
# The pod itself tells of these while they hold it; when it does not, they are over.
_TOLD_BY_THE_POD = {"FailedScheduling", "Failed", "BackOff", "ErrImageNeverPull", "InspectFailed"}
_PROGRESS = {"Pulling", "Pulled", "Created", "Started"}
_PULL_SECRET = "FailedToRetrieveImagePullSecret"
_WORDS = {
    "Pulling": "Its node is pulling an image",
    "Unhealthy": "A probe of it fails",
    "FailedCreatePodSandBox": "Its sandbox can't be made",
    _PULL_SECRET: "A pull secret is missing",
} | dict.fromkeys(_MOUNT, "A volume of it is not there")


class PodEvents:
    """Used by the launcher's loop only; the timer is called `silence`."""

    def __init__(self, *, api: Api, calls: Calls, timers: Timers) -> None:
        self._api = api
        self._calls = calls
        self._timers = timers
        self._readers = BoundedSemaphore(READERS)
        self._next_at = 0.0
        self._forbidden: dict[str, float] = {}

    def seen(self, flight: Flight, pod: Pod, now: float) -> None:
        """Begins to wait for a reason, or has one."""
        what = _silence_of(pod)
        if what is None:
            flight.silence = None
        elif flight.silence is None or flight.silence.what != what:
            flight.silence = Silence(what, now + SILENCE_SECONDS)
            self._timers.set(now + SILENCE_SECONDS, flight.attempt_id, "silence")

    def heard(self, flight: Flight, now: float) -> None:
        """The timer rang, perhaps that of an earlier silence."""
        silent = flight.silence
        if silent is None or now < silent.look_at:
            return
        silent.lasts = True
        if silent.has_turn or (turn := self._turn(now)) <= now:
            self._read(flight, now)
            silent.has_turn, silent.looks = False, silent.looks + 1
            turn = now + AGAIN_SECONDS[min(silent.looks, len(AGAIN_SECONDS)) - 1]
        else:
            silent.has_turn = True
        silent.look_at = turn
        self._timers.set(turn, flight.attempt_id, "silence")

    def _turn(self, now: float) -> float:
        """When the next may read, however many ask at once."""
        turn = max(now, self._next_at)
        self._next_at = turn + SPACING_SECONDS
        return turn

    def _read(self, flight: Flight, now: float) -> None:
        if now >= self._forbidden.get(flight.namespace, 0.0):
            errand = partial(read_events, self._api, self._readers, flight.namespace, flight.uid or "")
            self._calls.submit(flight.attempt_id, "events", errand)

    def answered(self, flight: Flight, answer: object, now: float) -> None:
        """None: nobody had the time. What went wrong is tried again, and told once if we may not."""
        if isinstance(answer, ApiError) and answer.status == 403:
            self._forbid(flight.namespace, answer, now)
        if flight.silence is None or flight.pod is None:
            return
        if answer is None:
            flight.silence.look_at = now + BUSY_SECONDS
            self._timers.set(flight.silence.look_at, flight.attempt_id, "silence")
        elif isinstance(answer, list):
            flight.silence.event = event_of(answer, flight.pod)

    def _forbid(self, namespace: str, error: ApiError, now: float) -> None:
        if namespace not in self._forbidden:
            emit("pod.events_forbidden", namespace=namespace, error=plain(str(error)))
        self._forbidden[namespace] = now + FORBIDDEN_SECONDS


def read_events(api: Api, readers: BoundedSemaphore, namespace: str, uid: str) -> list[Pod] | None:
    """In a thread that waits for the API server; None at once if enough others do this."""
    if not readers.acquire(blocking=False):
        return None
    try:
        return api.pod_events(namespace, uid)
    finally:
        readers.release()


def told(flight: Flight, pod: Pod) -> str | None:
    """Why it does not start, in a sentence, or None."""
    silent = flight.silence
    if silent is None:
        return waiting_reason(pod)
    if (found := with_event(obstacle(pod), silent.event)) is not None:
        return visible_line(found.sentence)
    return silent.what.sentence if silent.lasts else None


def _silence_of(pod: Pod) -> Obstacle | None:
    """What it is silent about: a new silence begins when that changes. Of an image, only a pull secret is asked for."""
    if has_started(pod) or phase(pod) not in ("", "Pending") or meta(pod).get("deletionTimestamp"):
        return None
    found = obstacle(pod)
    if found is None:
        return silence(pod)
    return Obstacle("image", "") if found.reason == "image" else None


# -- what events say


def event_of(events: Iterable[Any], pod: Pod) -> Obstacle | None:
    """What holds the pod, by the newest of its events that still can."""
    found = _without_what_is_done(sorted((event for event in events if _counts(event, pod)), key=_at))
    if not found:
        return None
    reason = str(found[-1].get("reason"))
    texts = _volumes(found) if reason in _MOUNT else [_text(found[-1])]
    said = f"{_WORDS.get(reason, 'The cluster says of it')} ({visible_line(reason)[:100]}): {'; '.join(texts)}."
    return Obstacle(_word(reason, texts), f"{silence(pod).sentence} {said}" if reason == "Unhealthy" else said)


def _without_what_is_done(found: list[Pod]) -> list[Pod]:
    """An image is being pulled until it is there; the rest of what goes well holds nothing."""
    last = next((str(event.get("reason")) for event in reversed(found) if str(event.get("reason")) in _PROGRESS), None)
    over = _PROGRESS - {"Pulling"} if last == "Pulling" else _PROGRESS
    return [event for event in found if str(event.get("reason")) not in over]


def _counts(event: Any, pod: Pod) -> bool:
    reason = str(inside(event).get("reason") or "")
    uid = inside(event, "involvedObject").get("uid")
    if not reason or uid != meta(pod).get("uid") or reason in _TOLD_BY_THE_POD:
        return False
    if (obstacle(pod) or silence(pod)).reason == "image":
        return reason == _PULL_SECRET
    if reason in _BEFORE_IMAGES and condition(pod, "PodReadyToStartContainers").get("status") == "True":
        return False
    return event.get("type") == "Warning" or reason in _PROGRESS


def _at(event: Pod) -> float:
    """When it was last seen, by the cluster's clock; events are compared with one another only."""
    times = (inside(event, "series").get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    known = [at for at in map(seconds, (*times, event.get("firstTimestamp"))) if at is not None]
    return known[0] if known else 0.0


def _volumes(found: list[Pod]) -> list[str]:
    """Of each volume what was said last, the newest first; what says only that some are missing, where nothing says more."""
    since = _at(found[-1]) - SAME_ROUND_SECONDS
    recent = [event for event in reversed(found) if str(event.get("reason")) in _MOUNT and _at(event) >= since]
    texts = list(dict.fromkeys(map(_text, recent)))
    named = [text for text in texts if not text.startswith("Unable to attach or mount volumes")]
    return (named or texts)[:MOST_EVENTS]


def _text(event: Pod) -> str:
    said = str(event.get("message") or "no more is said")[: 2 * MESSAGE_CHARACTERS]  # of any length: nobody checks old events
    return visible_line(said.strip()).rstrip(".")[: MESSAGE_CHARACTERS // MOST_EVENTS]


def _word(reason: str, texts: list[str]) -> str:
    if reason == _PULL_SECRET:
        return "image"
    missing = reason in _MOUNT and any("not found" in text or "non-existent" in text for text in texts)
    return "config" if missing else "startup"

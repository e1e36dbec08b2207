"""The ConfigMap of a pod that another owner made, or that the watch showed before its create call ended: it may be lacking."""

from __future__ import annotations

from functools import partial

from halfstep_worker.kubernetes.errands import Api
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.inbox import Calls
from halfstep_worker.kubernetes.manifest import owned_by
from halfstep_worker.kubernetes.reading import has_started
from halfstep_worker.kubernetes.stops import AGAIN_SECONDS
from halfstep_worker.kubernetes.timers import Timers
from halfstep_worker.kubernetes.values import Created, TryLater


class Furnishing:
    """The word of its timers and calls is `furnish`."""

    def __init__(self, *, api: Api, calls: Calls, timers: Timers) -> None:
        self._api = api
        self._calls = calls
        self._timers = timers

    def make(self, flight: Flight, *, seconds: float) -> None:
        """Asks for it, owned by the pod, unless the pod has started and so has it."""
        if flight.config_map is None or flight.running_since is not None or (flight.pod and has_started(flight.pod)):
            flight.config_map = None
            return
        owned = owned_by(flight.config_map, flight.uid or "")
        self._calls.submit(
            flight.attempt_id, "furnish", partial(self._api.create_config_map, flight.namespace, owned, seconds=seconds)
        )

    def answered(self, flight: Flight, answer: object, now: float) -> None:
        """It is there, or will be asked for again."""
        if isinstance(answer, Created):
            flight.config_map = None
        else:
            delay = answer.delay if isinstance(answer, TryLater) else AGAIN_SECONDS
            self._timers.set(now + delay, flight.attempt_id, "furnish")

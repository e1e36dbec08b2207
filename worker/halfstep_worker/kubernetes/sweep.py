"""Now and then a whole namespace is looked through for pods that our finalizer holds and no watch shows: without our label.

A running attempt's pod is looked up by its name anyway; this finds those of attempts that are over. Used by the loop only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from halfstep_worker.kubernetes.api import PodPage
from halfstep_worker.kubernetes.identity import attempt_of, is_another_installations, is_held, uid_of
from halfstep_worker.kubernetes.inbox import Calls
from halfstep_worker.kubernetes.names import INSTALLATION
from halfstep_worker.kubernetes.objects import inside
from halfstep_worker.kubernetes.reading import meta
from halfstep_worker.kubernetes.timeline import trim
from halfstep_worker.kubernetes.values import Pod, PodSeen

FIRST_SECONDS = 60.0
"""After the start: what it finds is in no hurry, and adoption is."""
SWEEP_SECONDS = 3600.0
AGAIN_SECONDS = 300.0
"""After a page that could not be read."""
SWEEP = "sweep"


class SweepApi(Protocol):
    """What of `ClusterApi` is needed."""

    def list_pods(self, namespace: str, *, selector: str, page: str = "") -> PodPage: ...


@dataclass(frozen=True, slots=True)
class Swept:
    """What one page held of such pods. more: names the next page; empty after the last."""

    pods: list[PodSeen]
    more: str


class Sweep:
    """One page at a time: the word of its calls is `sweep`."""

    def __init__(self, cluster: str, *, namespaces: Sequence[str], installation: str, api: SweepApi, calls: Calls) -> None:
        self._cluster = cluster
        self._namespaces = namespaces
        self._installation = installation
        self._api = api
        self._calls = calls
        self._rest: list[str] = []
        self._at: float | None = None

    def turn(self, now: float) -> None:
        """Begins when it is due."""
        if self._at is None:
            self._at = now + FIRST_SECONDS
        if now >= self._at and not self._rest:
            self._at, self._rest = now + SWEEP_SECONDS, list(self._namespaces)
            self._read("")

    def answered(self, answer: object, now: float) -> list[PodSeen]:
        """A page is there, and the next one is asked for. Returns what it held."""
        swept = answer if isinstance(answer, Swept) else Swept([], "")
        if answer is not swept:
            self._at = now + AGAIN_SECONDS
        if not swept.more:
            self._rest.pop(0)
        if self._rest:
            self._read(swept.more)
        return swept.pods

    def _read(self, page: str) -> None:
        self._calls.submit("", SWEEP, partial(self._look, self._rest[0], page))

    def _look(self, namespace: str, page: str) -> Swept:
        """In a thread."""
        found = self._api.list_pods(namespace, selector="", page=page)
        pods = [PodSeen(self._cluster, namespace, trim(pod)) for pod in found.pods if self._is_bare(pod)]
        return Swept(pods, found.more)

    def _is_bare(self, pod: Pod) -> bool:
        hidden = inside(meta(pod), "labels").get(INSTALLATION) != self._installation
        ours = not is_another_installations(pod, self._installation)
        return hidden and ours and bool(uid_of(pod)) and attempt_of(pod) is not None and is_held(pod)

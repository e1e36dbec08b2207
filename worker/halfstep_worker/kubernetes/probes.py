"""While pods can't be made, or read, somewhere, one dry run at a time asks whether they can again. Used by the loop only.

It asks from the first failure on: a single one is everyday, and is over before anybody is told of it.
"""

from __future__ import annotations

import random
from functools import partial
from typing import Protocol

from halfstep_worker.kubernetes.inbox import Calls
from halfstep_worker.kubernetes.throttle import backed_off
from halfstep_worker.kubernetes.trouble import Troubles

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 5.0
CREATES = {"create pods": "pods", "create configmaps": "configmaps"}
OF_SINGLE_PODS = ("get pods", "get configmaps", "get pods/log", "delete pods", "patch pods")
"""When these get on again nobody may have a pod to ask it of; it is asked of one that does not exist."""
PROBE = "probe"


class ProbeApi(Protocol):
    """What of `ClusterApi` is needed."""

    @property
    def troubles(self) -> Troubles: ...

    def probe(self, namespace: str, kind: str) -> None: ...

    def touch(self, namespace: str, part: str) -> None: ...


class Probes:
    """The answers come to the inbox with no attempt's name, and mean nothing there: `troubles` knows."""

    def __init__(self, api: ProbeApi, calls: Calls) -> None:
        self._api = api
        self._calls = calls
        self._tries: dict[tuple[str, str], tuple[int, float]] = {}
        """By namespace and part: how many there were, and when the last one was sent (monotonic)."""
        self._under_way: set[tuple[str, str]] = set()  # taken out by API threads

    def turn(self, now: float) -> None:
        """Sends those that are due."""
        asked = [(namespace, part) for namespace, part in self._api.troubles.open() if part in CREATES or part in OF_SINGLE_PODS]
        for key in self._tries.keys() - asked:  # well: the back-off begins afresh
            self._tries[key] = 0, self._tries[key][1]
        for key in asked:
            self._try(key, now)

    def _try(self, key: tuple[str, str], now: float) -> None:
        tries, last = self._tries.get(key, (0, now - FIRST_SECONDS))
        pause = backed_off(max(tries, 1), first=FIRST_SECONDS, cap=LONGEST_SECONDS, luck=random.random())
        if key not in self._under_way and now - last >= pause:
            self._tries[key] = tries + 1, now
            self._under_way.add(key)
            self._calls.submit("", PROBE, partial(self._send, key))

    def _send(self, key: tuple[str, str]) -> None:
        try:
            namespace, part = key
            if part in CREATES:
                self._api.probe(namespace, CREATES[part])
            else:
                self._api.touch(namespace, part)
        finally:
            self._under_way.discard(key)

"""While pods can't be made somewhere, one dry run at a time asks whether they can again. Used by the loop only."""

from __future__ import annotations

import random
from functools import partial
from typing import Protocol

from halfstep_worker.kubernetes.inbox import Calls
from halfstep_worker.kubernetes.throttle import backed_off
from halfstep_worker.kubernetes.trouble import Troubles

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 5.0
CALM_SECONDS = 30.0
"""A place that was well for so long begins the back-off afresh."""
PROBE = "probe"


class ProbeApi(Protocol):
    """What of `ClusterApi` is needed."""

    @property
    def troubles(self) -> Troubles: ...

    def probe(self, namespace: str, kind: str) -> None: ...


class Probes:
    """The answers come to the inbox with no attempt's name, and mean nothing there: `troubles` knows."""

    def __init__(self, api: ProbeApi, calls: Calls) -> None:
        self._api = api
        self._calls = calls
        self._tries: dict[tuple[str, str], tuple[int, float]] = {}
        """By namespace and kind: how many there were, and when the last one was sent (monotonic)."""
        self._under_way: set[tuple[str, str]] = set()  # taken out by API threads

    def turn(self, now: float) -> None:
        """Sends those that are due."""
        for trouble in self._api.troubles.standing():
            verb, _, kind = trouble.part.partition(" ")
            if verb == "create" and trouble.blocks:
                self._try((trouble.namespace, kind), now)

    def _try(self, key: tuple[str, str], now: float) -> None:
        tries, last = self._tries.get(key, (0, now - CALM_SECONDS))
        if now - last >= CALM_SECONDS:
            tries = 0
        pause = backed_off(max(tries, 1), first=FIRST_SECONDS, cap=LONGEST_SECONDS, luck=random.random())
        if key not in self._under_way and (tries == 0 or now - last >= pause):
            self._tries[key] = tries + 1, now
            self._under_way.add(key)
            self._calls.submit("", PROBE, partial(self._send, key))

    def _send(self, key: tuple[str, str]) -> None:
        try:
            self._api.probe(*key)
        finally:
            self._under_way.discard(key)

"""Scale-in that hurts nobody, in phases. First SQL closes workers that hold nothing, in the statement that proves it; then their
pods are marked as the cheapest to delete; then everything is looked at again, and the number is lowered by exactly the pods that
stand at the front and hold nothing.

It can stop after any step: a drained worker that nobody came for leaves, and its pod starts another; a mark whose worker is gone
is taken off; and a number that is lowered twice meets another version of the Deployment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from halfstep.scaling import ScalingBook, WorkerLoad
from halfstep_scaler.direct.cluster import Cluster, Scale
from halfstep_scaler.direct.fleet import COST, IDLE, LEAST_COST, LEAVING, MARK, STALE, Fleet, Pod, pods_of, survey

TRIES = 5
MOST_AT_ONCE = 100
HANDS = 8
"""Pods marked at the same time."""


@dataclass(frozen=True, slots=True)
class Order:
    """floor: replicas that have to stay. still: whether we may still act, asked before every write."""

    namespace: str
    deployment: str
    placement: str
    floor: int
    still: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Lowered:
    """What came of it. reason: why it is not lower yet, empty if it is as low as it should be. marks: pods still marked."""

    before: int
    after: int
    reason: str
    marks: int


@dataclass(frozen=True, slots=True)
class View:
    """One look: the number as `version` of the Deployment has it, and its pods since."""

    scale: Scale
    fleet: Fleet

    def excess(self, floor: int) -> int:
        """How many are not needed."""
        return max(0, self.scale.replicas - floor)


class Descent:
    """Used by one thread. Raises ApiError and DatabaseUnavailable."""

    def __init__(self, cluster: Cluster, book: ScalingBook) -> None:
        self._cluster = cluster
        self._book = book

    def step(self, order: Order) -> Lowered:
        """Lowers the number as far as it can be lowered now. Also takes stale marks off, whatever is wanted."""
        view = self._tidy(order, self._look(order))
        if not view.fleet.unsettled:
            view = self._tidy(order, self._drain(order, view))
        number = self._removable(order, view)
        if number and order.still():
            self._set(order, view, number)
        return _told(order, view, number)

    def _look(self, order: Order) -> View:
        # The number first: if anything that Kubernetes knows of changes after that, lowering it is refused.
        scale = self._cluster.scale(order.namespace, order.deployment)
        pods = pods_of(self._cluster.pods(order.namespace, scale.selector), order.deployment)
        loads = self._book.loads(placement=order.placement, hosts=[pod.name for pod in pods])
        return View(scale, survey(scale.replicas, pods, loads, now=time.time()))

    def _tidy(self, order: Order, view: View) -> View:
        """Stale marks are in the way of good ones. Looking takes time, in which drained workers leave and others begin."""
        for _ in range(TRIES):
            stale = view.fleet.of(STALE)
            if not stale or view.fleet.unsettled or not order.still():
                break
            self._annotate(order, [(pod, None) for pod in stale])
            view = self._look(order)
        return view

    def _drain(self, order: Order, view: View) -> View:
        # Who is not ready goes before all who are: so those are drained first, and the others only if that is enough.
        drained = self._close(order, view, ready=False)
        if not drained and not view.fleet.of(IDLE, ready=False) and not view.fleet.blocker():
            drained = self._close(order, view, ready=True)
        if not drained:
            return view
        pods = {pod.name: pod for pod, _ in view.fleet.ranked}
        self._annotate(order, [(pods[load.host], load.id) for load in drained])
        return self._look(order)

    def _close(self, order: Order, view: View, *, ready: bool) -> Sequence[WorkerLoad]:
        most = min(MOST_AT_ONCE, view.excess(order.floor) - view.fleet.removable())
        hosts = [pod.name for pod in view.fleet.of(IDLE, ready=ready)]
        if most <= 0 or not hosts or not order.still():
            return []
        return self._book.drain_idle(most, placement=order.placement, hosts=hosts)

    def _annotate(self, order: Order, marks: Sequence[tuple[Pod, str | None]]) -> None:
        def mark(each: tuple[Pod, str | None]) -> None:
            pod, worker = each
            values = {COST: None, MARK: None} if worker is None else {COST: LEAST_COST, MARK: pod.mark_for(worker)}
            self._cluster.annotate(order.namespace, pod.name, uid=pod.uid, values=values)

        with ThreadPoolExecutor(HANDS, thread_name_prefix="marks") as hands:
            list(hands.map(mark, marks))

    def _removable(self, order: Order, view: View) -> int:
        return 0 if view.fleet.unsettled else min(view.excess(order.floor), view.fleet.removable())

    def _set(self, order: Order, view: View, number: int) -> None:
        scale = view.scale
        self._cluster.set_replicas(order.namespace, order.deployment, scale.replicas - number, version=scale.version)


def _told(order: Order, view: View, number: int) -> Lowered:
    fleet, before = view.fleet, view.scale.replicas
    reason = ""
    if before - number > order.floor:
        reason = fleet.unsettled or fleet.blocker() or "the others are busy"
    return Lowered(before, before - number, reason, len(fleet.of(LEAVING)) + len(fleet.of(STALE)))

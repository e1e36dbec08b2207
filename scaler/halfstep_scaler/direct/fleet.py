"""Which pods of a Deployment would go if its number were lowered, and which of them hold nothing. Pure.

A ReplicaSet deletes first what is not scheduled, then what does not run, then what is not ready, then what has the lowest
pod-deletion-cost (Kubernetes, pkg/controller/controller_utils.go, ActivePodsWithRanks). So a mark is no promise: a busy pod
that is not ready goes before an idle one that is marked. Lowered is only by pods that stand at the front and hold nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from halfstep.scaling import WorkerLoad

Json = Mapping[str, Any]

COST = "controller.kubernetes.io/pod-deletion-cost"
MARK = "halfstep.io/drained-worker"
"""Says that the cost is ours, which worker was drained for it, and in the container of when: WORKER@SECONDS."""
LEAST_COST = "-2147483648"
"""Nobody's is lower."""
STARTING_SECONDS = 60.0
"""A container that has not registered a worker for so long is broken; before that it may at any moment."""
PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}

FREE, LEAVING, STALE, IDLE = "free", "leaving", "stale", "idle"
BUSY, STARTING, FOREIGN, SILENT = "busy", "starting", "foreign", "silent"
SAFE = frozenset({FREE, LEAVING})
WHY = {
    BUSY: "busy, or leaving by itself",
    STARTING: "just starting",
    FOREIGN: "marked with somebody else's deletion cost",
    SILENT: "without a worker that answers",
    STALE: "marked for a worker that is gone",
    IDLE: "idle",
}


@dataclass(frozen=True, slots=True)
class Pod:
    """As far as it matters here. running_since: seconds since 1970 of its youngest running container, None if none runs."""

    name: str
    uid: str
    owner: str
    assigned: bool
    phase: str
    ready: bool
    cost: str | None = None
    mark: str | None = None
    running_since: float | None = None

    def mark_for(self, worker: str) -> str:
        """What marks it after that worker was drained."""
        return f"{worker}@{self.running_since}"

    @property
    def rank(self) -> tuple[bool, int, bool, int]:
        """Who goes first."""
        return (self.assigned, PHASES.get(self.phase, 2), self.ready, _number(self.cost))


def pods_of(found: Iterable[Json], deployment: str) -> list[Pod]:
    """Those that the Deployment's ReplicaSets count; others may have the same labels."""
    return [_pod(each) for each in found if _counts(each, deployment)]


def _counts(found: Json, deployment: str) -> bool:
    metadata = found["metadata"]
    if metadata.get("deletionTimestamp") or found.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return False
    return _owner(metadata) == f"{deployment}-{(metadata.get('labels') or {}).get('pod-template-hash')}"


def _owner(metadata: Json) -> str:
    return next(
        (o["name"] for o in metadata.get("ownerReferences") or [] if o.get("controller") and o["kind"] == "ReplicaSet"), ""
    )


def _pod(found: Json) -> Pod:
    metadata, status = found["metadata"], found.get("status") or {}
    annotations = metadata.get("annotations") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
    states = [container.get("state", {}) for container in status.get("containerStatuses") or []]
    starts = [datetime.fromisoformat(state["running"]["startedAt"]).timestamp() for state in states if "running" in state]
    return Pod(
        metadata["name"], metadata["uid"], _owner(metadata), bool(found["spec"].get("nodeName")), status.get("phase", "Pending"),
        ready, annotations.get(COST), annotations.get(MARK), max(starts, default=None),
    )  # fmt: skip


def _number(cost: str | None) -> int:
    try:
        return int(cost or 0)
    except ValueError:
        return 0


@dataclass(frozen=True, slots=True)
class Fleet:
    """The pods of a Deployment in the order in which they would go, each with what is known of it."""

    replicas: int
    ranked: Sequence[tuple[Pod, str]]

    @property
    def unsettled(self) -> str:
        """Why its number says nothing of its pods now; empty if it does."""
        if len({pod.owner for pod, _ in self.ranked}) > 1:
            return "a new version is being rolled out"
        if len(self.ranked) > self.replicas:
            return "pods of the last time are still leaving"
        return ""

    def removable(self) -> int:
        """By how many its number could be lowered without meeting anybody who may hold something."""
        missing = max(0, self.replicas - len(self.ranked))
        return missing + self._front()

    def of(self, state: str, *, ready: bool | None = None) -> list[Pod]:
        """Pods in that state, those that would go first at the front."""
        return [pod for pod, found in self.ranked if found == state and ready in (None, pod.ready)]

    def blocker(self) -> str:
        """Why those who hold nothing are not at the front; empty if they are. Idle pods don't block: they can be drained."""
        for pod, state in self.ranked:
            if not pod.ready and state not in SAFE and state != IDLE:
                return f"pod {pod.name}, which is {WHY[state]}, is not ready and would go first"
        return ""

    def _front(self) -> int:
        safe = [state in SAFE for _, state in self.ranked]
        return safe.index(False) if False in safe else len(safe)


def survey(replicas: int, pods: Sequence[Pod], loads: Iterable[WorkerLoad], *, now: float) -> Fleet:
    """now: seconds since 1970."""
    on: dict[str, list[WorkerLoad]] = {}
    for load in loads:
        on.setdefault(load.host, []).append(load)
    known = [(pod, _state(pod, on.get(pod.name, []), now)) for pod in pods]
    # Where nothing tells two apart, the one that may hold something is taken to go first.
    return Fleet(replicas, sorted(known, key=lambda each: (each[0].rank, each[1] in SAFE)))


def _state(pod: Pod, loads: Sequence[WorkerLoad], now: float) -> str:
    alone = loads[0] if len(loads) == 1 else None
    if pod.mark is not None and alone:
        return LEAVING if pod.mark == pod.mark_for(alone.id) and alone.leaving and not alone.held else STALE
    if pod.mark is not None:  # the drained one has left: nobody else is there before there is another container
        same = pod.running_since is None or pod.mark.endswith(pod.mark_for(""))
        return LEAVING if same and not loads else STALE
    if not loads:
        return SILENT if pod.ready else STARTING if _may_register(pod, now) else FREE
    if pod.cost is not None:
        return FOREIGN
    return IDLE if alone and not alone.leaving and not alone.held else BUSY


def _may_register(pod: Pod, now: float) -> bool:
    return pod.running_since is not None and now - pod.running_since < STARTING_SECONDS

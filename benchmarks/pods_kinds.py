"""The ways a pod can end that `pods_mixed` mixes: what each pod does, who disturbs it, and what its task is to be told.

Classes and reasons are those of docs/reference/pod-outcomes.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from benchmarks.pods_ground import Ground, shell
from cluster.kube import TOOLS
from halfstep.database import Database
from halfstep.limits import LOG_BYTES
from halfstep.producer import Options
from halfstep.queue import Queue
from halfstep.reports import Report

RESULT = '{"good": true}'
_WELL = f"echo '{RESULT}' > /dev/termination-log"
_HARD_TO_TELL = "trap 'exit 0' TERM; sleep 600 & wait"
"""It ends with code 0 when it is told to end: phase and exit code are those of a success."""
_STUBBORN = "trap '' TERM; while true; do sleep 1; done"
_LOG_LINES = 200_000  # of 100 bytes


@dataclass(frozen=True, slots=True)
class Target:
    """A running pod of a first attempt."""

    here: Ground
    pod: str
    task: int


Disturb = Callable[[Target], object]


@dataclass(frozen=True, slots=True)
class End:
    """How one attempt ends. label: its class. words: part of the message."""

    outcome: str
    label: str
    reason: str | None = None
    words: str = ""


WELL = End("succeeded", "succeeded")


@dataclass(frozen=True, slots=True)
class Kind:
    """ends: of the attempts in their order. The task's state is the last one's outcome."""

    name: str
    args: Mapping[str, Any]
    ends: tuple[End, ...]
    options: Options = field(default_factory=Options)
    disturb: Disturb | None = None
    result: Any = None
    log: Callable[[list[Report]], str] | None = None
    """What is wrong with the lines of its log; empty: nothing."""


def delete(target: Target) -> None:
    """What `kubectl delete pod` does."""
    target.here.cluster.core.delete_namespaced_pod(target.pod, target.here.namespace)


def force(target: Target) -> None:
    """What `kubectl delete pod --force --grace-period=0` does."""
    target.here.cluster.core.delete_namespaced_pod(target.pod, target.here.namespace, grace_period_seconds=0)


def evict(target: Target) -> None:
    """What `kubectl drain` does."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": target.pod}}
    target.here.cluster.core.create_namespaced_pod_eviction(target.pod, target.here.namespace, eviction)  # type: ignore[arg-type, unused-ignore]


def cancel(target: Target) -> None:
    """What `halfstep cancel` does."""
    with closing(Database(target.here.url)) as database:
        Queue(database).cancel(target.task)


def full_log(lines: list[Report]) -> str:
    """20 MB were written; the store's bound is kept, and a marker says that more there was."""
    kept = sum(len(line["text"].encode()) for line in lines)
    marked = any(line["text"].startswith("[halfstep:") for line in lines)
    if kept > LOG_BYTES or len(lines) < 1000 or not marked:
        return f"a log of {len(lines)} lines, {kept} bytes, {'with' if marked else 'without'} a marker"
    return ""


def _disturbed(name: str, disturb: Disturb, reason: str, words: str) -> Kind:
    """Its second attempt is left alone and ends well; only one attempt is allowed, so the first must not have counted."""
    script = f'if [ "$HALFSTEP_ATTEMPT" -gt 1 ]; then {_WELL}; exit 0; fi; {_HARD_TO_TELL}'
    ends = (End("failed", reason, reason, words), WELL)
    return Kind(name, shell(script), ends, Options(max_attempts=1), disturb, {"good": True})


def _failing(name: str, args: Mapping[str, Any], reason: str, words: str, timeout: float | None = None) -> Kind:
    label = "application" if reason == "exit" else reason
    return Kind(name, args, (End("failed", label, reason, words),), Options(max_attempts=1, timeout=timeout))


_BESIDE = {"name": "beside", "image": TOOLS, "command": ["sleep", "36000"], "imagePullPolicy": "IfNotPresent"}
_NO_IMAGE = {"image": "localhost/none:1", "startup_timeout": 30}
_NO_NODE = {"node_selector": {"halfstep.test/none": "such"}, "startup_timeout": 15}
_SMALL = {"resources": {"limits": {"memory": "20Mi"}}}
_LONG = f"yes $(printf %099d 7) | head -n {_LOG_LINES}; {_WELL}"

KINDS = (
    Kind("exit code 0", shell(_WELL), (WELL,), result={"good": True}),
    _failing("exit code 7", shell("echo before; exit 7"), "exit", "exited with code 7"),
    _failing("out of memory", shell("tail /dev/zero", **_SMALL), "oom", "more memory than its limit"),
    _failing("ignores SIGTERM, timeout", shell(_STUBBORN), "timeout", "longer than its timeout of 3 s", timeout=3.0),
    Kind("ignores SIGTERM, cancelled", shell(_STUBBORN), (End("cancelled", "cancelled", "cancelled"),), disturb=cancel),
    _failing("wrong image", shell("true", **_NO_IMAGE), "image", "'localhost/none:1' can't be had"),
    _failing("unschedulable", shell("true", **_NO_NODE), "unschedulable", "No node takes the pod"),
    Kind("20 MB of log", shell(_LONG), (WELL,), result={"good": True}, log=full_log),
    _disturbed("kubectl delete", delete, "deleted", "was deleted before it ended"),
    _disturbed("evicted", evict, "disrupted", "was evicted"),
    _disturbed("force-deleted", force, "deleted", "was deleted before it ended"),
    Kind("sidecar that never exits", shell(_WELL, sidecars=[_BESIDE]), (WELL,), result={"good": True}),
)

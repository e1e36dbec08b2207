"""Everything that can hold a pod on a real cluster, one by one: how soon `show` names it, and which limit ends it.

The table is that of docs/reference/what-holds-a-pod.md; what is missing here needs a cloud's volumes, devices or more nodes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes.client import AdmissionregistrationV1Api

from benchmarks.bars import Bar, Measure
from benchmarks.pods_ground import Ground, ground, pause, shell, wait_until
from cluster.kube import TOOLS
from halfstep.producer import enqueue
from halfstep.reports import Report

NAMED_SECONDS = 5.0
STARTUP, QUEUE = 15, 30
"""Seconds of the two limits, far enough from one another to be told apart."""
LATE_SECONDS = 10.0
"""After its limit a pod is deleted, and judged when its node has answered."""
OVER = ("succeeded", "failed", "cancelled")
POLICY = {
    "fields": ["schedulingGates"], "secrets": ["*"], "config_maps": ["*"], "volume_claims": ["*"], "schedulers": ["*"],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hold:
    """limit: seconds; 0: it fails at once. words: in what is shown while it waits, and in the error."""

    name: str
    words: str
    reason: str
    limit: int = STARTUP
    args: Mapping[str, Any] = field(default_factory=dict)


def _volume(**source: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "held"} | source], "volume_mounts": [{"name": "held", "mountPath": "/held"}]}


def _spec(**fields: Any) -> dict[str, Any]:
    return {"template": {"spec": fields}}


_BESIDE = {"name": "beside", "image": TOOLS, "imagePullPolicy": "IfNotPresent"}
_NEVER_READY = {"startupProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 100}}
HOLDS = (
    Hold("a scheduling gate", "halfstep.test/gate", "gate", QUEUE, _spec(schedulingGates=[{"name": "halfstep.test/gate"}])),
    Hold("no room", "Insufficient cpu", "unschedulable", args={"resources": {"requests": {"cpu": "900"}}}),
    Hold("a device", "Insufficient example.com/gpu", "unschedulable", args={"resources": {"limits": {"example.com/gpu": 1}}}),
    Hold("a node selector", "node affinity/selector", "unschedulable", args={"node_selector": {"halfstep.test/none": "such"}}),
    Hold("a claim that is missing", 'persistentvolumeclaim "none" not found', "unschedulable",
         args=_volume(persistentVolumeClaim={"claimName": "none"})),
    Hold("no scheduler of that name", "schedulerName is nobody", "unschedulable", args=_spec(schedulerName="nobody")),
    Hold("a volume's Secret", 'secret "none" not found', "config", args=_volume(secret={"secretName": "none"})),
    Hold("a volume's ConfigMap", 'configmap "none" not found', "config", args=_volume(configMap={"name": "none"})),
    Hold("a projected Secret", 'secret "none" not found', "config",
         args=_volume(projected={"sources": [{"secret": {"name": "none"}}]})),
    Hold("a variable's Secret", 'secret "none" not found', "config", args={"secrets": ["none"]}),
    Hold("a variable's ConfigMap", 'configmap "none" not found', "config", args={"config_maps": ["none"]}),
    Hold("an image that is not there", "localhost/none:1", "image", args={"image": "localhost/none:1"}),
    Hold("an image that may not be pulled", "ErrImageNeverPull", "image",
         args={"image": "localhost/none:1", "image_pull_policy": "Never"}),
    Hold("a pull secret", "regcred", "image", args={"image": "localhost/none:1", "image_pull_secrets": ["regcred"]}),
    Hold("an init container", "Init container 'beside' has not ended", "startup",
         args={"init_containers": [_BESIDE | {"command": ["sleep", "3600"]}]}),
    Hold("a sidecar", "beside", "startup",
         args={"init_containers": [_BESIDE | _NEVER_READY | {"command": ["sleep", "3600"], "restartPolicy": "Always"}]}),
)  # fmt: skip
QUOTA = Hold("a quota without room", "exceeded quota: full", "quota", QUEUE)
NEVER = Hold("more than a quota allows", "can never fit", "quota", 0, {"resources": {"limits": {"cpu": "4"}}})
WEBHOOK = Hold("a webhook that is down", "failed calling webhook", "webhook", QUEUE)


def hold_bars(url: str) -> list[Bar]:
    """One launcher a namespace; all holds of a namespace at once."""
    with ground(url) as here:
        told = _measured(here, HOLDS)
    with ground(url) as here, _quota(here, {"pods": "1", "limits.cpu": "2"}):
        told += _measured(here, [QUOTA, NEVER])
    with ground(url) as here, _dead_webhook(here):
        told += _measured(here, [WEBHOOK])
    late = [f"{one.hold.name}: {one.named:.1f} s" for one in told if one.named > NAMED_SECONDS]
    wrong = [f"{one.hold.name}: {one.wrong}" for one in told if one.wrong]
    slowest = max(one.named for one in told)
    return [
        Bar(f"{len(told)} things that hold a pod, named in `show`", "; ".join(late) or f"{slowest:.1f} s at the latest",
            f"<= {NAMED_SECONDS:g} s", not late),
        Bar("each ended by its own limit, with the reason", "; ".join(wrong) or f"{len(told)} of {len(told)}", "all", not wrong),
    ]  # fmt: skip


MEASUREMENTS: dict[str, Measure] = {"holds": hold_bars}


@dataclass(slots=True)
class Told:
    """named: seconds from the pod's first row in SQL. wrong: what is not as it should be at the end."""

    hold: Hold
    task: int
    begun: float | None = None
    named: float = float("inf")
    ended: float | None = None
    wrong: str = ""


def _measured(here: Ground, holds: Any) -> list[Told]:
    policy = here.folder / "policy.yaml"
    policy.write_text(json.dumps(POLICY))
    told = [Told(hold, _enqueue(here, hold)) for hold in holds]
    here.launcher("first", policy=Path(policy))
    try:
        wait_until(lambda: all(_look(here, one) for one in told), seconds=QUEUE + 60, what="the end of all that is held")
    finally:
        for one in told:
            one.wrong = one.wrong or ("" if one.ended else "it did not end")
    return told


def _enqueue(here: Ground, hold: Hold) -> int:
    args = shell("true") | {"startup_timeout": STARTUP, "queue_timeout": QUEUE} | dict(hold.args)
    return enqueue(here.database, "pod", args, placement="pod", max_attempts=1)


def _look(here: Ground, one: Told) -> bool:
    """Whether it has ended."""
    if one.ended is not None:
        return True
    now, report = time.monotonic(), here.reports.show(one.task)
    attempt = (report["attempts"] or [{}])[-1]
    about = attempt.get("pod")
    if one.begun is None and (about or report["state"] in OVER):
        one.begun = now
    said = f"{(about or {}).get('waiting')} {report.get('error')}"
    if one.begun is not None and one.named == float("inf") and one.hold.words in said:
        one.named = now - one.begun
    if report["state"] in OVER:
        one.ended = now
        one.wrong = _wrong(one, report, now - (one.begun or now))
    return one.ended is not None


def _wrong(one: Told, report: Report, took: float) -> str:
    if (report["state"], report["reason"]) != ("failed", one.hold.reason):
        return f"{report['state']}, {report['reason']}"
    if one.hold.words not in str(report["error"]):
        return f"it said {report['error']}"
    if not one.hold.limit - 2 <= took <= one.hold.limit + LATE_SECONDS:
        return f"it took {took:.1f} s, and its limit is {one.hold.limit} s"
    return ""


@contextmanager
def _quota(here: Ground, hard: Mapping[str, str]) -> Iterator[None]:
    """A quota that a pod of somebody else's has used up."""
    full = {"metadata": {"name": "full"}, "spec": {"hard": dict(hard)}}
    defaults = {"metadata": {"name": "defaults"}, "spec": {"limits": [{"type": "Container", "default": {"cpu": "500m"}}]}}
    core = here.cluster.core
    core.create_namespaced_limit_range(here.namespace, defaults)  # type: ignore[arg-type, unused-ignore]
    core.create_namespaced_resource_quota(here.namespace, full)  # type: ignore[arg-type, unused-ignore]
    _wait(lambda: _used(here) is not None, "the count of the quota")
    core.create_namespaced_pod(here.namespace, _sleeper())  # type: ignore[arg-type, unused-ignore]
    _wait(lambda: _used(here) == "1", "a full quota")
    yield


def _used(here: Ground) -> str | None:
    status: Any = here.cluster.core.read_namespaced_resource_quota("full", here.namespace).status
    return (status.used or {}).get("pods")


def _sleeper() -> dict[str, Any]:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "main", "image": TOOLS, "command": ["sleep", "3600"], "imagePullPolicy": "IfNotPresent"}
    user = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {
        "securityContext": user,
        "containers": [container | {"securityContext": security}],
        "terminationGracePeriodSeconds": 1,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sleeper"}, "spec": spec}


@contextmanager
def _dead_webhook(here: Ground) -> Iterator[None]:
    """Pods of the namespace are shown to a webhook that nobody serves."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    webhook = {
        "name": "dead.halfstep.test",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": here.namespace}},
        "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 2,
    }  # fmt: skip
    admission, name = AdmissionregistrationV1Api(here.cluster.api), f"{here.namespace}-dead"
    made = {"metadata": {"name": name}, "webhooks": [webhook]}
    admission.create_validating_webhook_configuration(made)  # type: ignore[arg-type, unused-ignore]
    try:
        pause(1.0)  # an API server learns of it within that
        yield
    finally:
        admission.delete_validating_webhook_configuration(name)


def _wait(condition: Callable[[], object], what: str) -> None:
    wait_until(condition, seconds=30, what=what)

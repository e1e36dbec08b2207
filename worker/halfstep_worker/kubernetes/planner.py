"""From a claim to what is to be created: the request read, the manifest built, the policy asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from math import ceil
from pathlib import Path
from typing import Any

from halfstep.claims import Claim
from halfstep.errors import InvalidTask
from halfstep.events import emit
from halfstep.limits import RESULT_BYTES
from halfstep.outcomes import Failed
from halfstep_worker.children.storable import plain
from halfstep_worker.kubernetes.amounts import total
from halfstep_worker.kubernetes.body_task import PROTOCOL
from halfstep_worker.kubernetes.clusters import Cluster, cluster_name
from halfstep_worker.kubernetes.flight import ON_FINISH, Flight
from halfstep_worker.kubernetes.frames import message_limit
from halfstep_worker.kubernetes.host import main_of
from halfstep_worker.kubernetes.jsontext import args_of, json_of
from halfstep_worker.kubernetes.manifest import Plan, build, build_operator_pod
from halfstep_worker.kubernetes.more_memory import check_room, grown, memory_of_pod, most_of
from halfstep_worker.kubernetes.objects import inside
from halfstep_worker.kubernetes.policy import LauncherPolicy
from halfstep_worker.kubernetes.request import PodRequest, read_pod, read_settings, split_pod_settings
from halfstep_worker.kubernetes.restricted import GRACE_SECONDS
from halfstep_worker.kubernetes.stumbles import stumbled_over, told
from halfstep_worker.kubernetes.values import Identity, Pod


@dataclass(frozen=True, slots=True)
class Planner:
    """For one cluster. source: the folder that template files are read from. body: what operators in pods are told."""

    cluster: Cluster
    policy: LauncherPolicy
    installation: str
    source: Path | None = None
    body: Mapping[str, Any] | None = None

    def __call__(self, claim: Claim) -> Flight | Failed:
        """The flight of this claim, or why its pod is refused; both at once, without asking anybody."""
        try:
            return self._plan(claim)
        except InvalidTask as error:
            return Failed(plain(str(error)), "invalid", final=True)
        except Exception as error:  # that nobody has thought of: whatever the task asks for, it is no other task's trouble
            emit("pod.stumbled", task=claim.id, error=told(error))
            return Failed(stumbled_over("the args or the template of this task", error), "invalid", final=True)

    def _plan(self, claim: Claim) -> Flight | Failed:
        request, plan = self._request(claim)
        if request.cluster is not None and cluster_name(request.cluster) != self.cluster.name:
            raise InvalidTask(
                f"The pod names cluster '{request.cluster}', but the task is of '{self.cluster.title}'; enqueue it there."
            )
        if plan.objection is not None:
            raise InvalidTask(plan.objection)
        refusal = self.policy.refusal(plan.asked, self.cluster)
        if refusal is not None:
            return Failed(plain(refusal), "policy", final=True)
        if request.on_finish != "delete":
            plan.pod["metadata"].setdefault("annotations", {})[ON_FINISH] = request.on_finish
        self._enlarge(plan.pod, request, claim)
        json_of("pod", plan.pod)  # so that the create call, which writes the same, can't stumble over it
        return Flight(
            claim,
            plan.pod["metadata"]["namespace"],
            on_finish=request.on_finish,
            grace=int(plan.pod["spec"].get("terminationGracePeriodSeconds", GRACE_SECONDS)),
            startup_timeout=request.startup_timeout,
            queue_timeout=request.queue_timeout,
            manifest=(plan.pod, plan.config_map),
        )

    def _enlarge(self, pod: Pod, request: PodRequest, claim: Claim) -> None:
        """More memory after earlier attempts ran out of it, as far as the policy lets the pod grow."""
        if request.on_oom is not None:
            check_room(request.on_oom, pod)
        more, before = request.on_oom or self.cluster.pods.on_oom, claim.before
        if more is None or not before.ooms or memory_of_pod(pod):
            return
        main, most = main_of(pod), self.policy.most(self.cluster).get("memory", Decimal("Infinity"))
        first = main.get("resources") or {}
        main["resources"] = larger = grown(first, more, before.ooms, admitted=before.limit)
        together = total(pod, "memory")
        if isinstance(together, Decimal) and together > most:
            fitting = more.at_most(most_of(larger) - ceil(together - most))
            main["resources"] = grown(first, fitting, before.ooms, admitted=before.limit)

    def _request(self, claim: Claim) -> tuple[PodRequest, Plan]:
        args, identity = args_of(claim.args), self._identity(claim)
        if claim.operator == "pod":
            request = read_pod(args, source=self.source)
            return request, build(request, identity, self.cluster.pods)
        rest, settings = split_pod_settings(args)
        function = inside(rest).get("function") if claim.operator == "python" else None
        identity = replace(identity, function=function if isinstance(function, str) else None)
        request = read_settings(settings, source=self.source)
        return request, build_operator_pod(
            request, identity, self.cluster.pods, task=self._task(claim, rest, _containers(request))
        )

    def _identity(self, claim: Claim) -> Identity:
        labels = dict(claim.before.labels)
        return Identity(
            self.installation, claim.attempt_id, claim.id, claim.attempt, claim.queue, claim.operator, labels=labels
        )  # fmt: skip

    def _task(self, claim: Claim, args: dict[str, Any], containers: int) -> dict[str, Any]:
        told = {"protocol": PROTOCOL, "task_id": claim.id, "attempt": claim.attempt, "operator": claim.operator, "args": args}
        return (
            told
            | {"timeout": claim.timeout, "result_bytes": RESULT_BYTES, "message_bytes": message_limit(containers)}
            | dict(self.body or {})
        )


def _containers(request: PodRequest) -> int:
    """At most so many containers the pod will have: they share the room for termination messages."""
    asked = [spec for spec in (request.wanted.get("spec"), request.template.get("spec")) if spec]
    return 1 + sum(len(spec.get(key) or ()) for spec in asked for key in ("containers", "initContainers"))

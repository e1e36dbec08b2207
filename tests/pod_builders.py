"""Pods as API servers show them, row by row of docs/reference/pod-outcomes.md. Recorded from a real one, and shortened."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from halfstep_worker.kubernetes.identity import mark

Pod = dict[str, Any]

CREATED = "2026-11-23T05:00:00Z"
STARTED = "2026-11-23T05:00:02Z"
ENDED = "2026-11-23T05:00:10Z"


def pod(phase: str = "Running", *, operator: str = "pod", **status: Any) -> Pod:
    """A scheduled pod. `status` adds to its status."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "hs-0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11",
            "namespace": "tasks",
            "uid": "5f1c8e70-6a55-4e0b-8a3b-6d6c2a8a9d10",
            "resourceVersion": "4711",
            "generation": 1,
            "creationTimestamp": CREATED,
            "labels": {
                "halfstep.io/installation": "3a0a7c9c-51d5-4d3f-9d5c-2f1a63f4e001",
                "halfstep.io/attempt": "0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11",
                "halfstep.io/task": "42",
                "team": "shop",
            },
            "annotations": {
                "halfstep.io/queue": "etl",
                "halfstep.io/operator": operator,
                "halfstep.io/made": mark("3a0a7c9c-51d5-4d3f-9d5c-2f1a63f4e001", "0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11"),
                "note": "x" * 300,
            },
            "finalizers": ["halfstep.io/verdict"],
            "managedFields": [{"manager": "halfstep", "operation": "Update", "fieldsV1": {"f:spec": {"f:containers": {}}}}] * 2,
        },
        "spec": {
            "nodeName": "node1",
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "main", "image": "shop/etl:7", "env": [{"name": "A", "value": "b"}], "resources": {}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}] * 2,
        },
        "status": {
            "phase": phase,
            "startTime": CREATED,
            "podIP": "10.244.0.7",
            "qosClass": "BestEffort",
            "conditions": [
                condition("PodReadyToStartContainers", at="2026-11-23T05:00:01Z"),
                condition("Initialized", at=CREATED),
                condition("Ready"),
                condition("ContainersReady"),
                condition("PodScheduled", at=CREATED),
            ],
            "containerStatuses": [running()],
            **status,
        },
    }


def condition(
    type: str, status: str = "True", *, reason: str | None = None, at: str = STARTED, message: str | None = None
) -> Pod:
    made = {"type": type, "status": status, "reason": reason, "message": message, "lastTransitionTime": at, "lastProbeTime": None}
    return {key: value for key, value in made.items() if value is not None or key == "lastProbeTime"}


def container(state: Pod, *, name: str = "main") -> Pod:
    return {
        "name": name,
        "state": state,
        "lastState": {},
        "ready": False,
        "started": False,
        "restartCount": 0,
        "image": "shop/etl:7",
        "imageID": "sha256:" + "0" * 64,
        "containerID": "containerd://" + "1" * 64,
    }


def running(name: str = "main") -> Pod:
    return container({"running": {"startedAt": STARTED}}, name=name)


def waiting(reason: str, message: str | None = None, *, name: str = "main") -> Pod:
    return container({"waiting": {"reason": reason, **({"message": message} if message else {})}}, name=name)


def ended(
    code: int = 0, reason: str | None = None, message: str | None = None, *, at: str | None = ENDED, name: str = "main"
) -> Pod:
    state: Pod = {
        "exitCode": code,
        "reason": reason or ("Error" if code else "Completed"),
        "startedAt": STARTED,
        "finishedAt": at,
    }
    if message is not None:
        state["message"] = message
    return container({"terminated": state}, name=name)


def finished(
    code: int = 0, reason: str | None = None, message: str | None = None, *, operator: str = "pod", **status: Any
) -> Pod:
    """A pod whose only container has ended."""
    phase = status.pop("phase", "Failed" if code else "Succeeded")
    return pod(phase, operator=operator, containerStatuses=[ended(code, reason, message)], **status)


def deleted(there: Pod, *, at: str, grace: int) -> Pod:
    """With `deletionTimestamp` and its grace as the API server shows them now."""
    copy = deepcopy(there)
    copy["metadata"] |= {"deletionTimestamp": at, "deletionGracePeriodSeconds": grace}
    return copy


def disrupted(there: Pod, reason: str, *, at: str = STARTED) -> Pod:
    """With the condition DisruptionTarget."""
    copy = deepcopy(there)
    copy["status"]["conditions"].append(condition("DisruptionTarget", reason=reason, at=at))
    return copy


def pending(*containers: Pod, scheduled: bool = True) -> Pod:
    made = pod("Pending", containerStatuses=list(containers))
    if not scheduled:
        del made["spec"]["nodeName"]
    return made


def unscheduled(reason: str = "Unschedulable", message: str = "0/1 nodes are available: 1 Insufficient cpu. no luck.") -> Pod:
    made = pod("Pending", conditions=[condition("PodScheduled", "False", reason=reason, message=message)])
    del made["spec"]["nodeName"], made["status"]["containerStatuses"], made["status"]["startTime"]
    return made


def gated(*names: str) -> Pod:
    """As the API server writes it when the pod is made."""
    made = unscheduled("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
    made["spec"]["schedulingGates"] = [{"name": name} for name in names]
    return made


def unseen(scheduler: str = "default-scheduler") -> Pod:
    """No scheduler has written anything of it yet."""
    made = pod("Pending", conditions=[])
    made["spec"]["schedulerName"] = scheduler
    del made["spec"]["nodeName"], made["status"]["containerStatuses"], made["status"]["startTime"]
    return made


def preparing(*, ready: bool = False, **status: Any) -> Pod:
    """Its node has it, and its containers wait. ready: for its sandbox and volumes no more."""
    made = pod("Pending", containerStatuses=[waiting("ContainerCreating")], **status)
    made["status"]["conditions"][0] = condition("PodReadyToStartContainers", "True" if ready else "False")
    return made


def event(reason: str, message: str, *, type: str = "Warning", at: str = STARTED, **more: Any) -> Pod:
    """About the pod, as a kubelet or a controller records it."""
    about = {"kind": "Pod", "uid": str(pod()["metadata"]["uid"])}
    made = {"type": type, "reason": reason, "message": message, "involvedObject": about}
    return made | {"firstTimestamp": at, "lastTimestamp": at, "count": 1} | more


def never_begun(**status: Any) -> Pod:
    """Deleted before its main container was made: the kubelet ends it without a start."""
    return pod("Failed", containerStatuses=[container({"terminated": NOT_LOCATED})], **status)


NOT_LOCATED = {
    "exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None,
    "message": "The container could not be located when the pod was terminated",
}  # fmt: skip


def refused(reason: str, message: str) -> Pod:
    """A pod that its node did not take: no container of it was ever made."""
    made = pod("Failed", reason=reason, message=message, conditions=[])
    del made["status"]["containerStatuses"]
    return made


LIVING = {
    "running": pod(),
    "pulling": pending(waiting("ContainerCreating")),
    "wrong image": pending(waiting("ErrImagePull", "not found")),
    "unschedulable": unscheduled(),
    "gated": gated("kueue.x-k8s.io/admission", "example.com/second"),
    "no scheduler": unseen("nobody"),
    "preempting": unscheduled() | {"status": unscheduled()["status"] | {"nominatedNodeName": "node7"}},
    "sidecar not ready": preparing(initContainerStatuses=[running("proxy")]),
    "debugged": pod(ephemeralContainerStatuses=[running("debugger")]),
    "node lost": pod(reason="NodeLost"),
    "on a lost node, deleted by the taint manager": deleted(
        disrupted(pod(), "DeletionByTaintManager"), at="2026-11-23T05:06:00Z", grace=30
    ),
    "bad image name": pending(waiting("InvalidImageName", "couldn't parse image name")),
    "ended, and its phase has yet to come": finished(0, phase="Running"),
}

ENDED_PODS = {
    "exit 0": finished(),
    "exit 0 with a result": finished(0, None, '{"rows": 3}'),
    "exit 7": finished(7, None, "first\nsecond\n"),
    "SIGKILL without a condition": finished(137),
    "OOM": finished(137, "OOMKilled"),
    "OOM of a child, survived": finished(0, "OOMKilled"),
    "preempted": deleted(disrupted(finished(137), "PreemptionByScheduler"), at="2026-11-23T05:00:40Z", grace=30),
    "preempted, name of the KEP": disrupted(finished(137), "PreemptionByKubeScheduler"),
    "tainted": disrupted(finished(137), "DeletionByTaintManager"),
    "drained": disrupted(finished(143), "EvictionByEvictionAPI"),
    "drained, exit 0": disrupted(finished(0), "EvictionByEvictionAPI"),
    "node gone": disrupted(pod("Failed"), "DeletionByPodGC", at="2026-11-23T06:00:00Z"),
    "node pressure": disrupted(
        finished(137, reason="ContainerStatusUnknown")
        | {"status": pod("Failed", reason="Evicted", message="The node was low on resource: memory. ")["status"]},
        "TerminationByKubelet",
        at="2026-11-23T05:00:11Z",
    ),
    "own storage": pod(
        "Failed", reason="Evicted", message="Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. "
    ),
    "own emptyDir": pod("Failed", reason="Evicted", message='Usage of EmptyDir volume "tmp" exceeds the limit "1Mi". '),
    "node shutdown": disrupted(
        finished(137) | {"status": finished(137)["status"] | {"reason": "Terminated"}}, "TerminationByKubelet"
    ),
    "node shutdown, exit 0": disrupted(
        finished(0) | {"status": finished(0)["status"] | {"reason": "Terminated"}},
        "TerminationByKubelet",
        at="2026-11-23T05:00:11Z",
    ),
    "refused: OutOfcpu": refused("OutOfcpu", "Node didn't have enough resource: cpu"),
    "refused: node pressure": refused("Evicted", "The node had condition: [MemoryPressure]. "),
    "refused: affinity": refused("NodeAffinity", "Predicate NodeAffinity failed"),
    "init failed": pod("Failed", initContainerStatuses=[ended(3, name="fetch")], containerStatuses=[waiting("PodInitializing")]),
    "start error": finished(128, "StartError", 'exec: "nothing": executable file not found in $PATH'),
    "status unknown": pod("Failed", containerStatuses=[ended(137, "ContainerStatusUnknown", at=None)]),
    "node restarted": finished(255, "Unknown"),
    "deadline": pod("Failed", reason="DeadlineExceeded", containerStatuses=[ended(143)]),
    "deleted while it ran, exit 0": deleted(finished(0), at="2026-11-23T05:00:35Z", grace=30),
    "deleted while it ran, all said": deleted(finished(0), at="2026-11-23T05:00:11Z", grace=0),
    "deleted long after its end": deleted(finished(0), at="2026-11-23T06:00:00Z", grace=0),
    "deleted unscheduled": deleted(unscheduled(), at=STARTED, grace=0),
    "sidecar runs on": pod("Running", containerStatuses=[ended(0), running("proxy")]),
    "sidecar never began": pod("Pending", containerStatuses=[ended(0), waiting("ImagePullBackOff", name="proxy")]),
}

"""The manifest of an attempt's pod: what its task asks for, safe defaults under it, our marks over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from halfstep.errors import InvalidTask
from halfstep_worker.kubernetes.alone import alone
from halfstep_worker.kubernetes.defaults import PodDefaults
from halfstep_worker.kubernetes.host import containers_of, volumes_of
from halfstep_worker.kubernetes.jsontext import json_of
from halfstep_worker.kubernetes.merge import merge
from halfstep_worker.kubernetes.names import (
    ATTEMPT,
    DEFAULT_CONTAINER,
    DOMAIN,
    FINALIZER,
    INSTALLATION,
    MAIN,
    OPERATOR,
    QUEUE,
    TASK,
    pod_name,
)
from halfstep_worker.kubernetes.request import PodRequest
from halfstep_worker.kubernetes.reserved import relabelling, reserved, reserved_in_main
from halfstep_worker.kubernetes.values import Identity, Pod

BODY = ["python", "-m", "halfstep_worker.kubernetes.body"]
TASK_FOLDER = "/halfstep/task"
TASK_FILE = "task.json"
GRACE_SECONDS = 30
LONGEST_GRACE = 31_536_000
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_TASK_VOLUME, _SOURCE_VOLUME, _TMP_VOLUME = "halfstep-task", "halfstep-source", "halfstep-tmp"
_COPIED = ("configMap", "downwardAPI", "emptyDir", "image", "projected", "secret")
"""Volumes of which each pod has its own, or one that nothing can change."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be created, and what the launcher's policy is to judge."""

    pod: Pod
    asked: Pod
    """The pod without the launcher's own image, connections and volumes: all that is in it, the task asked for.

    The launcher's pull secrets are in it where they would also pull images that the task names.
    """
    config_map: Pod | None = None
    """What another operator's pod reads its task from."""
    objection: str | None = None
    """Why this pod must not be made, whatever the policy says: it would lay hands on what is ours."""


def build(request: PodRequest, identity: Identity, defaults: PodDefaults) -> Plan:
    """For operator `pod`. InvalidTask: neither the arguments nor the template name an image."""
    pod = _asked(request, identity, defaults, {})
    if not _main(pod).get("image"):
        raise InvalidTask(f"The pod has no image: give the argument 'image', or a template whose container '{MAIN}' has one.")
    return Plan(pod, asked=pod, objection=next(reserved(_from_template(request.template)["spec"]), None))


def build_operator_pod(request: PodRequest, identity: Identity, defaults: PodDefaults, *, task: Mapping[str, Any]) -> Plan:
    """For another operator, alone in a pod of the runtime's image or the task's own.

    `task` is what the body reads (task.json): JSON, with the operator's `args`. InvalidTask: no image, or a connection that
    has no Secret here.
    """
    asked = _asked(request, identity, defaults, _operator_defaults())
    connections = _connections(request, defaults, task)
    ours = _ours(asked, identity, defaults, connections)
    judged = merge(asked, {"spec": _pull_secrets(defaults)}) if _pulls_for_others(asked) else asked
    objections = _objections(request, defaults, connections, asked)
    return Plan(merge(asked, ours), judged, _config_map(asked, task), next(objections, None))


def owned_by(config_map: Pod, uid: str) -> Pod:
    """The ConfigMap as its pod's own, so that the cluster removes both. `uid`: the pod's."""
    metadata = config_map["metadata"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": uid}
    return config_map | {"metadata": metadata | {"ownerReferences": [owner]}}


def _asked(request: PodRequest, identity: Identity, defaults: PodDefaults, under: Pod) -> Pod:
    """The template with the arguments on it, the defaults under both and our marks over both."""
    template = _from_template(request.template)
    metadata, _ = _wanted(request)
    spec = _layered(template["spec"], request.wanted["spec"], under)
    return _marked({"metadata": metadata, "spec": spec}, identity, request.namespace or defaults.namespace)


def _wanted(request: PodRequest) -> tuple[Pod, Pod]:
    """Metadata and spec as the task has them, without defaults and marks."""
    template = _from_template(request.template)
    metadata = merge(template["metadata"], request.wanted.get("metadata") or {})
    return metadata, merge(merge({}, template["spec"]), request.wanted["spec"])


def _layered(template: Pod, wanted: Pod, under: Pod) -> Pod:
    """Defaults lie lowest, so that a null above takes them away; which they are depends on what is asked for."""
    spec = _spec_defaults(merge(template, wanted))
    for layer in (under, template, wanted):
        spec = merge(spec, layer)
    grace = spec.get("terminationGracePeriodSeconds", GRACE_SECONDS)
    if type(grace) is not int or not 1 <= grace <= LONGEST_GRACE:
        raise InvalidTask("'terminationGracePeriodSeconds' in the template of a pod must be whole seconds, from 1 to a year.")
    return spec


# -- the template


def _from_template(template: Pod) -> Pod:
    """Labels, annotations and the spec; its task's container is called as we call it."""
    metadata = template.get("metadata") or {}
    taken = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
    return {"metadata": taken, "spec": _one_account(_with_main(template.get("spec") or {}))}


def _with_main(spec: Pod) -> Pod:
    """The container `main`, or else the first, is the task's."""
    containers = _items(spec, "containers")
    if not containers or any(container["name"] == MAIN for container in containers):
        return spec
    return spec | {"containers": [containers[0] | {"name": MAIN}, *containers[1:]]}


def _one_account(spec: Pod) -> Pod:
    """Without `serviceAccount`, the old name of a field that the API server still takes."""
    old = spec.get("serviceAccount")
    rest = {key: value for key, value in spec.items() if key != "serviceAccount"}
    return {"serviceAccountName": old} | rest if old else rest


# -- defaults: restricted, as the Pod Security Standards have it


def _spec_defaults(asked: Pod) -> Pod:
    root = _is_root(asked.get("securityContext"))
    return {
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "enableServiceLinks": False,
        "automountServiceAccountToken": asked.get("serviceAccountName") not in (None, "", "default"),
        "securityContext": {
            "runAsNonRoot": not root,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **{key: [_container_defaults(item) for item in asked[key]] for key in _CONTAINERS if asked.get(key)},
    }


def _container_defaults(asked: Pod) -> Pod:
    """Who asks for user 0 or for privileges gets no contradiction from us."""
    security: Pod = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    own = asked.get("securityContext")
    if isinstance(own, dict) and own.get("privileged"):
        security = {}
    if _is_root(own):
        security["runAsNonRoot"] = False
    return {"name": asked["name"], "terminationMessagePolicy": "FallbackToLogsOnError", "securityContext": security}


def _is_root(security: object) -> bool:
    return isinstance(security, dict) and security.get("runAsUser") == 0


def _operator_defaults() -> Pod:
    """A root file system that can't be written, and a folder that can."""
    return {
        "volumes": [{"name": _TMP_VOLUME, "emptyDir": {}}],
        "containers": [
            {
                "name": MAIN,
                "env": [{"name": "HOME", "value": "/tmp"}],
                "volumeMounts": [{"name": _TMP_VOLUME, "mountPath": "/tmp"}],
                "securityContext": {"readOnlyRootFilesystem": True},
            }
        ],
    }


# -- our marks


def _marked(pod: Pod, identity: Identity, namespace: str) -> Pod:
    """With what is ours and can't be overridden: name, namespace, labels, finalizer, one run only."""
    numbers = {"HALFSTEP_TASK_ID": str(identity.task_id), "HALFSTEP_ATTEMPT": str(identity.attempt)}
    once = {"restartPolicy": "Never", "containers": [{"name": MAIN, "env": _variables(numbers)}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(pod["metadata"], identity, namespace) | {"finalizers": [FINALIZER]},
        "spec": merge(pod["spec"], once),
    }


def _metadata(metadata: Pod, identity: Identity, namespace: str) -> Pod:
    labels = {INSTALLATION: identity.installation, ATTEMPT: identity.attempt_id.lower(), TASK: str(identity.task_id)}
    annotations = {QUEUE: identity.queue, OPERATOR: identity.operator}
    shown = {DEFAULT_CONTAINER: MAIN}
    return {
        "name": pod_name(identity.attempt_id),
        "namespace": namespace,
        "labels": _others(metadata.get("labels")) | labels,
        "annotations": _others(metadata.get("annotations")) | annotations | shown,
    }


def _others(marks: Mapping[str, Any] | None) -> Pod:
    return {key: value for key, value in (marks or {}).items() if not key.startswith(f"{DOMAIN}/") and value is not None}


# -- the launcher's own part of another operator's pod


def _ours(asked: Pod, identity: Identity, defaults: PodDefaults, connections: list[Pod]) -> Pod:
    volumes = [{"name": _TASK_VOLUME, "configMap": {"name": pod_name(identity.attempt_id)}}]
    mounts = [{"name": _TASK_VOLUME, "mountPath": TASK_FOLDER, "readOnly": True}]
    env = dict(defaults.env)
    if defaults.source:
        env["HALFSTEP_SOURCE"] = defaults.source
    if defaults.source and defaults.source_volume:
        volumes.append({**defaults.source_volume, "name": _SOURCE_VOLUME})
        mounts.append({"name": _SOURCE_VOLUME, "mountPath": defaults.source, "readOnly": True})
    main = {"name": MAIN, "command": BODY, "args": None, "env": [*_variables(env), *connections], "volumeMounts": mounts}
    if _main(asked).get("image"):
        return {"spec": {"volumes": volumes, "containers": [main]}}
    return {"spec": {"volumes": volumes, "containers": [main | _image(defaults)], **_pull_secrets(defaults)}}


def _image(defaults: PodDefaults) -> Pod:
    if not defaults.image:
        raise InvalidTask("This launcher has no image for operators in pods: give 'image' under 'pod', or configure one.")
    policy = {"imagePullPolicy": defaults.image_pull_policy} if defaults.image_pull_policy else {}
    return {"image": defaults.image, **policy}


def _pull_secrets(defaults: PodDefaults) -> Pod:
    names = [{"name": name} for name in defaults.image_pull_secrets]
    return {"imagePullSecrets": names} if names else {}


def _pulls_for_others(asked: Pod) -> bool:
    """Whether the runtime's image is pulled beside images of the task's choice: a node tries a pod's pull secrets for all."""
    others = [item for item in containers_of(asked) if item.get("name") != MAIN]
    return not _main(asked).get("image") and bool(others or any(volume.get("image") for volume in volumes_of(asked)))


def _objections(request: PodRequest, defaults: PodDefaults, connections: list[Pod], asked: Pod) -> Iterator[str]:
    """To what the task asks for, not to our own part."""
    metadata, wanted = _wanted(request)
    yield from reserved(_from_template(request.template)["spec"])
    yield from reserved_in_main(wanted, [TASK_FOLDER, *([defaults.source] if defaults.source else [])])
    if connections:
        links = asked["spec"].get("enableServiceLinks", True)  # a null is Kubernetes' own default
        yield from alone(metadata, wanted | {"enableServiceLinks": links})
    if defaults.source and defaults.source_volume.keys() - set(_COPIED):
        yield from relabelling(wanted)


def _connections(request: PodRequest, defaults: PodDefaults, task: Mapping[str, Any]) -> list[Pod]:
    """As references: the value goes from the Secret into the container, and nowhere else."""
    named = (task.get("args") or {}).get("connection")
    names = dict.fromkeys([*([named] if isinstance(named, str) else []), *request.connections])
    return [_connection(name.lower(), defaults) for name in names]


def _connection(name: str, defaults: PodDefaults) -> Pod:
    found = defaults.connections.get(name)
    if found is None:
        known = ", ".join(sorted(defaults.connections)) or "none"
        raise InvalidTask(f"This launcher has no Secret for connection '{name}'; known: {known}.")
    reference = {"secretKeyRef": {"name": found.secret, "key": found.key}}
    return {"name": f"HALFSTEP_CONNECTION_{name.upper()}", "valueFrom": reference}


def _config_map(asked: Pod, task: Mapping[str, Any]) -> Pod:
    metadata = {key: asked["metadata"][key] for key in ("name", "namespace")}
    ours = {key: value for key, value in asked["metadata"]["labels"].items() if key.startswith(f"{DOMAIN}/")}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata | {"labels": ours},
        "data": {TASK_FILE: json_of("args", task)},
        "immutable": True,
    }


def _main(pod: Pod) -> Pod:
    return next(container for container in pod["spec"]["containers"] if container["name"] == MAIN)


def _items(spec: Pod, key: str) -> list[Pod]:
    return spec.get(key) or []


def _variables(values: Mapping[str, str]) -> list[Pod]:
    return [{"name": name, "value": value} for name, value in values.items()]

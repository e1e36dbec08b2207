"""The manifest of an attempt's pod: what its task asks for, safe defaults under it, our marks over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from halfstep.errors import InvalidTask
from halfstep_worker.kubernetes.alone import alone
from halfstep_worker.kubernetes.defaults import PodDefaults
from halfstep_worker.kubernetes.fragment import variables_of
from halfstep_worker.kubernetes.host import main_of
from halfstep_worker.kubernetes.identity import mark
from halfstep_worker.kubernetes.jsontext import json_of
from halfstep_worker.kubernetes.labels import label_value
from halfstep_worker.kubernetes.launcher_defaults import default_env, lay_under
from halfstep_worker.kubernetes.merge import merge
from halfstep_worker.kubernetes.names import (
    ATTEMPT,
    DEFAULT_CONTAINER,
    DOMAIN,
    FINALIZER,
    FUNCTION,
    INSTALLATION,
    MADE,
    MAIN,
    OPERATOR,
    QUEUE,
    TASK,
    TASK_LABELS,
    is_ours,
    pod_name,
)
from halfstep_worker.kubernetes.request import PodRequest
from halfstep_worker.kubernetes.reserved import relabelling, reserved, reserved_in_main
from halfstep_worker.kubernetes.restricted import GRACE_SECONDS, operator_defaults, spec_defaults
from halfstep_worker.kubernetes.runtime_part import TASK_FOLDER, connections_of, pull_secrets, pulls_for_others, runtime_part
from halfstep_worker.kubernetes.values import Identity, Pod

TASK_FILE = "task.json"
LONGEST_GRACE = 31_536_000
LONGEST_MARK = 4096
"""Characters of an annotation of ours."""
_COPIED = ("configMap", "downwardAPI", "emptyDir", "image", "projected", "secret")
"""Volumes of which each pod has its own, or one that nothing can change."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be created, and what the launcher's policy is to judge."""

    pod: Pod
    asked: Pod
    """The pod without the launcher's own defaults, image, connections and volumes: all that is in it, the task asked for.

    The launcher's pull secrets are in it where they would also pull images that the task names.
    """
    config_map: Pod | None = None
    """What another operator's pod reads its task from."""
    objection: str | None = None
    """Why this pod must not be made, whatever the policy says: it would lay hands on what is ours."""


def build(request: PodRequest, identity: Identity, defaults: PodDefaults) -> Plan:
    """For operator `pod`. InvalidTask: neither the arguments nor the template name an image."""
    pod = _asked(request, identity, defaults, {})
    if not main_of(pod).get("image"):
        raise InvalidTask(f"The pod has no image: give the argument 'image', or a template whose container '{MAIN}' has one.")
    objection = next(reserved(_from_template(request.template)["spec"]), None)
    return Plan(_laid(pod, request, defaults), asked=pod, objection=objection)


def build_operator_pod(request: PodRequest, identity: Identity, defaults: PodDefaults, *, task: Mapping[str, Any]) -> Plan:
    """For another operator, alone in a pod of the runtime's image or the task's own.

    `task` is what the body reads (task.json): JSON, with the operator's `args`. InvalidTask: no image, or a connection that
    has no Secret here.
    """
    asked = _asked(request, identity, defaults, merge(operator_defaults(), default_env(defaults.under)))
    connections = connections_of(request, defaults, task)
    ours = runtime_part(asked, identity, defaults, connections)
    judged = merge(asked, {"spec": pull_secrets(defaults)}) if pulls_for_others(asked) else asked
    objections = _objections(request, defaults, connections, asked)
    return Plan(merge(_laid(asked, request, defaults), ours), judged, _config_map(asked, task), next(objections, None))


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


def _laid(asked: Pod, request: PodRequest, defaults: PodDefaults) -> Pod:
    """With the launcher's own defaults under it, which no null of the task's takes away."""
    _, wanted = _wanted(request)
    return lay_under(asked, defaults.under, token_is_said="automountServiceAccountToken" in wanted)


def _wanted(request: PodRequest) -> tuple[Pod, Pod]:
    """Metadata and spec as the task has them, without defaults and marks."""
    template = _from_template(request.template)
    metadata = merge(template["metadata"], request.wanted.get("metadata") or {})
    return metadata, merge(merge({}, template["spec"]), request.wanted["spec"])


def _layered(template: Pod, wanted: Pod, under: Pod) -> Pod:
    """Defaults lie lowest, so that a null above takes them away; which they are depends on what is asked for."""
    spec = spec_defaults(merge(template, wanted))
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


# -- our marks


def _marked(pod: Pod, identity: Identity, namespace: str) -> Pod:
    """With what is ours and can't be overridden: name, namespace, labels, finalizer, one run only."""
    numbers = {"HALFSTEP_TASK_ID": str(identity.task_id), "HALFSTEP_ATTEMPT": str(identity.attempt)}
    once = {"restartPolicy": "Never", "containers": [{"name": MAIN, "env": variables_of(numbers)}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(pod["metadata"], identity, namespace) | {"finalizers": [FINALIZER]},
        "spec": merge(pod["spec"], once),
    }


def _metadata(metadata: Pod, identity: Identity, namespace: str) -> Pod:
    labels = {INSTALLATION: identity.installation, ATTEMPT: identity.attempt_id.lower(), TASK: str(identity.task_id)}
    told = _told(identity)
    labels = {key: label_value(text) for key, text in told.items()} | labels
    annotations = {key: text[:LONGEST_MARK] for key, text in told.items()}
    if identity.function is not None:  # jobs:train and jobs.train are one function
        labels[FUNCTION] = label_value(identity.function.replace(":", "."))
    annotations[MADE] = mark(identity.installation, identity.attempt_id)
    shown = {DEFAULT_CONTAINER: MAIN}
    return {
        "name": pod_name(identity.attempt_id),
        "namespace": namespace,
        "labels": _others(metadata.get("labels")) | labels,
        "annotations": _others(metadata.get("annotations")) | annotations | shown,
    }


def _told(identity: Identity) -> dict[str, str]:
    """Whose pod it is, for people and for reports of costs."""
    function = {} if identity.function is None else {FUNCTION: identity.function}
    copied = {f"{TASK_LABELS}{name}": text for name, text in identity.labels.items()}
    return {QUEUE: identity.queue, OPERATOR: identity.operator} | function | copied


def _others(marks: Mapping[str, Any] | None) -> Pod:
    return {key: value for key, value in (marks or {}).items() if not is_ours(key) and value is not None}


# -- another operator's pod


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


def _config_map(asked: Pod, task: Mapping[str, Any]) -> Pod:
    metadata = {key: asked["metadata"][key] for key in ("name", "namespace")}
    ours = {key: value for key, value in asked["metadata"]["labels"].items() if key.startswith(f"{DOMAIN}/")}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata | {"labels": ours, "annotations": {MADE: asked["metadata"]["annotations"][MADE]}},
        "data": {TASK_FILE: json_of("args", task)},
        "immutable": True,
    }


def _items(spec: Pod, key: str) -> list[Pod]:
    return spec.get(key) or []

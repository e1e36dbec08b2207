"""The launcher's own part of another operator's pod: the runtime's image, its task, the source, connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halfstep.errors import InvalidTask
from halfstep_worker.kubernetes.defaults import PodDefaults
from halfstep_worker.kubernetes.fragment import variables_of
from halfstep_worker.kubernetes.host import containers_of, main_of, volumes_of
from halfstep_worker.kubernetes.names import MAIN, pod_name
from halfstep_worker.kubernetes.request import PodRequest
from halfstep_worker.kubernetes.reserved import CONNECTIONS
from halfstep_worker.kubernetes.values import Identity, Pod

BODY = ["python", "-m", "halfstep_worker.kubernetes.body"]
TASK_FOLDER = "/halfstep/task"
_TASK_VOLUME, _SOURCE_VOLUME = "halfstep-task", "halfstep-source"


def runtime_part(asked: Pod, identity: Identity, defaults: PodDefaults, connections: list[Pod]) -> Pod:
    """What is laid over what the task asks for. InvalidTask: there is no image."""
    volumes = [{"name": _TASK_VOLUME, "configMap": {"name": pod_name(identity.attempt_id)}}]
    mounts = [{"name": _TASK_VOLUME, "mountPath": TASK_FOLDER, "readOnly": True}]
    env = dict(defaults.env)
    if defaults.source:
        env["HALFSTEP_SOURCE"] = defaults.source
    if defaults.source and defaults.source_volume:
        volumes.append({**defaults.source_volume, "name": _SOURCE_VOLUME})
        mounts.append({"name": _SOURCE_VOLUME, "mountPath": defaults.source, "readOnly": True})
    main = {"name": MAIN, "command": BODY, "args": None, "env": [*variables_of(env), *connections], "volumeMounts": mounts}
    if main_of(asked).get("image"):
        return {"spec": {"volumes": volumes, "containers": [main]}}
    return {"spec": {"volumes": volumes, "containers": [main | _image(defaults)], **pull_secrets(defaults)}}


def _image(defaults: PodDefaults) -> Pod:
    if not defaults.image:
        raise InvalidTask("This launcher has no image for operators in pods: give 'image' under 'pod', or configure one.")
    policy = {"imagePullPolicy": defaults.image_pull_policy} if defaults.image_pull_policy else {}
    return {"image": defaults.image, **policy}


def pull_secrets(defaults: PodDefaults) -> Pod:
    """Of the runtime's image, as part of a spec."""
    names = [{"name": name} for name in defaults.image_pull_secrets]
    return {"imagePullSecrets": names} if names else {}


def pulls_for_others(asked: Pod) -> bool:
    """Whether the runtime's image is pulled beside images of the task's choice: a node tries a pod's pull secrets for all."""
    others = [item for item in containers_of(asked) if item.get("name") != MAIN]
    return not main_of(asked).get("image") and bool(others or any(volume.get("image") for volume in volumes_of(asked)))


def connections_of(request: PodRequest, defaults: PodDefaults, task: Mapping[str, Any]) -> list[Pod]:
    """As references: the value goes from the Secret into the container, and nowhere else. InvalidTask: one has no Secret."""
    named = (task.get("args") or {}).get("connection")
    names = dict.fromkeys([*([named] if isinstance(named, str) else []), *request.connections])
    return [_connection(name.lower(), defaults) for name in names]


def _connection(name: str, defaults: PodDefaults) -> Pod:
    found = defaults.connections.get(name)
    if found is None:
        known = ", ".join(sorted(defaults.connections)) or "none"
        raise InvalidTask(f"This launcher has no Secret for connection '{name}'; known: {known}.")
    reference = {"secretKeyRef": {"name": found.secret, "key": found.key}}
    return {"name": f"{CONNECTIONS}{name.upper()}", "valueFrom": reference}

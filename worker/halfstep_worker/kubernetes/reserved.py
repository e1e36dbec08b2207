"""What is halfstep's own in a pod, and so no task may name: volumes, variables, folders, and how often `main` runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from halfstep_worker.kubernetes.host import containers_of
from halfstep_worker.kubernetes.names import MAIN
from halfstep_worker.kubernetes.objects import inside, listed
from halfstep_worker.kubernetes.values import Pod

VOLUMES = "halfstep-"
"""What the names of our volumes begin with."""
VARIABLES = "HALFSTEP_"
"""What the names of our variables begin with, in pods of other operators than `pod`."""
CONNECTIONS = f"{VARIABLES}CONNECTION_"
"""And those of named connections' URLs."""
OWN_VARIABLES = ("HALFSTEP_TASK_ID", "HALFSTEP_ATTEMPT")
"""Those of every pod."""
_RELABELLING = ("fsGroup", "seLinuxOptions")
_BESIDE_MAIN = ("initContainers", "ephemeralContainers")


def reserved(spec: Pod) -> Iterator[str]:
    """Why this spec, as a task gives it, can't be: it names or mounts a volume of ours, or sets what we set in every pod."""
    for volume in listed(spec, "volumes"):
        if _is_ours(volume.get("name")):
            yield f"The volume '{volume['name']}' of a pod {_BEGINS}; give it another name."
    for key in _BESIDE_MAIN:
        if any(container.get("name") == MAIN for container in listed(spec, key)):
            yield f"A container under '{key}' of a pod can't be called '{MAIN}', as the task's own is."
    for container in containers_of({"spec": spec}):
        yield from _of_container(container)


def reserved_in_main(spec: Pod, folders: list[str]) -> Iterator[str]:
    """The same for another operator's task: the container `main` is ours. `folders`: what is mounted there."""
    for container in listed(spec, "containers"):
        if container.get("name") == MAIN:
            yield from _variables(container)
            yield from _folders(container, folders)


def relabelling(spec: Pod) -> Iterator[str]:
    """What makes a node write the owners or labels of all files of the pod's volumes, the source's too."""
    for holder in (spec, *containers_of({"spec": spec})):
        for key in _RELABELLING:
            if inside(holder, "securityContext").get(key) is not None:
                yield f"A pod with the source volume can't have '{key}', which would change the files of that volume."


def _variables(main: Pod) -> Iterator[str]:
    for name in _texts(main, "env", "name"):
        if name.startswith(VARIABLES):
            yield _variable(name, f"begins with {VARIABLES}, which is halfstep's own")
    for prefix in _texts(main, "envFrom", "prefix"):
        if prefix and (prefix.startswith(VARIABLES) or VARIABLES.startswith(prefix)):  # without one, only the keys tell
            yield (
                f"The prefix {prefix} can't be given to variables of a pod by its task, as their names may then begin with "
                f"{VARIABLES}, which is halfstep's own."
            )


def _texts(main: Pod, key: str, name: str) -> list[str]:
    found = [item.get(name) for item in listed(main, key)]
    return [text for text in found if isinstance(text, str)]


def _folders(main: Pod, folders: list[str]) -> Iterator[str]:
    for path in _mounted(main):
        for folder in folders:
            if _parts(path)[: len(_parts(folder))] == _parts(folder):
                yield f"Nothing can be mounted at {path!r} in a pod, as {folder} is halfstep's own; mount it elsewhere."


def _of_container(container: Pod) -> Iterator[str]:
    name = container.get("name")
    for volume in _volumes_named(container):
        if _is_ours(volume):
            yield f"Container '{name}' of a pod can't use the volume '{volume}', which {_BEGINS}."
    if container.get("restartPolicyRules"):
        yield f"Container '{name}' of a pod can't have 'restartPolicyRules': an attempt runs once; let the task be tried again."
    if name != MAIN:
        return
    if container.get("restartPolicy") not in (None, "Never"):
        yield f"The container '{MAIN}' of a pod can't have a 'restartPolicy': an attempt runs once; let the task be tried again."
    for item in listed(container, "env"):
        if item.get("name") in OWN_VARIABLES:
            yield _variable(item["name"], "is set by halfstep")


_BEGINS = f"begins with {VOLUMES}, which is halfstep's own"


def _variable(name: str, why: str) -> str:
    return f"The variable {name} of a pod can't be set by its task, as it {why}."


def _is_ours(name: Any) -> bool:
    return isinstance(name, str) and name.strip().lower().startswith(VOLUMES)


def _volumes_named(container: Pod) -> Iterator[Any]:
    for key in ("volumeMounts", "volumeDevices"):
        yield from (item.get("name") for item in listed(container, key))
    yield from (inside(inside(item, "valueFrom"), "fileKeyRef").get("volumeName") for item in listed(container, "env"))


def _mounted(container: Pod) -> Iterator[str]:
    found = [
        *(item.get("mountPath") for item in listed(container, "volumeMounts")),
        *(item.get("devicePath") for item in listed(container, "volumeDevices")),
        container.get("terminationMessagePath"),
    ]
    yield from (path for path in found if isinstance(path, str))


def _parts(path: str) -> list[str]:
    """Of a path in a container, whose folder `/` is where relative ones begin."""
    found: list[str] = []
    for part in PurePosixPath("/" + path).parts[1:]:
        found = found[:-1] if part == ".." else [*found, part]
    return found

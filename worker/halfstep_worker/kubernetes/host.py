"""What in a pod's spec reaches out of its containers, or lets them run as root. For the launcher's policy.

The lists follow the Pod Security Standards of Kubernetes (profiles `baseline` and `restricted`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from halfstep_worker.kubernetes.names import MAIN
from halfstep_worker.kubernetes.objects import inside, listed
from halfstep_worker.kubernetes.values import Pod

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_SHARED = ("hostNetwork", "hostPID", "hostIPC", "nodeName")
_HARMLESS = frozenset({"NET_BIND_SERVICE"})
_CONFINED = ("RuntimeDefault", "Localhost")
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def containers_of(pod: Pod) -> list[Pod]:
    """All of them: init and ephemeral containers too."""
    spec = pod["spec"]
    return [item for key in _CONTAINERS for item in listed(spec, key)]


def main_of(pod: Pod) -> Pod:
    """The task's own container."""
    return next(container for container in pod["spec"]["containers"] if container["name"] == MAIN)


def volumes_of(pod: Pod) -> list[Pod]:
    """Its volumes."""
    return listed(pod["spec"], "volumes")


def host_access(pod: Pod) -> Iterator[str]:
    """Each thing that reaches out of the containers, for people."""
    spec = pod["spec"]
    yield from (key for key in _SHARED if spec.get(key))
    if inside(spec, "os").get("name") not in (None, "linux"):  # what is said here of users and capabilities, Windows has not
        yield f"the system {spec['os']['name']}"
    yield from (
        f"volume '{volume.get('name')}' of the kind hostPath" for volume in volumes_of(pod) if volume.get("hostPath") is not None
    )
    annotations = inside(pod["metadata"], "annotations")
    yield from (f"annotation {key}" for key, value in annotations.items() if key.startswith(APPARMOR) and value == "unconfined")
    yield from _loose("the pod", inside(spec, "securityContext"))
    for container in containers_of(pod):
        yield from _container(f"container '{container.get('name')}'", container)
    yield from _without_seccomp(pod)


def root_access(pod: Pod) -> Iterator[str]:
    """Each container that may run as root, become it, or keeps what root is made of, for people."""
    general = inside(pod["spec"], "securityContext")
    for container in containers_of(pod):
        own = inside(container, "securityContext")
        security = general | {key: value for key, value in own.items() if value is not None}
        name = f"container '{container.get('name')}'"
        if security.get("runAsUser") == 0 or security.get("runAsNonRoot") is not True:
            yield f"{name} running as root"
        elif security.get("allowPrivilegeEscalation") is not False:
            yield f"allowPrivilegeEscalation of {name}"
        elif not any(str(word).upper() == "ALL" for word in _as_list(inside(own, "capabilities").get("drop"))):
            yield f"capabilities of {name} that are not dropped"


def _without_seccomp(pod: Pod) -> Iterator[str]:
    """Kubernetes runs a container unconfined that has no profile, nor its pod: a null takes the launcher's own away."""
    general = pod["spec"].get("securityContext") or {}
    if not isinstance(general, dict):  # no API server takes it
        return
    for container in containers_of(pod):
        own = inside(container, "securityContext").get("seccompProfile")
        profile = general.get("seccompProfile") if own is None else own
        if inside(profile).get("type") not in _CONFINED:
            yield f"unconfined seccompProfile of container '{container.get('name')}'"


def _container(name: str, container: Pod) -> Iterator[str]:
    security = inside(container, "securityContext")
    if security.get("privileged"):
        yield f"privileged {name}"
    if security.get("procMount") not in (None, "Default"):
        yield f"procMount of {name}"
    added = inside(security, "capabilities").get("add") or []
    yield from (f"capability {word} of {name}" for word in _as_list(added) if str(word) not in _HARMLESS)
    yield from _loose(name, security)
    if any(mount.get("mountPropagation") == "Bidirectional" for mount in listed(container, "volumeMounts")):
        yield f"mounts that reach the node of {name}"
    yield from (f"hostPort of {name}" for port in listed(container, "ports") if port.get("hostPort"))
    if _calls_a_host(container):
        yield f"a probe or hook with a host of {name}"


def _loose(name: str, security: Pod) -> Iterator[str]:
    for profile in ("seccompProfile", "appArmorProfile"):
        if inside(security, profile).get("type") == "Unconfined":
            yield f"unconfined {profile} of {name}"
    if any(inside(security, "seLinuxOptions").get(key) for key in ("user", "role", "type")):
        yield f"seLinuxOptions of {name}"
    if inside(security, "windowsOptions").get("hostProcess"):
        yield f"hostProcess of {name}"
    elif security.get("windowsOptions"):
        yield f"windowsOptions of {name}"
    if security.get("sysctls"):
        yield f"sysctls of {name}"


def _calls_a_host(value: Any) -> bool:
    """The kubelet makes these calls, from the node's network."""
    if isinstance(value, list):
        return any(_calls_a_host(inner) for inner in value)
    if not isinstance(value, dict):
        return False
    if any(inside(value, key).get("host") for key in ("httpGet", "tcpSocket")):
        return True
    return any(_calls_a_host(inner) for inner in value.values())


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]

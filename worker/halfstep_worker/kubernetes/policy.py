"""What tasks may ask of the cluster. Who may enqueue a pod is not thereby master of the namespace that it runs in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from halfstep.errors import InvalidSettings
from halfstep_worker.kubernetes.clusters import Cluster
from halfstep_worker.kubernetes.host import containers_of, host_access, root_access, volumes_of
from halfstep_worker.kubernetes.objects import inside, listed
from halfstep_worker.kubernetes.quantities import quantity
from halfstep_worker.kubernetes.references import references, wants_token
from halfstep_worker.kubernetes.values import Pod
from halfstep_worker.kubernetes.yamlfile import check_keys, read_mapping, strings

_NOUNS = {"secrets": "Secret", "config_maps": "ConfigMap", "volume_claims": "PersistentVolumeClaim"}
_CLASSES = {"priorityClassName": ("priority_classes", "Priority class"), "runtimeClassName": ("runtime_classes", "Runtime class")}
_UNBOUNDED = ("cpu", "memory", "ephemeral-storage")
"""Resources of which a container without a limit takes what it can get."""


@dataclass(frozen=True, slots=True)
class LauncherPolicy:
    """Lists hold names or patterns (`*`, `?`, `[…]`). The defaults are those of a launcher without a policy file."""

    images: tuple[str, ...] = ("*",)
    """Images of all containers, as they are written in the task."""
    service_accounts: tuple[str, ...] = ()
    """Accounts that pods may run under, with their token. `default` without its token is always allowed."""
    secrets: tuple[str, ...] = ()
    config_maps: tuple[str, ...] = ()
    volume_claims: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    """Of the namespaces that the cluster is configured with, those that tasks may name beside its default."""
    clusters: tuple[str, ...] = ("*",)
    """Of the configured clusters, those that tasks may run in."""
    priority_classes: tuple[str, ...] = ()
    runtime_classes: tuple[str, ...] = ()
    volume_kinds: tuple[str, ...] = (
        "configMap", "downwardAPI", "emptyDir", "image", "persistentVolumeClaim", "projected", "secret",
    )  # fmt: skip
    allow_host_access: bool = False
    """Host namespaces, paths and ports, privileged containers, added capabilities, a node by name."""
    allow_root: bool = False
    """Containers that run as root or may become it."""
    max_resources: Mapping[str, Decimal] = field(default_factory=dict)
    """The most that the limits of one pod may add up to, by resource."""

    def refusal(self, pod: Pod, cluster: Cluster) -> str | None:
        """Why this pod may not be made there, and which key would allow it; None: it may.

        `pod` is all that the task asks for, its template merged: nothing that is added later may come from the task.
        """
        return next(self._refusals(pod, cluster), None)

    def _refusals(self, pod: Pod, cluster: Cluster) -> Iterator[str]:
        yield from self._places(pod, cluster)
        yield from self._accounts(pod)
        yield from self._kinds(pod)
        yield from self._names(pod)
        if not self.allow_host_access:
            yield from (_not_allowed(what, "allow_host_access: true") for what in host_access(pod))
        if not self.allow_root:
            yield from (_not_allowed(what, "allow_root: true") for what in root_access(pod))
        yield from self._amounts(pod)

    def _places(self, pod: Pod, cluster: Cluster) -> Iterator[str]:
        namespace = pod["metadata"]["namespace"]
        if not self._allows("clusters", cluster.title):
            yield _not_listed(f"Cluster '{cluster.title}'", "clusters")
        if namespace not in cluster.watched:
            known = ", ".join(cluster.watched)
            yield f"Namespace '{namespace}' is not configured for tasks in cluster '{cluster.title}'; configured: {known}."
        elif namespace != cluster.namespace and not self._allows("namespaces", namespace):
            yield _not_listed(f"Namespace '{namespace}'", "namespaces")

    def _accounts(self, pod: Pod) -> Iterator[str]:
        spec = pod["spec"]
        has_token = spec.get("automountServiceAccountToken") is not False or wants_token(volumes_of(pod))
        for account in [spec[key] for key in ("serviceAccountName", "serviceAccount") if spec.get(key)] or ["default"]:
            if (account != "default" or has_token) and not self._allows("service_accounts", account):
                yield _not_listed(f"Service account '{account}'{' with its token' if has_token else ''}", "service_accounts")

    def _kinds(self, pod: Pod) -> Iterator[str]:
        for volume in volumes_of(pod):
            for kind, value in volume.items():
                if kind not in ("name", "hostPath") and value is not None and not self._allows("volume_kinds", kind):
                    yield _not_listed(f"Volume '{volume.get('name')}' of the kind {kind}", "volume_kinds")

    def _names(self, pod: Pod) -> Iterator[str]:
        for image in _images(pod):
            if not self._allows("images", image):
                yield _not_listed(f"Image '{image}'", "images")
        for key, name in references(pod["spec"]):
            if not self._allows(key, name):
                yield _not_listed(f"{_NOUNS[key]} '{name}'", key)
        for field_name, (key, noun) in _CLASSES.items():
            name = pod["spec"].get(field_name)
            if name and not self._allows(key, name):
                yield _not_listed(f"{noun} '{name}'", key)

    def _amounts(self, pod: Pod) -> Iterator[str]:
        for resource, most in self.max_resources.items():
            total = _total(pod, resource)
            if isinstance(total, str):
                yield f"{total} needs a limit of {resource}, as the launcher's policy has 'max_resources'."
            elif total > most:
                yield f"The limits of {resource} of the pod add up to more than the launcher's policy allows in 'max_resources'."

    def _allows(self, key: str, name: Any) -> bool:
        return isinstance(name, str) and any(fnmatchcase(name, pattern) for pattern in getattr(self, key))


def read_policy(file: Path | None) -> LauncherPolicy:
    """The policy in a YAML file with the fields as keys; what it leaves out keeps its default. InvalidSettings: wrong content."""
    if file is None:
        return LauncherPolicy()
    where = f"the policy file {file}"
    given = {key: value for key, value in read_mapping(file, "policy file").items() if value is not None}
    kinds: dict[str, type | tuple[type, ...]] = {item.name: list for item in fields(LauncherPolicy)}
    check_keys(where, given, kinds | {"allow_host_access": bool, "allow_root": bool, "max_resources": dict})
    lists = {key: strings(where, key, value) for key, value in given.items() if isinstance(value, list)}
    flags = {key: value for key, value in given.items() if isinstance(value, bool)}
    return LauncherPolicy(**lists, **flags, max_resources=_quantities(where, given.get("max_resources", {})))  # type: ignore[arg-type]


def _quantities(where: str, given: Mapping[str, Any]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for resource, value in given.items():
        number = quantity(value)
        if number is None:
            raise InvalidSettings(f"'{resource}' under 'max_resources' in {where} must be a quantity such as 2 or 8Gi.")
        found[str(resource)] = number
    return found


def _images(pod: Pod) -> Iterator[Any]:
    """Of containers, and of volumes that are images. A missing one is the launcher's own."""
    for container in containers_of(pod):
        if container.get("image"):
            yield container["image"]
    for volume in volumes_of(pod):
        if inside(volume, "image").get("reference"):
            yield volume["image"]["reference"]


def _total(pod: Pod, resource: str) -> Decimal | str:
    """The most that the pod can take of a resource; or the container that has no limit."""
    whole = _limit(pod["spec"], resource)
    if whole is not None:
        return whole
    together, alone = Decimal(0), Decimal(0)
    initial = {id(container) for container in listed(pod["spec"], "initContainers")}  # by id: there may be thousands
    for container in containers_of(pod):
        limit = _limit(container, resource)
        if limit is None and resource in _UNBOUNDED:
            return f"Container '{container.get('name')}'"
        if id(container) in initial and container.get("restartPolicy") != "Always":
            alone = max(alone, limit or Decimal(0))
        else:
            together += limit or Decimal(0)
    return max(together, alone)


def _limit(holder: Pod, resource: str) -> Decimal | None:
    """Infinite if it can't be read; None if there is none."""
    given = inside(inside(holder, "resources"), "limits").get(resource)
    if given is None:
        return None
    number = quantity(given)
    return Decimal("Infinity") if number is None else number


def _not_listed(what: str, key: str) -> str:
    return f"{what} may not be used by tasks; the launcher's policy would have to list it under '{key}'."


def _not_allowed(what: str, setting: str) -> str:
    return f"Tasks may not have {what}; the launcher's policy would need '{setting}'."

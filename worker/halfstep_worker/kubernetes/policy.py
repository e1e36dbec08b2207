"""What tasks may ask of the cluster. Who may enqueue a pod is not thereby master of the namespace that it runs in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from halfstep.errors import InvalidSettings
from halfstep_worker.kubernetes.amounts import UNBOUNDED, named, sizes, total
from halfstep_worker.kubernetes.clusters import Cluster
from halfstep_worker.kubernetes.fields import OF_EVERY_POD, ON_REQUEST, fields_of, known_fields
from halfstep_worker.kubernetes.host import APPARMOR, containers_of, host_access, root_access, volumes_of
from halfstep_worker.kubernetes.images import read_image
from halfstep_worker.kubernetes.launcher_defaults import raised_by_defaults, with_resources
from halfstep_worker.kubernetes.names import DEFAULT_CONTAINER, is_ours
from halfstep_worker.kubernetes.objects import inside, listed, number
from halfstep_worker.kubernetes.quantities import quantity
from halfstep_worker.kubernetes.references import references, wants_token
from halfstep_worker.kubernetes.values import Pod
from halfstep_worker.kubernetes.yamlfile import check_keys, read_mapping, strings

_NOUNS = {
    "secrets": "Secret",
    "config_maps": "ConfigMap",
    "volume_claims": "PersistentVolumeClaim",
    "resource_claims": "Resource claim",
}
_CLASSES = {
    "priorityClassName": ("priority_classes", "Priority class"),
    "runtimeClassName": ("runtime_classes", "Runtime class"),
    "schedulerName": ("schedulers", "Scheduler"),
}
_KUBERNETES = ("kubernetes.io", "k8s.io")
_BUNDLE = "clusterTrustBundle"
_FLAGS = ("allow_host_access", "allow_root", "strict")
_SHOWN = 200
"""Characters of a name that is none."""


@dataclass(frozen=True, slots=True)
class LauncherPolicy:
    """Lists hold names or patterns (`*`, `?`, `[…]`). The defaults are those of a launcher without a policy file."""

    images: tuple[str, ...] = ("*",)
    """Images of all containers and image volumes, in any spelling of the same image (images.py)."""
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
        "clusterTrustBundle", "configMap", "downwardAPI", "emptyDir", "image", "persistentVolumeClaim", "projected", "secret",
    )  # fmt: skip
    allow_host_access: bool = False
    """Host namespaces, paths and ports, privileged containers, added capabilities, a node by name."""
    allow_root: bool = False
    """Containers that run as root or may become it."""
    max_resources: Mapping[str, Decimal] = field(default_factory=dict)
    """The most that the limits of one pod may add up to, by resource. Not empty: resources that it does not name are refused,
    but cpu, memory and ephemeral-storage."""
    resource_claims: tuple[str, ...] = ()
    """ResourceClaims and their templates: devices."""
    schedulers: tuple[str, ...] = ("default-scheduler",)
    tolerations: tuple[str, ...] = ("*",)
    """Keys of taints. A toleration without a key is for all of them, and fits `*` alone."""
    node_labels: tuple[str, ...] = ("*",)
    """Keys that tasks may choose nodes by."""
    labels: tuple[str, ...] = ("*", "app.kubernetes.io/*")
    """Keys. Those of Kubernetes' own domains need a pattern that spells the domain out."""
    annotations: tuple[str, ...] = ("*", "kubectl.kubernetes.io/*", "cluster-autoscaler.kubernetes.io/*", f"{APPARMOR}*")
    max_grace_seconds: int = 86_400
    """The longest time between TERM and KILL that tasks may ask for."""
    fields: tuple[str, ...] = ()
    """Of the fields that are not usual (fields.py), and of unknown ones under `strict`, those that tasks may set."""
    refused_fields: tuple[str, ...] = ()
    """Of the usual fields, those that tasks may not set."""
    strict: bool = False
    """Fields that the launcher does not know are refused, and names of images that are none."""

    def refusal(self, pod: Pod, cluster: Cluster) -> str | None:
        """Why this pod may not be made there, and which key would allow it; None: it may.

        `pod` is all that the task asks for, its template merged, with defaults and marks: what is added later is the launcher's
        own, and out of the task's reach (reserved.py, alone.py).
        """
        return next(self._refusals(pod, cluster), None)

    def _refusals(self, pod: Pod, cluster: Cluster) -> Iterator[str]:
        yield from self._places(pod, cluster)
        yield from self._accounts(pod)
        yield from self._kinds(pod)
        yield from self._names(pod, cluster)
        if not self.allow_host_access:
            yield from (_not_allowed(what, "allow_host_access: true") for what in host_access(pod))
        if not self.allow_root:
            yield from (_not_allowed(what, "allow_root: true") for what in root_access(pod))
        yield from self._amounts(with_resources(pod, cluster.pods.under), cluster)
        yield from self._marks(pod)
        yield from self._nodes(pod)
        yield from self._graces(pod)
        yield from self._fields(pod)

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
            for source in listed(inside(volume, "projected"), "sources"):
                if source.get(_BUNDLE) is not None and not self._allows("volume_kinds", _BUNDLE):
                    yield _not_listed(f"Volume '{volume.get('name')}' with a {_BUNDLE}", "volume_kinds")

    def _names(self, pod: Pod, cluster: Cluster) -> Iterator[str]:
        for image in _images(pod):
            yield from self._image(image)
        ours = frozenset(_ours(cluster))
        for key, name in references(pod["spec"]):
            if (key, name) in ours and name not in getattr(self, key):
                yield _not_listed(f"{_NOUNS[key]} '{name}', which is the launcher's own,", key, "by its whole name ")
            elif not self._allows(key, name):
                yield _not_listed(f"{_NOUNS[key]} '{name}'", key)
        for field_name, (key, noun) in _CLASSES.items():
            name = pod["spec"].get(field_name)
            if name and not self._allows(key, name):
                yield _not_listed(f"{noun} '{name}'", key)

    def _image(self, image: Any) -> Iterator[str]:
        """`*` alone leaves it to the cluster what a name is, unless the policy is strict."""
        if isinstance(image, str) and "*" in self.images and not self.strict:
            return
        found = read_image(image) if isinstance(image, str) else None
        if found is None:
            yield f"{str(image)[:_SHOWN]!r} is no name of an image; write it like registry.example.com/team/name:tag."
        elif not any(found.fits(pattern) for pattern in self.images):
            yield _not_listed(f"Image '{image}'", "images")

    def most(self, cluster: Cluster) -> dict[str, Decimal]:
        """The most of each bounded resource that a pod there may take."""
        return raised_by_defaults(self.max_resources, cluster.pods.under)

    def _amounts(self, pod: Pod, cluster: Cluster) -> Iterator[str]:
        allowed = self.most(cluster)
        for resource, most in allowed.items():
            amount = total(pod, resource)
            if isinstance(amount, str):
                yield f"{amount} needs a limit of {resource}, as the launcher's policy has 'max_resources'."
            elif amount > most:
                yield f"The limits of {resource} of the pod add up to more than the launcher's policy allows in 'max_resources'."
            elif sizes(pod, resource) > most:
                yield f"The sizes of the pod's volumes take more {resource} than the launcher's policy allows in 'max_resources'."
        for resource in dict.fromkeys(named(pod)) if self.max_resources else ():
            if resource not in allowed and resource not in UNBOUNDED:
                yield _not_listed(f"Resource '{resource}'", "max_resources")

    def _marks(self, pod: Pod) -> Iterator[str]:
        for kind, noun in (("labels", "Label"), ("annotations", "Annotation")):
            for key in inside(pod["metadata"], kind):
                if key != DEFAULT_CONTAINER and not is_ours(key) and not self._allows_mark(kind, key):
                    yield _not_listed(f"{noun} '{key}'", kind)

    def _allows_mark(self, kind: str, key: str) -> bool:
        domain = key.partition("/")[0].lower()
        its_own = any(domain == name or domain.endswith(f".{name}") for name in _KUBERNETES)
        patterns = [item for item in getattr(self, kind) if not its_own or any(f"{name}/" in item for name in _KUBERNETES)]
        return any(fnmatchcase(key, pattern) for pattern in patterns)

    def _nodes(self, pod: Pod) -> Iterator[str]:
        spec = pod["spec"]
        for toleration in listed(spec, "tolerations"):
            key = toleration.get("key") or ""
            if not self._allows("tolerations", key):
                yield _not_listed(f"Toleration of '{key}'" if key else "Toleration of all taints", "tolerations")
        for key in dict.fromkeys([*inside(spec, "nodeSelector"), *_keys(inside(inside(spec, "affinity"), "nodeAffinity"))]):
            if not self._allows("node_labels", key):
                yield _not_listed(f"Choice of nodes by '{key}'", "node_labels")

    def _graces(self, pod: Pod) -> Iterator[str]:
        probes = [inside(container, key) for container in containers_of(pod) for key in ("livenessProbe", "startupProbe")]
        for holder in (pod["spec"], *probes):
            grace = holder.get("terminationGracePeriodSeconds")
            if grace is not None and not (number(grace) or 0) <= self.max_grace_seconds:
                yield (
                    f"Tasks may not have a grace of more than {self.max_grace_seconds} seconds; "
                    "the launcher's policy would have to raise 'max_grace_seconds'."
                )

    def _fields(self, pod: Pod) -> Iterator[str]:
        unknown = []
        for name, is_known in dict.fromkeys(fields_of(pod["spec"])):
            if name not in OF_EVERY_POD and self._allows("refused_fields", name):
                yield f"Field '{name}' may not be set by tasks; the launcher's policy has it under 'refused_fields'."
            if name in ON_REQUEST and not self._allows("fields", name):
                yield _not_listed(f"Field '{name}'", "fields")
            if not is_known and self.strict and not self._allows("fields", name):
                unknown.append(f"'{name}'"[:_SHOWN])
        if unknown:
            yield (
                f"The launcher does not know these fields of a pod: {', '.join(unknown)}; "
                "its policy is strict, and would have to list them under 'fields'."
            )

    def _allows(self, key: str, name: Any) -> bool:
        return isinstance(name, str) and any(fnmatchcase(name, pattern) for pattern in getattr(self, key))


def read_policy(file: Path | None) -> LauncherPolicy:
    """The policy in a YAML file with the fields as keys; what it leaves out keeps its default. InvalidSettings: wrong content."""
    if file is None:
        return LauncherPolicy()
    where = f"the policy file {file}"
    given = {key: value for key, value in read_mapping(file, "policy file").items() if value is not None}
    kinds: dict[str, type | tuple[type, ...]] = {item.name: list for item in fields(LauncherPolicy)}
    others = dict.fromkeys(_FLAGS, bool) | {"max_resources": dict, "max_grace_seconds": int}
    check_keys(where, given, kinds | others)
    lists = {key: strings(where, key, value) for key, value in given.items() if isinstance(value, list)}
    _check_refused_fields(where, lists.get("refused_fields", ()))
    simple = {key: value for key, value in given.items() if isinstance(value, bool | int)}
    if simple.get("max_grace_seconds", 1) < 1:
        raise InvalidSettings(f"'max_grace_seconds' in {where} must be at least 1.")
    return LauncherPolicy(**lists, **simple, max_resources=_quantities(where, given.get("max_resources", {})))  # type: ignore[arg-type]


def _check_refused_fields(where: str, patterns: Iterable[str]) -> None:
    """A pattern that refuses nothing is a slip of the pen, and one that fits what every pod has would refuse all."""
    for pattern in patterns:
        fitting = [name for name in known_fields() if fnmatchcase(name, pattern)]
        if not fitting:
            raise InvalidSettings(f"{pattern!r} under 'refused_fields' in {where} fits no field of a pod.")
        ours = next((name for name in fitting if name in OF_EVERY_POD), None)
        if ours:
            raise InvalidSettings(f"{pattern!r} under 'refused_fields' in {where} fits '{ours}', which the launcher itself sets.")


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


def _keys(affinity: Any) -> Iterator[str]:
    """Of labels and fields of nodes, wherever they stand in it."""
    for value in affinity.values() if isinstance(affinity, dict) else affinity:
        if isinstance(value, dict) and "key" in value:
            yield str(value["key"])
        if isinstance(value, dict | list):
            yield from _keys(value)


def _ours(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Pairs as `references` has them, of what the launcher puts into pods itself: whoever writes `*` does not think of it."""
    yield from references(dict(cluster.pods.source_volume))
    yield from (("secrets", found.secret) for found in cluster.pods.connections.values())


def _not_listed(what: str, key: str, how: str = "") -> str:
    return f"{what} may not be used by tasks; the launcher's policy would have to list it {how}under '{key}'."


def _not_allowed(what: str, setting: str) -> str:
    return f"Tasks may not have {what}; the launcher's policy would need '{setting}'."

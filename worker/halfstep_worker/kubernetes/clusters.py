"""The clusters that a launcher may make pods in, from one YAML file. Nothing here talks to a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halfstep.errors import InvalidSettings
from halfstep_worker.kubernetes.defaults import PodDefaults, SecretKey
from halfstep_worker.kubernetes.launcher_defaults import KEYS, check_task_labels, read_defaults
from halfstep_worker.kubernetes.reserved import CONNECTIONS, OWN_VARIABLES
from halfstep_worker.kubernetes.shapes import CLUSTER, NAMESPACE
from halfstep_worker.kubernetes.yamlfile import check_keys, read_mapping, string_map, strings

DEFAULT = "default"
"""What the cluster without a name (`""`) is called in the file and in tasks."""
_KEYS: dict[str, type | tuple[type, ...]] = {
    "kubeconfig": str,
    "context": str,
    "in_cluster": bool,
    "namespace": str,
    "namespaces": list,
    "rate": dict,
    "pods": dict,
}
_RATE: dict[str, type | tuple[type, ...]] = {"qps": (int, float), "burst": int}
_PODS: dict[str, type | tuple[type, ...]] = {
    "image": str,
    "image_pull_policy": str,
    "image_pull_secrets": list,
    "env": dict,
    "connections": dict,
    "source": str,
    "source_volume": dict,
    "defaults": dict,
    "task_labels": list,
}
_SECRET: dict[str, type | tuple[type, ...]] = {"secret": str, "key": str}


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests to the API server: `qps` a second in the long run, `burst` at once."""

    qps: float = 200.0
    burst: int = 400


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster and how to reach it."""

    name: str = ""
    """As tasks name it; `""` is the default."""
    kubeconfig: str | None = None
    """A kubeconfig file, or several with colons between them. None, and not `in_cluster`: ~/.kube/config."""
    context: str | None = None
    """Of the kubeconfig. None: its current one."""
    in_cluster: bool = False
    """Use the service account of the launcher's own pod."""
    namespace: str = "halfstep-tasks"
    """Where tasks' pods go that name no namespace."""
    namespaces: tuple[str, ...] = ()
    """Other namespaces that tasks may name, if the policy allows it. All are watched."""
    rate: Rate = field(default_factory=Rate)
    pods: PodDefaults = field(default_factory=PodDefaults)
    """What the launcher puts into pods here."""

    @property
    def watched(self) -> tuple[str, ...]:
        """All namespaces that pods may be in, the default one first."""
        return tuple(dict.fromkeys((self.namespace, *self.namespaces)))

    @property
    def title(self) -> str:
        """For people: `default` for the one without a name."""
        return self.name or DEFAULT


def cluster_name(given: str) -> str:
    """A cluster's name as the queue stores it: `default` is the empty one."""
    return "" if given == DEFAULT else given


def read_clusters(file: Path | None, environment: Mapping[str, str]) -> dict[str, Cluster]:
    """Clusters by name. Without a file there is the default one, of KUBECONFIG, or the cluster that we run in.

    InvalidSettings says what in the file is wrong.
    """
    if file is None:
        return {"": _around_us(environment)}
    given = read_mapping(file, "clusters file")
    try:
        found = [_cluster(name, value, file.parent) for name, value in given.items()]
    except InvalidSettings as error:
        raise InvalidSettings(f"In the clusters file {file}: {error}") from None
    if not found:
        raise InvalidSettings(f"The clusters file {file} names no cluster.")
    return {cluster.name: cluster for cluster in found}


def cluster_of(clusters: Mapping[str, Cluster], name: str) -> Cluster:
    """The cluster of that name (`default` or `""` for the default one). InvalidSettings lists the known ones."""
    found = clusters.get(cluster_name(name))
    if found is None:
        known = ", ".join(sorted(cluster.title for cluster in clusters.values()))
        raise InvalidSettings(f"There is no cluster '{name or DEFAULT}' in the configuration; known: {known}.")
    return found


def _around_us(environment: Mapping[str, str]) -> Cluster:
    kubeconfig = environment.get("KUBECONFIG") or None
    return Cluster(kubeconfig=kubeconfig, in_cluster=kubeconfig is None and "KUBERNETES_SERVICE_HOST" in environment)


def _cluster(name: str, value: Any, folder: Path) -> Cluster:
    where = f"cluster '{name}'"
    if not CLUSTER.fullmatch(name):
        raise InvalidSettings(f"The name of {where} has to have 1 to 63 letters, digits, dots, dashes or underscores.")
    given = _given(where, value, _KEYS)
    if given.get("in_cluster") and (given.get("kubeconfig") or given.get("context")):
        raise InvalidSettings(f"{where.capitalize()} has 'in_cluster' and a kubeconfig; leave one out.")
    namespace = given.get("namespace") or Cluster().namespace
    namespaces = strings(where, "namespaces", given.get("namespaces"))
    for each in (namespace, *namespaces):
        if not NAMESPACE.fullmatch(each):
            raise InvalidSettings(f"'{each}' in {where} is no name for a namespace: small letters, digits and - only.")
    return Cluster(
        name=cluster_name(name),
        kubeconfig=_path(given.get("kubeconfig"), folder),
        context=given.get("context"),
        in_cluster=bool(given.get("in_cluster")),
        namespace=namespace,
        namespaces=namespaces,
        rate=_rate(where, given.get("rate")),
        pods=_pods(f"'pods' of {where}", given.get("pods"), namespace),
    )


def _given(where: str, value: Any, known: dict[str, type | tuple[type, ...]]) -> dict[str, Any]:
    if not isinstance(value, dict | None):
        raise InvalidSettings(f"What stands under {where} must be a mapping, not {value!r}.")
    given = {str(key): inner for key, inner in (value or {}).items()}
    check_keys(where, given, known)
    return {key: inner for key, inner in given.items() if inner is not None}


def _path(kubeconfig: str | None, folder: Path) -> str | None:
    """Relative to the folder of the clusters file; `~` is the user's home."""
    return None if kubeconfig is None else str(folder / Path(kubeconfig).expanduser())


def _rate(where: str, value: Any) -> Rate:
    given = _given(f"'rate' of {where}", value, _RATE)
    rate = Rate(float(given.get("qps", Rate().qps)), given.get("burst", Rate().burst))
    if not rate.qps > 0 or rate.burst < 1:
        raise InvalidSettings(f"'rate' of {where} needs a 'qps' above 0 and a 'burst' of at least 1.")
    return rate


def _pods(where: str, value: Any, namespace: str) -> PodDefaults:
    given = _given(where, value, _PODS)
    if given.get("source_volume") and not given.get("source"):
        raise InvalidSettings(f"'source_volume' in {where} needs 'source', the folder that it is mounted at.")
    labels = strings(where, "task_labels", given.get("task_labels"))
    check_task_labels(where, labels)
    inner = f"'defaults' of {where}"
    under, on_oom = read_defaults(inner, _given(inner, given.get("defaults"), KEYS))
    return PodDefaults(
        namespace=namespace,
        image=given.get("image"),
        image_pull_policy=given.get("image_pull_policy"),
        image_pull_secrets=strings(where, "image_pull_secrets", given.get("image_pull_secrets")),
        env=_env(where, given.get("env")),
        connections={str(name).lower(): _secret(where, str(name), key) for name, key in given.get("connections", {}).items()},
        source=given.get("source"),
        source_volume=given.get("source_volume", {}),
        under=under,
        on_oom=on_oom,
        task_labels=labels,
    )


def _env(where: str, value: Any) -> dict[str, str]:
    found = string_map(where, "env", value)
    for name in found:
        if name in OWN_VARIABLES or name.startswith(CONNECTIONS):
            raise InvalidSettings(f"The variable {name} in {where} is set by halfstep itself; take it out of 'env'.")
    return found


def _secret(where: str, name: str, value: Any) -> SecretKey:
    given = _given(f"connection '{name}' in {where}", value, _SECRET)
    if not given.get("secret") or not given.get("key"):
        raise InvalidSettings(f"Connection '{name}' in {where} needs 'secret' and 'key': where in Kubernetes its URL stands.")
    return SecretKey(given["secret"], given["key"])

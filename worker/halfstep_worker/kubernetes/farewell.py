"""Leaving a cluster for good: finding the pods of an installation, and letting go of them. No launcher does this."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.api import ClusterApi
from halfstep_worker.kubernetes.clusters import Cluster
from halfstep_worker.kubernetes.names import FINALIZER, INSTALLATION
from halfstep_worker.kubernetes.values import Pod

LISTS = 3
"""How often a list is begun that the server forgets before its last page."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """A pod that is still there. held: our finalizer keeps its object. active: it may still run."""

    namespace: str
    name: str
    uid: str
    held: bool
    active: bool


class Farewell:
    """One cluster and one installation. For one thread; close it. Raises InvalidSettings where its access can't be read."""

    def __init__(self, cluster: Cluster, installation: str) -> None:
        kubeconfig = None if cluster.in_cluster else cluster.kubeconfig or str(Path.home() / ".kube" / "config")
        rate = cluster.rate
        self._api = ClusterApi(cluster.title, kubeconfig=kubeconfig, context=cluster.context, qps=rate.qps, burst=rate.burst)
        self._selector = f"{INSTALLATION}={installation}"

    def remaining(self, namespace: str) -> list[Remaining]:
        """All pods of the installation there, kept ones too; none where there is no such namespace. Raises ApiError."""
        for _ in range(LISTS - 1):
            try:
                return self._listed(namespace)
            except ApiError as error:
                if error.status != 410:
                    raise
        return self._listed(namespace)

    def let_go(self, pod: Remaining, *, delete: bool) -> None:
        """Takes our finalizer off, and no other; `delete`: asks for the deletion too. Raises ApiError.

        Another pod of that name is left alone, and one that has gone is fine, so all of it may be done again.
        """
        if pod.held:
            self._api.release_pod(pod.namespace, pod.name, keep=False, uid=pod.uid)
        if delete:
            self._api.delete_pod(pod.namespace, pod.name, uid=pod.uid)

    def close(self) -> None:
        """Closes its connections."""
        self._api.close()

    def _listed(self, namespace: str) -> list[Remaining]:
        page = self._api.list_pods(namespace, selector=self._selector)
        pods = page.pods
        while page.more:
            page = self._api.list_pods(namespace, selector=self._selector, page=page.more)
            pods += page.pods
        return [_remaining(namespace, pod) for pod in pods]


def _remaining(namespace: str, pod: Pod) -> Remaining:
    about = pod["metadata"]
    phase = (pod.get("status") or {}).get("phase")
    held = FINALIZER in (about.get("finalizers") or ())
    return Remaining(namespace, about["name"], about["uid"], held, active=phase not in ("Succeeded", "Failed"))

"""Leaving a cluster for good: finding the pods of an installation, and letting go of them. No launcher does this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from halfstep.pods import Doubt
from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.api import ClusterApi
from halfstep_worker.kubernetes.clusters import Cluster
from halfstep_worker.kubernetes.identity import (
    attempt_of,
    is_another_installations,
    is_held,
    is_marked,
    is_of_an_older_launcher,
    name_of,
    uid_of,
)
from halfstep_worker.kubernetes.names import INSTALLATION
from halfstep_worker.kubernetes.objects import inside
from halfstep_worker.kubernetes.reading import OVER, meta, phase
from halfstep_worker.kubernetes.unexplained import NO_NAME, WHYS
from halfstep_worker.kubernetes.values import Pod

LISTS = 3
"""How often a list is begun that the server forgets before its last page."""
ANOTHERS = "This database remembers it, but it carries the label or the mark of another installation."


@dataclass(frozen=True, slots=True)
class Remaining:
    """A pod that is still there, and perhaps ours. held: our finalizer keeps its object. active: it may still run.

    labelled: it has this installation's label. anothers: what it carries says that it is another installation's.
    doubt: what SQL is asked about it; None: no launcher gives such a name.
    """

    namespace: str
    name: str
    uid: str
    held: bool
    active: bool
    labelled: bool
    anothers: bool
    doubt: Doubt | None

    def why_strange(self, word: str | None) -> str | None:
        """Why it is not ours, a sentence, by what SQL says (`PodBook.owned`); None: it is ours."""
        if self.doubt is None:
            return NO_NAME
        if word != "ours":
            return WHYS[word or "unknown"]
        return ANOTHERS if self.anothers else None


class Farewell:
    """One cluster and one installation. For one thread; close it. Raises InvalidSettings where its access can't be read."""

    def __init__(self, cluster: Cluster, installation: str) -> None:
        kubeconfig = None if cluster.in_cluster else cluster.kubeconfig or str(Path.home() / ".kube" / "config")
        rate = cluster.rate
        self._api = ClusterApi(cluster.title, kubeconfig=kubeconfig, context=cluster.context, qps=rate.qps, burst=rate.burst)
        self._installation = installation

    def remaining(self, namespace: str) -> list[Remaining]:
        """All pods there with our label or a launcher's name, kept ones too; none where there is no such namespace.

        Labels are not selected by, as anybody may take one off. Raises ApiError.
        """
        for _ in range(LISTS - 1):
            try:
                return list(self._listed(namespace))
            except ApiError as error:
                if error.status != 410:
                    raise
        return list(self._listed(namespace))

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

    def _listed(self, namespace: str) -> Iterator[Remaining]:
        more: str | None = ""
        while more is not None:
            page = self._api.list_pods(namespace, selector="", page=more)
            yield from (_remaining(namespace, pod, self._installation) for pod in page.pods if self._may_be_ours(pod))
            more = page.more or None

    def _may_be_ours(self, pod: Pod) -> bool:
        return bool(uid_of(pod)) and (attempt_of(pod) is not None or _is_labelled(pod, self._installation))


def _is_labelled(pod: Pod, installation: str) -> bool:
    return inside(meta(pod), "labels").get(INSTALLATION) == installation


def _remaining(namespace: str, pod: Pod, installation: str) -> Remaining:
    attempt, uid, held = attempt_of(pod), uid_of(pod), is_held(pod)
    marked, older = is_marked(pod, installation), is_of_an_older_launcher(pod, installation)
    return Remaining(
        namespace, name_of(pod), uid, held, active=phase(pod) not in OVER, labelled=_is_labelled(pod, installation),
        anothers=is_another_installations(pod, installation),
        doubt=None if attempt is None else Doubt(attempt, uid, namespace, marked=marked, older=older, twin=marked and held),
    )  # fmt: skip

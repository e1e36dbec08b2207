"""Who is given connections: the runtime's own container, in a pod where nothing that the task chose runs or misleads."""

from __future__ import annotations

from collections.abc import Iterator

from halfstep_worker.kubernetes.names import MAIN, is_ours
from halfstep_worker.kubernetes.objects import inside, listed
from halfstep_worker.kubernetes.values import Pod

_SPEC = frozenset(
    {
        "activeDeadlineSeconds", "affinity", "automountServiceAccountToken", "containers", "hostUsers", "imagePullSecrets", "os",
        "preemptionPolicy", "priority", "priorityClassName", "resources", "restartPolicy", "runtimeClassName", "schedulerName",
        "securityContext", "serviceAccountName", "terminationGracePeriodSeconds", "tolerations", "topologySpreadConstraints",
        "nodeSelector",
    }
)  # fmt: skip
"""Where and how the pod runs, and not what. Whatever is not here is left out: `hostAliases` and `dnsConfig`, for instance, would
send a connection's password to another host."""
_MAIN = frozenset({"name", "imagePullPolicy", "ports", "resources", "securityContext", "terminationMessagePolicy"})


def alone(metadata: Pod, spec: Pod) -> Iterator[str]:
    """Why a pod with connections can't be: what its task asks for would change the runtime's container, or join it.

    `metadata` and `spec` are the task's, without our own part.
    """
    found = list(dict.fromkeys(_strangers(metadata, spec)))
    if found:
        yield (
            "A pod with connections runs the runtime's own image, alone and unchanged: "
            f"leave out {', '.join(found)}, or the connections."
        )


def _strangers(metadata: Pod, spec: Pod) -> Iterator[str]:
    """Annotations too: they tell webhooks and nodes to add containers, mounts and hooks."""
    annotations = inside(metadata, "annotations")
    yield from (f"annotation '{key}'" for key in annotations if not is_ours(key) and annotations[key] is not None)
    yield from (f"'{key}'" for key, value in spec.items() if key not in _SPEC and _is_given(value))
    for container in listed(spec, "containers"):
        if container.get("name") != MAIN:
            yield f"container '{container.get('name')}'"
        else:
            yield from (f"'{key}' of '{MAIN}'" for key, value in container.items() if key not in _MAIN and _is_given(value))


def _is_given(value: object) -> bool:
    return value not in (None, {}, [], "", False)

"""How much a pod can take of a resource at most, and which resources it names. For the launcher's policy."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from halfstep_worker.kubernetes.host import containers_of, volumes_of
from halfstep_worker.kubernetes.objects import inside, listed
from halfstep_worker.kubernetes.quantities import quantity
from halfstep_worker.kubernetes.values import Pod

UNBOUNDED = ("cpu", "memory", "ephemeral-storage")
"""Resources of which a container without a limit takes what it can get."""
_NOT_OF_PODS = "ephemeral-storage"
"""What Kubernetes takes no limit of that is the pod's."""
_ZERO, _NO_END = Decimal(0), Decimal("Infinity")
_KINDS = ("limits", "requests")


def total(pod: Pod, resource: str) -> Decimal | str:
    """Limits, or requests where they are higher, of the pod or of its containers together; or the container without a limit."""
    spec = pod["spec"]
    of_pod = _amount(spec, resource)
    bounded = resource not in UNBOUNDED or (_has_limit(spec, resource) and resource != _NOT_OF_PODS)
    if not bounded:
        for container in containers_of(pod):
            if not _has_limit(container, resource):
                return f"Container '{container.get('name')}'"
    return max(of_pod, _at_once(pod, resource)) + _read(inside(spec, "overhead").get(resource))


def sizes(pod: Pod, resource: str) -> Decimal:
    """Of its emptyDir volumes in memory, or on disk. One without a size can't outgrow the limits of containers."""
    together = _ZERO
    for volume in volumes_of(pod):
        held = inside(volume, "emptyDir")
        if resource == ("memory" if held.get("medium") == "Memory" else "ephemeral-storage"):
            together += _read(held.get("sizeLimit"))
    return together


def named(pod: Pod) -> Iterator[str]:
    """All resources that it asks for; the claims of generic ephemeral volumes ask for `storage`."""
    spec = pod["spec"]
    for holder in (spec, *containers_of(pod)):
        for kind in _KINDS:
            yield from inside(inside(holder, "resources"), kind)
    yield from inside(spec, "overhead")
    for volume in volumes_of(pod):
        for kind in _KINDS:
            yield from inside(_claimed(volume), kind)


def _at_once(pod: Pod, resource: str) -> Decimal:
    """The most that runs at one time: sidecars run beside the init containers that come after them."""
    beside, most = _ZERO, _ZERO
    for container in listed(pod["spec"], "initContainers"):
        own = _amount(container, resource)
        most = max(most, beside + own)
        if container.get("restartPolicy") == "Always":
            beside += own
    lasting = [*listed(pod["spec"], "containers"), *listed(pod["spec"], "ephemeralContainers")]
    running = beside + sum((_amount(container, resource) for container in lasting), _ZERO)
    stored = sum((_most(_claimed(volume), resource) for volume in volumes_of(pod)), _ZERO)
    return max(most, running) + stored


def _claimed(volume: Pod) -> Pod:
    return inside(inside(inside(inside(volume, "ephemeral"), "volumeClaimTemplate"), "spec"), "resources")


def _has_limit(holder: Pod, resource: str) -> bool:
    """A limit of 0 is none."""
    return _read(inside(inside(holder, "resources"), "limits").get(resource)) > 0


def _amount(holder: Pod, resource: str) -> Decimal:
    return _most(inside(holder, "resources"), resource)


def _most(resources: Pod, resource: str) -> Decimal:
    return max(_read(inside(resources, kind).get(resource)) for kind in _KINDS)


def _read(given: Any) -> Decimal:
    """Infinite if it can't be read."""
    if given is None:
        return _ZERO
    number = quantity(given)
    return _NO_END if number is None else number

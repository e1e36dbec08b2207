"""What a pod's dictionary says, field by field. Every field may be missing: an empty dictionary is a pod nobody has seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from halfstep_worker.kubernetes.names import MAIN, OPERATOR
from halfstep_worker.kubernetes.values import Pod

OVER = ("Succeeded", "Failed")
POD_OPERATOR = "pod"


def meta(pod: Pod) -> dict[str, Any]:
    """The pod's metadata."""
    return pod.get("metadata") or {}


def spec(pod: Pod) -> dict[str, Any]:
    """The pod's spec."""
    return pod.get("spec") or {}


def status(pod: Pod) -> dict[str, Any]:
    """The pod's status."""
    return pod.get("status") or {}


def phase(pod: Pod) -> str:
    """Pending, Running, Succeeded, Failed, or nothing."""
    return str(status(pod).get("phase") or "")


def containers(pod: Pod) -> Iterator[dict[str, Any]]:
    """The statuses of init containers, in their order, then of containers."""
    yield from status(pod).get("initContainerStatuses") or ()
    yield from status(pod).get("containerStatuses") or ()


def main(pod: Pod) -> dict[str, Any]:
    """The status of the main container; empty before there is one."""
    return next((one for one in status(pod).get("containerStatuses") or () if one.get("name") == MAIN), {})


def ending(pod: Pod) -> dict[str, Any] | None:
    """How the main container ended, or None."""
    return state(main(pod), "terminated")


def state(container: dict[str, Any], word: str) -> dict[str, Any] | None:
    """What stands under `waiting`, `running` or `terminated` of a container's status; None if it is in another state."""
    found: dict[str, Any] | None = (container.get("state") or {}).get(word)
    return found


def has_started(pod: Pod) -> bool:
    """The main container runs or has run."""
    return (main(pod).get("state") or {}).keys() & {"running", "terminated"} != set()


def condition(pod: Pod, type: str) -> dict[str, Any]:
    """The pod's condition of that type; empty if there is none."""
    return next((one for one in status(pod).get("conditions") or () if one.get("type") == type), {})


def is_body(pod: Pod) -> bool:
    """The pod runs our own program around an operator, and not a program that knows nothing of us."""
    return bool((meta(pod).get("annotations") or {}).get(OPERATOR, POD_OPERATOR) != POD_OPERATOR)


def image(pod: Pod) -> str | None:
    """The image of the main container, as it was asked for."""
    wanted: dict[str, Any] = next((one for one in spec(pod).get("containers") or () if one.get("name") == MAIN), {})
    return wanted.get("image") or main(pod).get("image")


def seconds(text: str | None) -> float | None:
    """A time of the API server or a node (RFC 3339) as seconds since 1970; None for none."""
    return datetime.fromisoformat(text).timestamp() if text else None

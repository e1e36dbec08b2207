"""What a pod's dictionary says, field by field. Any may be missing, or have any shape: an empty pod is one nobody has seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from halfstep_worker.kubernetes.names import MAIN, OPERATOR
from halfstep_worker.kubernetes.objects import inside, listed
from halfstep_worker.kubernetes.values import Pod

OVER = ("Succeeded", "Failed")
POD_OPERATOR = "pod"


def meta(pod: Pod) -> dict[str, Any]:
    """The pod's metadata."""
    return inside(pod, "metadata")


def spec(pod: Pod) -> dict[str, Any]:
    """The pod's spec."""
    return inside(pod, "spec")


def status(pod: Pod) -> dict[str, Any]:
    """The pod's status."""
    return inside(pod, "status")


def phase(pod: Pod) -> str:
    """Pending, Running, Succeeded, Failed, or nothing."""
    return str(status(pod).get("phase") or "")


def containers(pod: Pod) -> Iterator[dict[str, Any]]:
    """The statuses of init containers, in their order, then of containers."""
    yield from listed(status(pod), "initContainerStatuses")
    yield from listed(status(pod), "containerStatuses")


def debuggers(pod: Pod) -> Iterator[dict[str, Any]]:
    """The statuses of ephemeral containers (`kubectl debug`): somebody's look at the pod, and no part of the task."""
    yield from listed(status(pod), "ephemeralContainerStatuses")


def main(pod: Pod) -> dict[str, Any]:
    """The status of the main container; empty before there is one."""
    return next((one for one in listed(status(pod), "containerStatuses") if one.get("name") == MAIN), {})


def ending(pod: Pod) -> dict[str, Any] | None:
    """How the main container ended, or None."""
    return state(main(pod), "terminated")


def state(container: dict[str, Any], word: str) -> dict[str, Any] | None:
    """What stands under `waiting`, `running` or `terminated` of a container's status; None if it is in another state."""
    found = inside(container, "state").get(word)
    return found if isinstance(found, dict) else None


def has_started(pod: Pod) -> bool:
    """The main container runs or has run."""
    return inside(main(pod), "state").keys() & {"running", "terminated"} != set()


def condition(pod: Pod, type: str) -> dict[str, Any]:
    """The pod's condition of that type; empty if there is none."""
    return next((one for one in listed(status(pod), "conditions") if one.get("type") == type), {})


def is_body(pod: Pod) -> bool:
    """The pod runs our own program around an operator, and not a program that knows nothing of us."""
    return bool(inside(meta(pod), "annotations").get(OPERATOR, POD_OPERATOR) != POD_OPERATOR)


def image(pod: Pod) -> str | None:
    """The image of the main container, as it was asked for."""
    wanted: dict[str, Any] = next((one for one in listed(spec(pod), "containers") if one.get("name") == MAIN), {})
    return wanted.get("image") or main(pod).get("image")


def seconds(text: object) -> float | None:
    """A time of the API server or a node (RFC 3339) as seconds since 1970; None for none, and for what is no time.

    A node writes the first moment of 1970 for a container that it could not start: that is no time either.
    """
    try:
        found = datetime.fromisoformat(text).timestamp() if isinstance(text, str) else 0.0
    except (ValueError, OverflowError, OSError):
        return None
    return found if found > 0 else None


def is_unknown(moment: object) -> bool:
    """No time is given, or the first moment of 1970, or one before, which stand for none."""
    return moment is None or (isinstance(moment, str) and moment[:4].isdigit() and moment[:4] <= "1970")

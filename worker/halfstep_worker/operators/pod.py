"""Operator `pod`: a pod of any image. The launcher makes it; here its args are checked, and a worker is kept from running it."""

from __future__ import annotations

from typing import Any

from halfstep.errors import InvalidTask

# The imports of `request` stand in functions, because it imports from this package in turn.

NEEDS_POD = "Operator 'pod' needs placement pod; enqueue the task with it."


class PodOperator:
    """Runs nowhere but in a pod of its own."""

    name = "pod"

    def check(self, args: dict[str, Any], /) -> None:
        """InvalidTask for wrong args."""
        from halfstep_worker.kubernetes.request import check_pod

        check_pod(args)

    def run(self, args: dict[str, Any], /) -> object:
        """InvalidTask, always: a launcher makes the pod."""
        raise InvalidTask(NEEDS_POD)


def checked_settings(args: dict[str, Any]) -> dict[str, Any]:
    """The args of another operator without the settings of its pod. InvalidTask: the settings can never work."""
    from halfstep_worker.kubernetes.request import check_settings, split_pod_settings

    rest, settings = split_pod_settings(args)
    check_settings(settings)
    return rest

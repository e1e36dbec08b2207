"""`on_oom`: how much more memory an attempt gets after earlier ones ran out of it. Bytes are whole numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from math import ceil
from typing import Any

from halfstep.errors import InvalidTask
from halfstep_worker.kubernetes.host import main_of
from halfstep_worker.kubernetes.names import MAIN
from halfstep_worker.kubernetes.objects import inside
from halfstep_worker.kubernetes.quantities import quantity
from halfstep_worker.kubernetes.values import Pod

_FACTOR = re.compile(r"x([0-9]{1,3}(?:\.[0-9]{1,3})?)")
_LARGEST_FACTOR = 100
_LARGEST = 2**63 - 1
"""Bytes that Kubernetes can count."""
_ROUND = 2**20
_UNITS = (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))
_KEYS = ("memory", "max")
_IT = "argument 'on_oom' of operator 'pod'"
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class MoreMemory:
    """A factor, or a step in bytes; and the most that the main container may have."""

    max: int
    factor: Decimal | None = None
    step: int = 0

    def after(self, ends: int, base: int) -> int:
        """What `base` has become after so many ends. At least `base`, whatever the most is."""
        grown = base
        for _ in range(ends):
            if grown >= self.max:
                break
            grown = grown + self.step if self.factor is None else ceil(grown * self.factor)
        return max(base, min(self.max, grown if grown == base else -(-grown // _ROUND) * _ROUND))

    def at_most(self, bytes: int) -> MoreMemory:
        """The same with a lower ceiling."""
        return replace(self, max=min(self.max, bytes))


def read_more_memory(given: Any) -> MoreMemory:
    """`{"memory": "x2", "max": "16Gi"}`. InvalidTask, one sentence: it can't be that."""
    unknown = [key for key in given if key not in _KEYS]
    if unknown:
        raise InvalidTask(f"{_IT.capitalize()} has no key '{str(unknown[0])[:_SHOWN]}'; known: {', '.join(_KEYS)}.")
    if given.get("memory") is None:
        raise InvalidTask(f"{_IT.capitalize()} needs 'memory': a factor such as x2, or a step such as +2Gi.")
    if given.get("max") is None:
        raise InvalidTask(f"{_IT.capitalize()} needs 'max': the most memory that an attempt may get, such as 16Gi.")
    most = _bytes(given["max"])
    if most is None:
        raise InvalidTask(f"'max' in {_IT} must be an amount of memory such as 16Gi, not {repr(given['max'])[:_SHOWN]}.")
    return _growing(given["memory"], most)


def _growing(memory: Any, most: int) -> MoreMemory:
    text = memory if isinstance(memory, str) else ""
    found = _FACTOR.fullmatch(text)
    factor = None if found is None else Decimal(found[1])
    if factor is not None and 1 < factor <= _LARGEST_FACTOR:
        return MoreMemory(most, factor=factor)
    step = _bytes(text[1:]) if text.startswith("+") else None
    if step is not None:
        return MoreMemory(most, step=step)
    raise InvalidTask(
        f"'memory' in {_IT} must be a factor above 1 and at most {_LARGEST_FACTOR}, such as x2 or x1.5, "
        f"or a step such as +2Gi, not {repr(memory)[:_SHOWN]}."
    )


def _bytes(given: Any) -> int | None:
    """At least one, and as many as Kubernetes can count; None if it is none."""
    number = quantity(given)
    return ceil(number) if number is not None and 0 < number <= _LARGEST else None


# -- of a container


def memory_of(resources: Pod) -> tuple[int | None, int | None]:
    """Request and limit in bytes, as far as they are there and can be read."""
    return _bytes(inside(resources, "requests").get("memory")), _bytes(inside(resources, "limits").get("memory"))


def check_memory(more: MoreMemory, resources: Pod) -> None:
    """InvalidTask unless the container has memory that can grow up to the most."""
    if not any(memory_of(resources)):
        raise InvalidTask(f"{_IT.capitalize()} needs a memory limit or request to begin with; give one in 'resources'.")
    if most_of(resources) > more.max:
        raise InvalidTask(f"'max' in {_IT} is below the memory that 'resources' begins with; raise it, or leave 'on_oom' out.")


def check_room(more: MoreMemory, pod: Pod) -> None:
    """InvalidTask unless the task's own container has memory that can grow, within the pod."""
    if memory_of_pod(pod):
        raise InvalidTask(f"{_IT.capitalize()} is for the memory of '{MAIN}', but the pod has one as a whole; leave one out.")
    check_memory(more, inside(main_of(pod), "resources"))


def memory_of_pod(pod: Pod) -> bool:
    """Whether the pod has a request or limit of memory as a whole."""
    return any("memory" in inside(inside(pod["spec"], "resources"), kind) for kind in ("requests", "limits"))


def most_of(resources: Pod) -> int:
    """The limit, or the request where there is none, in bytes."""
    return max((amount for amount in memory_of(resources) if amount is not None), default=0)


def grown(resources: Pod, more: MoreMemory, ends: int, *, admitted: str | None = None) -> Pod:
    """These resources after so many ends for memory: the limit grows, and the request with it, in proportion.

    admitted: the limit that the first of these pods had got, perhaps from its namespace; for a container that names none.
    """
    request, limit = memory_of(resources)
    if not ends:
        return resources
    if limit is None and (lent := _bytes(admitted)) is not None:
        limit = max(lent, request or 0)
    found = {}
    if limit is not None:
        found["limits"] = more.after(ends, limit)
        if request is not None:
            # A request above its limit is the API server's to refuse, and may not outgrow it here.
            found["requests"] = max(request, min(found["limits"], -(-request * found["limits"] // limit)))
    elif request is not None:
        found["requests"] = more.after(ends, request)
    return resources | {kind: inside(resources, kind) | {"memory": as_text(bytes)} for kind, bytes in found.items()}


def as_text(bytes: int) -> str:
    """As people write it: `3Gi`, `1536Mi`."""
    for unit, size in _UNITS:
        if bytes % size == 0:
            return f"{bytes // size}{unit}"
    return str(bytes)

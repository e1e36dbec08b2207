"""JSON that may have any shape, read without a stumble: what is no object is an empty one, what is no list has no items."""

from __future__ import annotations

import math
from typing import Any

from halfstep_worker.kubernetes.values import Pod


def listed(value: Any, key: str) -> list[Pod]:
    """The objects in a list that may be missing, or be no list."""
    items = inside(value).get(key)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def inside(value: Any, key: str | None = None) -> Pod:
    """The object under `key`, or `value` itself; an empty one where there is none."""
    found = value.get(key) if key is not None and isinstance(value, dict) else value
    return found if isinstance(found, dict) else {}


def whole(value: Any) -> int | None:
    """A whole number; None for anything else, true and false too."""
    return value if type(value) is int else None


def number(value: Any) -> float | None:
    """A number that is finite as a float; None for anything else."""
    try:
        found = float(value) if type(value) in (int, float) else math.inf
    except OverflowError:
        return None
    return found if math.isfinite(found) else None

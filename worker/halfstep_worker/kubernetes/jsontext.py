"""A task's args as JSON text comes from the queue, and manifests as they go to an API server. What can't be read or written
is told here, once: a call that serializes what this has written can't fail for it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from halfstep.errors import InvalidTask

LARGEST_OBJECT = 1024 * 1024
"""Bytes of one object. An API server refuses more than 1.5 MiB with an error that looks as if it were to pass (500)."""


def args_of(text: str) -> Any:
    """The args of a task. PostgreSQL has checked that they are JSON, which may be deeper and longer than Python reads."""
    try:
        return json.loads(text)
    except RecursionError:
        raise InvalidTask("The args are nested deeper than can be read; make them flatter.") from None
    except ValueError:
        most = sys.get_int_max_str_digits()
        raise InvalidTask(f"The args hold a number of more than {most} digits, which can't be read; make it a string.") from None


def json_of(what: str, value: object) -> str:
    """As JSON text. InvalidTask: it holds what JSON can't say, or is too large for an object of Kubernetes."""
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise InvalidTask(f"The {what} of the task can't be written as JSON ({type(error).__name__}: {error}).") from None
    if len(text) > LARGEST_OBJECT:
        size = f"{len(text)} bytes of JSON, and {LARGEST_OBJECT} at most fit into an object of Kubernetes"
        raise InvalidTask(f"The {what} of the task would be {size}; keep large values elsewhere and name them.")
    return text

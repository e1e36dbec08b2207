"""The launcher's own code stumbles over one attempt: what is said of it. It ends, and all others go on (`Course.stumbled`)."""

from __future__ import annotations

import traceback
from pathlib import Path

from halfstep_worker.children.storable import plain

UNREADABLE = "unreadable"
"""Reason and class of an attempt that had a pod."""
CURELESS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
"""What a call to the API server raises for what we gave it, or for what we can't read of its answer: no repeat helps."""
WORDS_BYTES = 500


def told(error: BaseException) -> str:
    """For the log: what, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return _words(error) + place


def stumbled_over(what: str, error: BaseException) -> str:
    """For the task's owner."""
    return f"The launcher can't make sense of {what} ({_words(error)}); look there for a value of an unusual kind or size."


def _words(error: BaseException) -> str:
    try:
        return plain(f"{type(error).__name__}: {error}", WORDS_BYTES)
    except ValueError:  # the message holds a number that is too long to be written
        return type(error).__name__

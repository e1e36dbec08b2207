"""What a body raised, as an outcome; its traceback goes to stderr, and so into the log of the attempt."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from types import TracebackType

from halfstep.context import Stopped
from halfstep.errors import HalfstepError, InvalidTask, Missing
from halfstep.limits import LONGEST_SECONDS
from halfstep.outcomes import Failed, Retry
from halfstep_worker.children.storable import plain

_OURS = "halfstep_worker."
_AGAIN = "A deploy may bring it, so it is tried again while attempts are left."


def failed(error: BaseException) -> Failed | Retry:
    """The failure that an exception stands for.

    A HalfstepError with a `reason` brings one sentence that stands for itself: no traceback is printed for it. With a `delay` it
    says when to try again.
    """
    if isinstance(error, Missing):
        return Failed(plain(f"{error} {_AGAIN}"), reason="invalid")
    if isinstance(error, InvalidTask):
        return Failed(plain(str(error)), reason="invalid", final=True)
    if isinstance(error, MemoryError):
        return Failed("MemoryError: The body asked for more memory than it may use.", reason="memory")
    reason = getattr(error, "reason", None)
    if isinstance(error, HalfstepError) and isinstance(reason, str):
        delay = getattr(error, "delay", None)
        if isinstance(delay, float) and 0.0 <= delay <= LONGEST_SECONDS:
            return Retry(plain(str(error)), delay, plain(reason, 40))
        return Failed(plain(str(error)), reason=plain(reason, 40), final=reason == "result")
    _print(error)
    return Failed(plain(_sentence(error)), reason="exception")


def _sentence(error: BaseException) -> str:
    name = _shown(lambda: type(error).__name__, "An exception whose name can't be shown")
    text = _shown(lambda: str(error), "(its message can't be shown)")
    return f"{name}: {text}" if text else name


def _shown(show: Callable[[], str], otherwise: str) -> str:
    """What users' code says of its exception; that it is broken must not hide the failure."""
    try:
        return str(show())
    except Stopped:
        raise
    except BaseException:
        return otherwise


def _print(error: BaseException) -> None:
    """Write the traceback from the user's first frame on. Nothing that goes wrong here matters more than the failure."""
    try:
        traceback.print_exception(type(error), error, _users(error.__traceback__), file=sys.stderr)
    except Stopped:
        raise
    except BaseException:
        return


def _users(trace: TracebackType | None) -> TracebackType | None:
    while trace and str(trace.tb_frame.f_globals.get("__name__", "")).startswith(_OURS):
        trace = trace.tb_next
    return trace

"""Importing a user's module for a task: what goes wrong there is told by the module's name, with the line where it did."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType, TracebackType

from halfstep.errors import Missing
from halfstep.registry import registered
from halfstep_worker.operators.base import OperatorFailed


def import_user_module(module: str, source: Path | None) -> ModuleType:
    """The module, imported now if it has not been; its traceback goes to stderr.

    Missing: an import fails or the text is no Python, as when a deploy has brought half of it. OperatorFailed: any other error.
    """
    known = set(registered)
    importlib.invalidate_caches()  # it may have come after the folder was last looked at
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        _forget_halves(registered.keys() - known)
        trace = _users(error.__traceback__)
        traceback.print_exception(type(error), error, trace)
        kind = Missing if isinstance(error, (ImportError, SyntaxError)) else OperatorFailed
        raise kind(f"Module '{module}' could not be imported: {_named(error)}{_place(trace, source)}.") from error


def _forget_halves(added: set[str]) -> None:
    """Functions of a module whose import failed half-way are not registered: what they need may not be there."""
    for name in added:
        if registered[name].__module__ not in sys.modules:
            del registered[name]


def _users(trace: TracebackType | None) -> TracebackType | None:
    """From the user's first frame on."""
    ours = (__file__, importlib.__file__, "<frozen importlib")
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(ours):
        trace = trace.tb_next
    return trace


def _named(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _place(trace: TracebackType | None, source: Path | None) -> str:
    """` (etl/jobs.py, line 3: the text of that line)`: the last line of the source folder in the traceback, or else its last."""
    frames = traceback.extract_tb(trace)
    if not frames:
        return ""
    own = [frame for frame in frames if source is not None and Path(frame.filename).is_relative_to(source)]
    last = (own or frames)[-1]
    shown = Path(last.filename).relative_to(source) if own and source else last.filename
    return f" ({shown}, line {last.lineno}{': ' + last.line if last.line else ''})"

"""What the command says when it can't do something, and with which code it ends (docs/reference/exit-codes.md)."""

from __future__ import annotations

import os
import sys
import traceback
from enum import IntEnum

from halfstep.errors import (
    AbortedTransaction,
    Conflict,
    DatabaseUnavailable,
    HalfstepError,
    InvalidSettings,
    InvalidTask,
    LostClaim,
    NotFound,
    NotPermitted,
    ReadOnlyTransaction,
    RefusedValue,
    SchemaMismatch,
    SerializationFailure,
    UnusableConnection,
)
from halfstep.visible import visible, visible_line


class ExitCode(IntEnum):
    """Scripts rely on these numbers: never change one."""

    FINE = 0
    NO = 1
    INPUT = 2
    UNAVAILABLE = 3
    SCHEMA = 4
    NOT_FOUND = 5
    CONFLICT = 6
    NOT_PERMITTED = 7
    BUG = 70
    INTERRUPTED = 130
    READER_GONE = 141


MEANINGS = {
    ExitCode.FINE: "fine",
    ExitCode.NO: "the answer is no: a task that was waited for did not succeed, doctor found something, workers don't come or go",
    ExitCode.INPUT: "bad input: a task, a setting or an option",
    ExitCode.UNAVAILABLE: "the database does not answer",
    ExitCode.SCHEMA: "the database's schema or server does not fit this halfstep",
    ExitCode.NOT_FOUND: "no such task, queue, worker or role",
    ExitCode.CONFLICT: "the task's state or unique key does not allow it",
    ExitCode.NOT_PERMITTED: "this database role may not do it",
    ExitCode.BUG: "an error in halfstep",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.READER_GONE: "whoever read the output has gone",
}

_CODES: tuple[tuple[tuple[type[HalfstepError], ...], ExitCode], ...] = (
    ((InvalidTask, InvalidSettings, RefusedValue, UnusableConnection), ExitCode.INPUT),
    ((DatabaseUnavailable,), ExitCode.UNAVAILABLE),
    ((SchemaMismatch,), ExitCode.SCHEMA),
    ((NotFound,), ExitCode.NOT_FOUND),
    ((Conflict, LostClaim, AbortedTransaction, ReadOnlyTransaction, SerializationFailure), ExitCode.CONFLICT),
    ((NotPermitted,), ExitCode.NOT_PERMITTED),
)


def exit_code(error: BaseException) -> ExitCode:
    """The code that an error ends the command with."""
    if isinstance(error, BrokenPipeError):
        return ExitCode.READER_GONE
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return ExitCode.INTERRUPTED
    if isinstance(error, HalfstepError):
        return next((code for kinds, code in _CODES if isinstance(error, kinds)), ExitCode.NO)
    return ExitCode.INPUT if _is_usage(error) else ExitCode.BUG


def report(error: BaseException, *, debug: bool = False) -> ExitCode:
    """Says on stderr what went wrong, in one sentence (`debug`: with the traceback), and returns the exit code."""
    code = exit_code(error)
    if debug:
        print(visible("".join(traceback.format_exception(error)), keep="\n\t"), end="", file=sys.stderr)
    if code == ExitCode.READER_GONE:
        _let_go_of_stdout()
    else:
        print(f"halfstep: {visible_line(sentence(error))}", file=sys.stderr)
    return code


def sentence(error: BaseException) -> str:
    """One line that says what is wrong and, where it is known, what to do."""
    if exit_code(error) == ExitCode.INTERRUPTED:
        return "Interrupted."
    if _is_usage(error):
        return _usage(error)
    if isinstance(error, HalfstepError):
        return _ended(" ".join(str(error).split()))
    return _ended(f"This is an error in halfstep ({type(error).__name__}: {error}); run it again with --debug and report it")


def _is_usage(error: BaseException) -> bool:
    """Whether typer refused the command line. By the method: depending on its version typer has click's errors or its own."""
    return hasattr(error, "format_message")


def _usage(error: BaseException) -> str:
    said = _ended(" ".join(error.format_message().split()))  # type: ignore[attr-defined]
    if getattr(error, "option_name", None) in ("--database", "--debug"):
        return f"{error.option_name} stands before the command: halfstep {error.option_name} … COMMAND."  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    return f"{said} Try: {context.command_path} --help" if context is not None else said


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def _let_go_of_stdout() -> None:
    """What is still buffered must not be complained about when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.__stdout__.fileno() if sys.__stdout__ else 1)
    os.close(nowhere)

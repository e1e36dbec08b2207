"""The program in a task's own pod: one operator, one body, one outcome. `python -m halfstep_worker.kubernetes.body [FILE]`

It reads its task from a file that the launcher mounted, and leaves the outcome in the termination message (frames.py). It
has no way to the queue's database. Exit code 0: succeeded; 1: another outcome; 143: told to end, and no outcome.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import traceback
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from time import CLOCK_BOOTTIME, clock_gettime, monotonic
from typing import NoReturn

from halfstep import context
from halfstep.context import Stopped
from halfstep.errors import HalfstepError, InvalidTask
from halfstep.outcomes import Failed, Outcome, Retry, Succeeded
from halfstep_worker.children.failures import failed
from halfstep_worker.children.runner import Registry
from halfstep_worker.children.settings import PoolSettings
from halfstep_worker.children.storable import outcome_of_body, plain
from halfstep_worker.connections import load_connections
from halfstep_worker.kubernetes.body_link import Link, Output
from halfstep_worker.kubernetes.body_task import Task, read_task
from halfstep_worker.kubernetes.ends import BODY_FAILED, BODY_STOPPED
from halfstep_worker.kubernetes.frames import MESSAGE_BYTES, Sealed, seal
from halfstep_worker.kubernetes.held import TerminationLog

TASK_FILE = "/halfstep/task/task.json"
TERMINATION_LOG = "/dev/termination-log"
RECURSION = sys.getrecursionlimit()
STRIKES = 1000
SLOWEST_START = 600.0
"""Seconds; a process that is older when its body begins is taken for one whose age is not known."""


def main(file: Path, termination_log: TerminationLog) -> int:
    """The whole life of the program; the exit code."""
    here, output = os.getpid(), Output()
    link = Link(output)
    signal.signal(signal.SIGTERM, link.on_term)
    try:
        outcome, limit = _outcome(file, link)
        if os.getpid() != here:
            os._exit(0)  # a fork of the body has come back, too: the outcome is the first one's
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # from here on the outcome counts
    except Stopped:
        return BODY_STOPPED
    if link.told:
        return BODY_STOPPED
    _flush()
    link.flush()
    _leave(seal(outcome, limit=limit), output, termination_log)
    return 0 if isinstance(outcome, Succeeded) else BODY_FAILED


def _outcome(file: Path, link: Link) -> tuple[Outcome, int]:
    """And the bytes of the termination message."""
    limit = MESSAGE_BYTES
    try:
        task = read_task(file)
        limit = task.message_bytes
        registry = _operators(task)
    except InvalidTask as error:
        return failed(error), limit
    except HalfstepError as error:
        return Failed(plain(str(error)), reason="config"), limit
    except Stopped:
        raise
    except BaseException as error:  # of an import, SystemExit too
        return replace(_failed(error), reason="config"), limit
    return _run(registry, task, link), limit


def _operators(task: Task) -> Registry:
    """Imports user code, by the loader's name as in a worker, when the connections' URLs have left the environment."""
    connections = {name: connection.url for name, connection in load_connections(os.environ).items()}
    for name in [name for name in os.environ if name.startswith("HALFSTEP_")]:
        del os.environ[name]
    module, _, function = PoolSettings().loader.partition(":")
    registry: Registry = getattr(importlib.import_module(module), function)(task.settings | {"connections": connections})
    return registry


def _run(registry: Registry, task: Task, link: Link) -> Outcome:
    """The outcome, whatever the body raised; only Stopped passes."""
    left = None
    if task.timeout is not None:
        left = max(0.0, task.timeout - _age())
        link.ends_at = monotonic() + left
    context.enter(task_id=task.task_id, attempt=task.attempt, deadline_seconds=left, link=link)
    try:
        try:
            value = registry.run(task.operator, task.args)
        finally:
            _restore(link)
        return outcome_of_body(value, task.result_bytes)
    except Stopped:
        if link.told:
            raise
        return Failed("Stopped: The body stopped itself.")
    except BaseException as error:  # SystemExit of a body ends the body, and is its failure
        _restore(link)
        return _failed(error)
    finally:
        context.leave()


def _failed(error: BaseException) -> Failed | Retry:
    try:
        return failed(error)
    except BaseException:  # the body's own class, which can't even be shown
        return Failed(f"The body raised {type(error).__name__}, which can't be shown.", "exception")


def _restore(link: Link) -> None:
    """Of what the body has done to the interpreter, that in which what is left to do would get stuck."""
    for _ in range(STRIKES):
        with contextlib.suppress(BaseException):  # a timer of the body's may strike meanwhile
            sys.settrace(None)
            sys.setprofile(None)
            sys.setrecursionlimit(RECURSION)
            for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
                signal.setitimer(timer, 0)
            signal.signal(signal.SIGTERM, link.on_term)
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGTERM})
            return


def _age() -> float:
    """Seconds since this process began, and in its pod the container with it.

    The launcher counts the timeout from when it sees the container run, which is later. So a body whose time is over for
    the launcher knows that it is. 0 where the system's clocks can't be right: sandboxes may invent a process's start.
    """
    began = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    age = clock_gettime(CLOCK_BOOTTIME) - began
    return age if 0.0 < age < SLOWEST_START else 0.0


def _leave(sealed: Sealed, output: Output, termination_log: TerminationLog) -> None:
    """The lines first: the message says that they are there."""
    for line in sealed.lines:
        output.write(line)
    termination_log.write(sealed.message)


def _flush() -> None:
    """A stream that the body broke or closed is its own loss."""
    for file in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            file.flush()


def _program() -> NoReturn:
    """Ends at once: no thread, and no clean-up of the body's, may change the exit code or hold the pod up."""
    code = BODY_FAILED
    try:
        for file in (sys.stdout, sys.stderr):
            if isinstance(file, TextIOWrapper):
                file.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        log = TerminationLog(Path(os.environ.get("HALFSTEP_TERMINATION_LOG", TERMINATION_LOG)))
        code = main(Path(sys.argv[1] if len(sys.argv) > 1 else TASK_FILE), log)
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code)


if __name__ == "__main__":
    _program()

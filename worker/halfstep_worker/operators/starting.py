"""Starting a program as a new child of the worker would, whatever earlier bodies have made of this one."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from halfstep.context import running
from halfstep.errors import HalfstepError, InvalidTask
from halfstep_worker.children.home import Home, home
from halfstep_worker.children.kernel import die_with
from halfstep_worker.operators.base import OperatorFailed


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `name` is what errors call it; `env` is added to the worker's environment; no folder: the worker's."""

    name: str
    argv: Sequence[str]
    folder: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def start(program: Program) -> subprocess.Popen[bytes]:
    """Its stdout and stderr are pipes, its stdin is empty. InvalidTask, OperatorFailed: it could not be started."""
    origin = _returned(program)
    folder = str(program.folder) if program.folder else origin.folder
    env = _environment(origin, program.env)
    try:
        return subprocess.Popen(
            program.argv,
            executable=_executable(program, env, folder),
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            umask=origin.umask,
            preexec_fn=_preparation(origin),
            bufsize=0,
        )
    except ValueError:
        raise InvalidTask(f"What {program.name} was given holds a NUL or a character that is no text.") from None
    except OSError as error:
        raise _not_started(program, folder, error) from None


def _returned(program: Program) -> Home:
    origin = home()
    try:
        origin.return_to()
    except OSError:
        gave_up = "an earlier body in its process gave that up for good"
        raise OperatorFailed(f"{program.name} could not be started as the worker's user: {gave_up}.") from None
    return origin


def _environment(origin: Home, added: Mapping[str, str]) -> dict[str, str]:
    context = running()
    ours = {"HALFSTEP_TASK_ID": str(context.task_id), "HALFSTEP_ATTEMPT": str(context.attempt)} if context else {}
    return {**origin.environment, **ours, **added}


def _executable(program: Program, env: Mapping[str, str], folder: str | None) -> str:
    """Looked up here: with a closed folder in PATH, exec says "permission denied" whatever else is wrong."""
    places = env.get("PATH", os.defpath).split(os.pathsep)
    path = [place if place.startswith("/") else os.path.join(folder or "", place) for place in places]
    executable = shutil.which(program.argv[0], path=os.pathsep.join(path))
    if executable is None:
        raise OperatorFailed(f"{program.name} is not installed on this worker ('{program.argv[0]}' was not found).")
    return executable


def _not_started(program: Program, folder: str | None, error: OSError) -> HalfstepError:
    if error.errno == errno.E2BIG:
        return InvalidTask(f"The command line for {program.name} is longer than the system takes; use a file.")
    if folder is not None and error.filename == folder:
        return OperatorFailed(f"{program.name} could not be started in the folder {folder}: {error.strerror}.")
    return OperatorFailed(f"{program.name} could not be started: {error.strerror}.")


def _preparation(origin: Home) -> Callable[[], object] | None:
    """What is left to do in the program's process. Mostly nothing: then it needs no copy of ours, and starts in half the time.

    With a zygote's child its programs end, as the zygote sees to it; elsewhere the kernel is asked to.
    """
    repairs = origin.repairs()
    if origin.tended and not repairs:
        return None
    return partial(_settle, os.getpid() if not origin.tended else None, repairs)


def _settle(parent: int | None, repairs: Sequence[Callable[[], object]]) -> None:
    """In the program's process, before it is the program. parent: with whose end it is to end."""
    if parent is not None:
        die_with(parent, by=signal.SIGKILL)
    for repair in repairs:
        repair()

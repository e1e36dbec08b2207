"""Running a program to its end, with a deadline and a readable error."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class ClusterError(Exception):
    """Something of the test cluster did not work; the message says what, and where to look."""


def say(line: str) -> None:
    """One line of progress."""
    print(line, flush=True)


def run(
    command: Sequence[str | Path],
    *,
    seconds: float = 60,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    given: str | None = None,
) -> str:
    """Its standard output. Raises `ClusterError` with the end of its error output when it fails or takes over `seconds`."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, timeout=seconds, cwd=cwd, env=env, input=given, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ClusterError(f"The program {words[0]} is missing.") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{' '.join(words[:4])} ... took over {seconds:.0f} s.") from None
    if done.returncode:
        raise ClusterError(f"{' '.join(words[:6])} ... failed ({done.returncode}): {done.stderr.strip()[-2000:]}")
    return done.stdout


def works(command: Sequence[str | Path], *, seconds: float = 10) -> bool:
    """Whether it ends well."""
    try:
        run(command, seconds=seconds)
    except ClusterError:
        return False
    return True


def wait_until(condition: Callable[[], object], *, seconds: float, what: str) -> None:
    """Asks every 100 ms. Raises `ClusterError` after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} did not come within {seconds:.0f} s; see .cluster/logs.")
        pause.wait(0.1)


def refuse(message: str) -> None:
    """Ends the program with one line."""
    sys.exit(f"cluster: {message}")

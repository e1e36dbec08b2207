"""A real pool of real children for tests, and the bodies that they run."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

from halfstep import current
from halfstep.errors import InvalidTask
from halfstep.outcomes import Cancelled, Failed, Lost, Outcome, Retry, Succeeded
from halfstep_worker.children import Ended, Event, Line, Pool, PoolSettings, Progress, TaskMessage, Unstarted, allowed_environment
from waiting import PATIENCE

LOADER = "worker.children_support:load"
SPECIAL = {
    "nan": lambda: {"x": float("nan")},
    "infinity": lambda: [float("inf")],
    "bytes": lambda: b"raw",
    "set": lambda: {1, 2},
    "object": object,
    "nul": lambda: "a\0b",
    "nul_key": lambda: {"a\0": 1},
    "surrogate": lambda: "\ud800",
    "deep": lambda: _deep(100_000),
    "backslash_u0000": lambda: "\\u0000",
    "bad_text": lambda: Succeeded("{not json"),
    "nul_text": lambda: Succeeded('"\\u0000"'),
    "good_text": lambda: Succeeded(' {"a": 1}'),
    "failed": lambda: Failed("no\0good", reason="exception", final=True),
    "retry": lambda: Retry("later", delay=3),
    "retry_nan": lambda: Retry("later", delay=float("nan")),
    "cancelled": lambda: Cancelled("enough"),
    "lost": lambda: Lost("gone"),
}
log = logging.getLogger("children")
log.addHandler(logging.StreamHandler(sys.stderr))


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def wait_for_ever() -> None:
    while True:
        signal.pause()


class Bodies:
    """One method an operator."""

    def run(self, operator: str, args: dict[str, Any]) -> object:
        return getattr(self, operator)(**args)

    def echo(self, **args: Any) -> object:
        return args

    def pid(self) -> int:
        return os.getpid()

    def special(self, name: str) -> object:
        return SPECIAL[name]()

    def large(self, size: int) -> str:
        return "x" * size

    def length(self, text: str) -> int:
        return len(text)

    def fail(self, text: str = "no") -> None:
        raise ValueError(text)

    def invalid(self) -> None:
        raise InvalidTask("The argument `x` is missing.")

    def leave(self, code: int) -> None:
        sys.exit(code)

    def interrupt(self) -> None:
        raise KeyboardInterrupt

    def show(self, out: str = "", err: str = "", raw: str = "", command: str = "") -> None:
        sys.stdout.write(out)
        sys.stderr.write(err)
        os.write(1, raw.encode())
        if command:
            subprocess.run(["sh", "-c", command], check=True)

    def log(self, text: str) -> None:
        log.error(text)

    def say(self, text: str) -> str | None:
        current().log(text)
        current().heartbeat({"half": True})
        return current().stop_reason

    def who(self) -> list[Any]:
        return [current().task_id, current().attempt, current().seconds_left]

    def close_stdout(self) -> None:
        os.close(1)
        os.open(os.devnull, os.O_WRONLY)

    def fill(self, mark: str) -> None:
        """Fills the pipe to the brim, as a program does that leaves it non-blocking."""
        os.set_blocking(1, False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(50):
                os.write(1, mark.encode() * 2_500)

    def exit(self, code: int, before: str = "") -> None:
        sys.stdout.write(before)
        sys.stdout.flush()
        os._exit(code)

    def crash(self) -> None:
        ctypes.string_at(0)

    def kill_self(self, number: int) -> None:
        os.kill(os.getpid(), number)
        wait_for_ever()

    def babble(self, fd: int = 0) -> None:
        """Writes to our channel, as no body should: whichever descriptor is a socket."""
        for fd in map(int, os.listdir("/proc/self/fd")):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                    os.write(fd, b"hello")
        wait_for_ever()

    def answer_twice(self) -> str:
        """Forges its own result, for which it says on the shared page that it has ended, and then returns."""
        runner = next(one for one in gc.get_objects() if type(one).__name__ == "Runner")
        runner._page.end(runner._number)
        runner._channel.send(f'[{runner._number},"succeeded",0,0]\n"forged"')
        return "true"

    def wait(self, ready: str = "", end: str = "") -> str | None:
        """Waits until told to stop, then says why in a file."""
        try:
            if ready:
                Path(ready).write_text(str(os.getpid()))
            wait_for_ever()
        finally:
            if end:
                Path(end).write_text(str(current().stop_reason))

    def wait_for_file(self, path: str, version: str = "") -> str:
        """Returns as soon as the file is there. Blocks in a read of a FIFO, so nothing is polled."""
        with open(path) as fifo:
            return fifo.read()

    def stubborn(self, ready: str) -> None:
        """Ignores TERM, with a child in the group and one in a session of its own that ignore it too."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        near = subprocess.Popen(["sleep", "600"])
        far = subprocess.Popen(["sleep", "600"], start_new_session=True)
        Path(ready).write_text(f"{os.getpid()} {near.pid} {far.pid}")
        wait_for_ever()

    def swallow(self, ready: str) -> str:
        """Handles the stop and returns normally."""
        try:
            self.wait(ready)
        except BaseException:
            return "fine"
        return "never"

    def crash_when_stopped(self, ready: str) -> None:
        try:
            self.wait(ready)
        finally:
            os._exit(7)

    def daemon(self, ready: str) -> None:
        """Leaves a daemon behind: in its own session, its parent gone."""
        script = f"setsid sh -c 'sleep 600 & echo $! > {ready}.tmp; mv {ready}.tmp {ready}; wait' & exit 0"
        subprocess.run(["sh", "-c", script], check=True)

    def hoard(self, size: int) -> int:
        return len(bytearray(size))

    def grow(self, size: int) -> None:
        """Uses memory in a process of its own, where RLIMIT_DATA of one process does not count it together."""
        self.kept = b"x" * size
        wait_for_ever()

    def read_file(self, path: str) -> str:
        return Path(path).read_bytes().decode(errors="replace")

    def read_as(self, path: str, user: int) -> str:
        """Reads a file as another user, in a process of its own."""
        code = f"import os; os.setgid({user}); os.setuid({user}); print(open({path!r}).read())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        return done.stdout or done.stderr.splitlines()[-1]

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def descriptors(self) -> list[str]:
        links = []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # the listing's own
                links.append(os.readlink(f"/proc/self/fd/{fd}").split(":")[0])
        return sorted(links)

    def version(self) -> str:
        import reloaded  # type: ignore[import-not-found]

        return reloaded.VERSION


def load(settings: dict[str, Any]) -> Bodies:
    """The loader; `fail` and `path` in the settings serve the tests of loading."""
    if "path" in settings:
        sys.path.insert(0, settings["path"])
        import reloaded  # noqa: F401
    if settings.get("fail"):
        raise RuntimeError(settings["fail"])
    return Bodies()


class Work:
    """A pool with what it has said so far."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.events: list[Event] = []

    def send(self, key: Hashable, operator: str, *, timeout: float | None = None, to: int = 0, **args: Any) -> None:
        """Queue a task on the child at that place."""
        text = json.dumps(args)
        self.pool.children[to].send(TaskMessage(key, 7, 1, operator, text, timeout))

    def until(self, condition: Callable[[], object], *, seconds: float = PATIENCE) -> None:
        """Poll until the condition is true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.events[-20:]
            self.events += self.pool.poll(0.02)

    def ends(self, *keys: Hashable) -> list[Outcome]:
        """Wait for the ends of these tasks; their outcomes."""
        self.until(lambda: set(keys) <= {event.key for event in self.events if isinstance(event, (Ended, Unstarted))})
        return [self.outcomes[key] for key in keys]

    def run(self, operator: str, **args: Any) -> Outcome:
        """Run one task to its end; on another child, as a worker does, if the one before it has spoilt its child."""
        while True:
            key = object()
            self.until(lambda: any(child.open for child in self.pool.children))
            child = next(child for child in self.pool.children if child.open)
            child.send(TaskMessage(key, 7, 1, operator, json.dumps(args)))
            if not isinstance(outcome := self.ends(key)[0], Unstarted):
                return outcome

    @property
    def outcomes(self) -> dict[Hashable, Any]:
        """What is known of each task: an outcome, or Unstarted."""
        return {event.key: event.outcome if isinstance(event, Ended) else event for event in self._last_words()}

    def _last_words(self) -> list[Ended | Unstarted]:
        return [event for event in self.events if isinstance(event, (Ended, Unstarted))]

    @property
    def order(self) -> list[Hashable]:
        """Keys in the order in which they ended."""
        return [event.key for event in self._last_words()]

    def lines(self, key: Hashable, stream: str | None = None) -> list[str]:
        """The text that was attributed to a task. What was told of a line in parts, as on a slow machine, is one line."""
        found: list[str] = []
        open_at: dict[str, int] = {}
        for line in self.events:
            if not isinstance(line, Line) or line.key != key or stream not in (None, line.stream):
                continue
            if (place := open_at.pop(line.stream, None)) is None:
                place = len(found)
                found.append("")
            found[place] += line.text
            if line.goes_on:
                open_at[line.stream] = place
        return found

    def progress(self, key: Hashable) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Progress) and event.key == key]


@contextlib.contextmanager
def at_work(**settings: Any) -> Iterator[Work]:
    """A started pool of one child, unless told otherwise; ended afterwards."""
    defaults = {"loader": LOADER, "slots": 1, "environment": allowed_environment(os.environ)}
    pool = Pool(PoolSettings(**(defaults | settings)))
    pool.start()
    try:
        yield Work(pool)
    finally:
        pool.stop(grace=0)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False

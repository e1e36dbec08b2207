"""The worker's end of one zygote: start it, ask it to fork, read what it reports, and see that it runs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from halfstep.errors import HalfstepError
from halfstep_worker.children.channel import pair
from halfstep_worker.children.settings import PoolSettings

MESSAGE_BYTES = 1024 * 1024
END_SECONDS = 5.0
THAW_SECONDS = 0.2
START = (
    "import sys; sys.path[:] = sys.argv[3:]; from halfstep_worker.children.zygote import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]))"
)

Report = list[Any]


class Forker:
    """One zygote process, seen from the worker. Used by one thread.

    The zygote imports from the worker's own `sys.path`, so it runs the same code. It lives until `close` or until the
    worker ends; the thread that made it may end earlier. Its children hold the read end of a pipe, the lifeline, whose other end
    only the worker has: when that closes, the kernel kills them, also where a body keeps the zygote from doing so.
    """

    def __init__(self, settings: PoolSettings) -> None:
        self.ready = False
        self.started = time.monotonic()
        self._control, far = pair()
        self._control.setblocking(False)
        lifeline, self._lifeline = os.pipe2(os.O_CLOEXEC)
        try:
            with far:
                self._zygote = _start(far.fileno(), lifeline, settings.environment)
        finally:
            os.close(lifeline)
        self._send(_first_message(settings))

    @property
    def pid(self) -> int:
        """The zygote's."""
        return self._zygote.pid

    def fileno(self) -> int:
        """The control socket; readable when there are reports, or the zygote has ended."""
        return self._control.fileno()

    def fork(self, child: int, token: str, fds: list[int]) -> None:
        """Ask for a child with these descriptors: task socket, stdout, stderr, page. The answer is a report."""
        self._send(["fork", child, token], fds)

    def thaw(self) -> bool:
        """Let it run if somebody has stopped it, as a body of the same user can; whether somebody had.

        Safe from strangers: only we reap the zygote, so nobody else has its pid.
        """
        with contextlib.suppress(ChildProcessError):
            stopped = os.waitid(os.P_PID, self._zygote.pid, os.WSTOPPED | os.WNOHANG)
            if stopped is not None:
                os.kill(self._zygote.pid, signal.SIGCONT)
                return True
        return False

    def reports(self) -> list[Report] | None:
        """What the zygote said since the last call, in order; the end of it is None alone."""
        found: list[Report] = []
        with contextlib.suppress(BlockingIOError):
            while data := self._receive():
                found.append(json.loads(data))
            return found or None
        return found

    def close(self) -> None:
        """Have the zygote kill all below it and end; kill it too if that takes over 5 s. Twice is fine."""
        self._control.close()
        deadline = time.monotonic() + END_SECONDS
        while self._zygote.poll() is None and time.monotonic() < deadline:
            self._zygote.terminate()  # it may be importing user code, and so not looking at its control socket
            self.thaw()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._zygote.wait(THAW_SECONDS)
        self._zygote.kill()
        self._zygote.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _receive(self) -> bytes:
        for _ in range(2):  # that it left something unread is told before what it has said last
            with contextlib.suppress(ConnectionError):
                return self._control.recv(MESSAGE_BYTES)
        return b""

    def _send(self, message: object, fds: list[int] | None = None) -> None:
        """A zygote that takes no requests any more is killed: its end is met like any other death of it."""
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], fds or [])
        except BlockingIOError:
            self._zygote.kill()
        except ConnectionError:
            return


def _first_message(settings: PoolSettings) -> dict[str, Any]:
    return {
        "worker": os.getpid(),
        "loader": settings.loader,
        "loader_settings": dict(settings.loader_settings),
        "result_bytes": settings.result_bytes,
        "memory_bytes": settings.memory_bytes,
        "growth_bytes": settings.growth_bytes,
        "run_as": settings.run_as and dataclasses.asdict(settings.run_as),
    }


def _start(control: int, lifeline: int, environment: Any) -> subprocess.Popen[bytes]:
    """In a process group of its own: what a terminal sends, as on Ctrl-C, is for the worker alone, which then drains.

    But in the worker's session: if a body has stopped the zygote and the worker dies, the kernel continues it, as it does
    with every stopped group that becomes an orphan (POSIX, _exit), and it can end what is below it.
    """
    try:
        return subprocess.Popen(
            [sys.executable, "-c", START, str(control), str(lifeline), *(path for path in sys.path if path)],
            env=dict(environment),
            pass_fds=(control, lifeline),
            stdin=subprocess.DEVNULL,
            stdout=2,
            process_group=0,
        )
    except OSError as error:
        raise HalfstepError(f"The process that runs user code could not be started: {error}.") from error

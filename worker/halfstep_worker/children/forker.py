"""The worker's end of one zygote: start it, ask it to fork and to kill, read what it reports."""

from __future__ import annotations

import contextlib
import json
import os
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
START = "import sys; sys.path[:] = sys.argv[2:]; from halfstep_worker.children.zygote import main; main(int(sys.argv[1]))"

Report = list[Any]


class Forker:
    """One zygote process, seen from the worker. Used by one thread.

    The zygote imports from the worker's own `sys.path`, so it runs the same code. It lives until `close` or until the
    worker ends; the thread that made it may end earlier.
    """

    def __init__(self, settings: PoolSettings) -> None:
        self.ready = False
        self.started = time.monotonic()
        self._control, far = pair()
        self._control.setblocking(False)
        with far:
            self._zygote = _start(far.fileno(), settings.environment)
        self._send(_first_message(settings))

    def fileno(self) -> int:
        """The control socket; readable when there are reports, or the zygote has ended."""
        return self._control.fileno()

    def fork(self, child: int, token: str, fds: list[int]) -> None:
        """Ask for a child with these descriptors: task socket, stdout, stderr, page. The answer is a report."""
        self._send(["fork", child, token], fds)

    def kill(self, child: int, number: int) -> None:
        """Signal the process group of a child; one that has ended is passed over."""
        self._send(["kill", child, int(number)])

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
        self._zygote.terminate()  # it may be importing user code, and so not looking at its control socket
        try:
            self._zygote.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._zygote.kill()
            self._zygote.wait()

    def _receive(self) -> bytes:
        try:
            return self._control.recv(MESSAGE_BYTES)
        except ConnectionError:
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
    }


def _start(control: int, environment: Any) -> subprocess.Popen[bytes]:
    """A new session: what a terminal sends, as on Ctrl-C, is for the worker alone, which then drains."""
    try:
        return subprocess.Popen(
            [sys.executable, "-c", START, str(control), *(path for path in sys.path if path)],
            env=dict(environment),
            pass_fds=(control,),
            stdin=subprocess.DEVNULL,
            stdout=2,
            start_new_session=True,
        )
    except OSError as error:
        raise HalfstepError(f"The process that runs user code could not be started: {error}.") from error

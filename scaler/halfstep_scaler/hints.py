"""Notifications, turned into hints for the reader. A hint only: the reader polls as well."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from halfstep.database import ConnectionSettings, Listener
from halfstep.events import emit

CHANNEL = "halfstep"
RETRY_SECONDS = 2.0
PROBE_SECONDS = 30.0


class HintListener(threading.Thread):
    """Listens until `stop`; reconnects by itself. `hint` is called in this thread."""

    def __init__(self, url: str, hint: Callable[[], None]) -> None:
        super().__init__(name="listener", daemon=True)
        self._url = url
        self._hint = hint
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopped = threading.Event()

    def run(self) -> None:
        """One connection after another."""
        while not self._stopped.is_set():
            try:
                self._listen()
            except Exception as error:  # a hint is not worth a process: the driver's own errors end one connection too
                emit("listener.away", error=str(error).rstrip("."))
                self._stopped.wait(RETRY_SECONDS)

    def _listen(self) -> None:
        listener = Listener(self._url, CHANNEL, ConnectionSettings("halfstep scaler listener", connect_timeout=2))
        try:
            self._hint()  # whatever came while nobody listened
            while not self._stopped.is_set():
                if listener.wait(PROBE_SECONDS, stop_fd=self._stop_fd):
                    self._hint()
        finally:
            listener.close()

    def stop(self) -> None:
        """Returns when the thread has ended. Twice is fine."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        os.eventfd_write(self._stop_fd, 1)
        if self.is_alive():
            self.join()

"""Notifications, turned into hints for the exchange. A hint only: the worker polls as well."""

from __future__ import annotations

import os
import threading

from halfstep.database import ConnectionSettings, Listener
from halfstep.errors import HalfstepError
from halfstep.events import emit
from halfstep_worker.desk import Desk

CHANNEL = "halfstep"
RETRY_SECONDS = 5.0
PROBE_SECONDS = 30.0


class HintListener(threading.Thread):
    """Listens until `stop`; reconnects by itself."""

    def __init__(self, url: str, desk: Desk) -> None:
        super().__init__(name="listener", daemon=True)
        self._url = url
        self._desk = desk
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopped = threading.Event()

    def run(self) -> None:
        """One connection after another."""
        while not self._stopped.is_set():
            try:
                self._listen()
            except HalfstepError as error:
                emit("listener.away", error=str(error).rstrip("."))
                self._stopped.wait(RETRY_SECONDS)

    def _listen(self) -> None:
        listener = Listener(self._url, CHANNEL, ConnectionSettings("halfstep listener"))
        try:
            self._desk.hint("ready")  # whatever came while nobody listened
            while not self._stopped.is_set():
                for payload in set(listener.wait(PROBE_SECONDS, stop_fd=self._stop_fd)):
                    self._desk.hint(payload)
        finally:
            listener.close()

    def stop(self) -> None:
        """Returns when the thread has ended. Twice is fine."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        os.eventfd_write(self._stop_fd, 1)
        if self.is_alive():
            self.join(timeout=10)
        os.close(self._stop_fd)

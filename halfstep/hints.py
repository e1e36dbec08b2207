"""Notifications, turned into hints. A hint only: whoever gets them polls as well."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable

from halfstep.database import ConnectionSettings, Listener
from halfstep.errors import HalfstepError
from halfstep.events import emit

CHANNEL = "halfstep"
RETRY_SECONDS = 2.0
PROBE_SECONDS = 30.0
WORDS = frozenset({"ready", "cancel", "drain"})
GAP_SECONDS, LONGEST_GAP_SECONDS = 0.01, 0.1
"""Between two wakes, longer while they follow each other: any role of the database may notify, as often as it likes."""


class HintListener(threading.Thread):
    """Listens until `stop`; reconnects by itself. `hint` is called in this thread: `ready`, `cancel` or `drain`, once a wake."""

    def __init__(self, url: str, hint: Callable[[str], None], *, settings: ConnectionSettings | None = None) -> None:
        super().__init__(name="listener", daemon=True)
        self._url = url
        self._hint = hint
        self._settings = settings or ConnectionSettings("halfstep listener")
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopped = threading.Event()
        self._away = False  # told once an outage

    def run(self) -> None:
        """One connection after another."""
        while not self._stopped.is_set():
            try:
                self._listen()
            except HalfstepError as error:
                if not self._away:
                    emit("listener.away", error=str(error).rstrip("."))
                self._away = True
                self._stopped.wait(RETRY_SECONDS * random.uniform(0.5, 1.0))

    def _listen(self) -> None:
        listener = Listener(self._url, CHANNEL, self._settings)
        self._away = False
        try:
            self._hint("ready")  # whatever came while nobody listened
            gap = GAP_SECONDS
            while not self._stopped.is_set():
                asked = time.monotonic()
                for word in WORDS.intersection(listener.wait(PROBE_SECONDS, stop_fd=self._stop_fd)):
                    self._hint(word)
                gap = min(gap * 2, LONGEST_GAP_SECONDS) if time.monotonic() - asked < gap else GAP_SECONDS
                self._stopped.wait(gap)
        finally:
            listener.close()

    def stop(self, *, seconds: float = 10.0) -> None:
        """Returns when the thread has ended, or after `seconds`. Twice is fine."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        os.eventfd_write(self._stop_fd, 1)
        if self.is_alive():
            self.join(timeout=seconds)
        if not self.is_alive():
            os.close(self._stop_fd)

"""A connection that another thread can give up: a query hangs for ever on a server that is silent while its host acknowledges."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from halfstep.database import ConnectionSettings
from halfstep.ownership import TrustedDatabase


class Line(TrustedDatabase):
    """One thread asks within `asking`; any other may call `give_up_after`."""

    def __init__(self, url: str, settings: ConnectionSettings) -> None:
        super().__init__(url, settings)
        self._guard = threading.Lock()
        self._since: float | None = None  # written by the thread that asks, under the guard

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around everything that waits for the server."""
        self._mark(time.monotonic())
        try:
            yield
        finally:
            self._mark(None)

    def give_up_after(self, seconds: float) -> bool:
        """Ends the connection if its thread has waited for longer: it gets DatabaseUnavailable then. Returns whether it did."""
        with self._guard:
            if self._since is None or time.monotonic() - self._since < seconds:
                return False
            self._sever()
            return True

    def _mark(self, since: float | None) -> None:
        with self._guard:
            self._since = since

    def _sever(self) -> None:
        connection = self._connection
        if connection is None or connection.closed or connection.invalidated:
            return  # connecting has a time-out of its own
        with suppress(Exception):  # the driver's errors of a connection that is just ending
            raw = connection.connection.dbapi_connection
            number = raw.fileno() if raw is not None else -1
            with socket.socket(fileno=number) as borrowed:
                try:
                    borrowed.shutdown(socket.SHUT_RDWR)
                finally:
                    borrowed.detach()  # the driver closes it

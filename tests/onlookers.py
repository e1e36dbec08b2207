"""Who looks on while something changes: a client of the scaler, a reader of workers, and who sees what waits for a table."""

from __future__ import annotations

import threading
from contextlib import closing

import grpc

from halfstep.database import Database
from halfstep.errors import HalfstepError
from scaler.keda import Keda  # noqa: TID251
from waiting import PATIENCE, wait_until

_WORKERS = "SELECT w.name, l.counter FROM halfstep.worker w LEFT JOIN halfstep.lease l ON l.worker_id = w.id"
_WAITS = """
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0)::float8 AS seconds
FROM pg_locks WHERE NOT granted AND locktype = 'relation' AND mode <> 'AccessExclusiveLock'
"""


class Asker(threading.Thread):
    """Asks a scaler how many workers are wanted, as KEDA does, but far more often."""

    def __init__(self, address: str) -> None:
        super().__init__(name="asker", daemon=True)
        self.answers = 0
        self.refusals: list[str] = []
        self._address = self._answered = address
        self._stopped = threading.Event()

    def run(self) -> None:
        """Until `stop`."""
        while not self._stopped.is_set():
            address = self._address
            with grpc.insecure_channel(address) as channel:
                while address == self._address and not self._stopped.wait(0.1):
                    self._ask(Keda(channel, {"queues": "*", "slots": "4"}))
                    self._answered = address

    def move(self, address: str) -> None:
        """Asks there from now on, as after a change of a Service's endpoints; returns when nobody else is asked any more."""
        self._address = address
        wait_until(lambda: self._answered == address, what="an answer of the other scaler")

    def _ask(self, keda: Keda) -> None:
        try:
            keda.wanted()
            keda.is_active()
            self.answers += 2
        except grpc.RpcError as error:
            self.refusals.append(f"the scaler: {error}")

    def stop(self) -> None:
        """Returns when the thread has ended."""
        self._stopped.set()
        self.join(timeout=PATIENCE)


class Onlooker(threading.Thread):
    """Looks at the workers all the time, as `halfstep workers` does, and at who waits for a table and how long."""

    def __init__(self, url: str) -> None:
        super().__init__(name="onlooker", daemon=True)
        self.longest = 0.0
        self.refusals: list[str] = []
        self._url = url
        self._stopped = threading.Event()

    def run(self) -> None:
        """Until `stop`. Two connections: the second must not wait where the first does."""
        looking = threading.Thread(target=self._look, daemon=True)
        looking.start()
        with closing(Database(self._url)) as database:
            while not self._stopped.wait(0.02):
                self.longest = max(self.longest, database.execute(_WAITS)[0]["seconds"])
        looking.join(timeout=PATIENCE)

    def _look(self) -> None:
        with closing(Database(self._url)) as database:
            while not self._stopped.wait(0.02):
                try:
                    database.execute(_WORKERS)
                except HalfstepError as error:
                    self.refusals.append(f"a reader: {error}")

    def stop(self) -> None:
        """Returns when the thread has ended; twice is fine."""
        self._stopped.set()
        self.join(timeout=PATIENCE)

    def __enter__(self) -> Onlooker:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

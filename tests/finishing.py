"""Tasks that are claimed and finished without pause, and the longest time that one of these exchanges took."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import closing

from halfstep.claims import Ending, Turn, Wish
from halfstep.database import Database
from halfstep.outcomes import Succeeded
from halfstep.producer import NewTask, enqueue_many
from halfstep.queue import Queue, WorkerCard
from waiting import PATIENCE


class Finishing:
    """A thread that enqueues, claims and finishes `batch` tasks a round, until the end of the context."""

    def __init__(self, url: str, *, batch: int = 5) -> None:
        self._url = url
        self._batch = batch
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.finished = 0
        self.longest = 0.0
        """Seconds of the longest exchange."""
        self.error: BaseException | None = None

    def __enter__(self) -> Finishing:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE)
        if self.error:
            raise self.error

    def _run(self) -> None:
        try:
            with closing(Database(self._url)) as database:
                self._work(Queue(database))
        except BaseException as error:  # told at the end of the context
            self.error = error

    def _work(self, queue: Queue) -> None:
        worker, sequence, endings = str(uuid.uuid4()), 0, list[Ending]()
        queue.register(WorkerCard(worker, "finishing", "here", 1, "0", self._batch))
        while endings or not self._over.is_set():
            if not self._over.is_set():
                enqueue_many(queue.database, [NewTask("bash", {}, {})] * self._batch)
            want = 0 if self._over.is_set() else self._batch
            begun = time.monotonic()
            done = queue.exchange(Turn(worker, sequence, ["default"]), Wish(want, str(uuid.uuid4())), endings)
            self.longest = max(self.longest, time.monotonic() - begun)
            assert (done.mine, done.refused) == (True, [])
            sequence, self.finished = sequence + 1, self.finished + len(endings)
            endings = [Ending(claim, Succeeded("1"), 0.1) for claim in done.claims]

"""What a worker has to say, on its way into SQL, part by part. Whatever the server refuses of it harms nothing but itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from halfstep.claims import Claim, Ending
from halfstep.errors import RefusedValue
from halfstep.events import emit
from halfstep.pods import PodRow
from halfstep.queue import Queue
from halfstep_worker.culprits import MOST_HOPELESS, Culprits
from halfstep_worker.desk import Outgoing, Release
from halfstep_worker.heartbeat import Pulse
from halfstep_worker.ledger import Ledger
from halfstep_worker.mending import CHUNK, END, POD, PROGRESS, RELEASE, RETRY, Kind

T = TypeVar("T")

MOST_CHUNKS = 100
"""Chunks of logs in one statement: what an outage has dammed up is not to be too much for the server when it is back."""


class Writer:
    """Keeps the ledger. Used by the exchange only.

    send_chunks: writes chunks of logs. acknowledge: told of claims whose end, retry or release is in SQL.
    """

    def __init__(
        self, ledger: Ledger, queue: Queue, pulse: Pulse,
        *, send_chunks: Callable[[list[dict[str, Any]]], None], acknowledge: Callable[[list[Claim]], None],
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._queue = queue
        self._pulse = pulse
        self._send_chunks = send_chunks
        self._acknowledge = acknowledge
        self._culprits = Culprits()
        self._stuck = False
        self._dropping: set[str] = set()

    def write_logs(self) -> None:
        """What is refused of it in any form is dropped: nobody waits for a log or a progress."""
        out = self._ledger.outgoing
        while out.chunks:
            self._write_or_drop(CHUNK, out.chunks[:MOST_CHUNKS], self._send_chunks)
            del out.chunks[:MOST_CHUNKS]
        if out.progress:
            self._write_or_drop(PROGRESS, list(out.progress.values()), self._queue.report_progress)
            out.progress.clear()

    def _write_or_drop(self, kind: Kind[T], items: list[T], send: Callable[[list[T]], None]) -> None:
        """Where the server takes nothing of the kind, the rest of the batch is dropped untried; that is told once."""
        if len(self._culprits.write(kind, items, send)) < MOST_HOPELESS:
            self._dropping.discard(kind.name)
        elif kind.name not in self._dropping:
            self._dropping.add(kind.name)
            emit("log.dropped", part=kind.name)

    def hand_back(self) -> None:
        """Retries and releases."""
        out = self._ledger.outgoing
        self._write(RETRY, out.retries, lambda item: item[0], self._queue.retry)
        self._write(RELEASE, out.releases, lambda release: release.claim, self._release)

    def write_ends(self, endings: list[Ending], verb: Callable[[list[Ending]], list[int]]) -> None:
        """Those that the server has refused as they are. verb: ends them and returns the ids whose claims were lost."""
        self._write(END, endings, lambda ending: ending.claim, verb)

    def write_pods(self, send: Callable[[list[PodRow]], None]) -> None:
        """What is known of pods."""
        pods = self._ledger.outgoing.pods

        def send_and_drop(rows: list[PodRow]) -> None:
            send(rows)
            for row in rows:
                del pods[row.attempt_id]
                self._ledger.aside.pods.pop(row.attempt_id, None)  # what is older is not to come after it

        hopeless = self._culprits.write(POD, list(pods.values()), send_and_drop)
        aside = Outgoing(pods={row.attempt_id: pods.pop(row.attempt_id) for row in hopeless})
        self._ledger.wait_aside(aside, time.monotonic())
        self._stuck = self._stuck or len(hopeless) >= MOST_HOPELESS

    def forget(self, claims: list[Claim], refused: list[int]) -> None:
        """Their ends, retries or releases are in SQL; refused: ids of those that somebody else holds by now."""
        self._ledger.written(claims)
        self._acknowledge(claims)
        if refused:
            self._pulse.fenced += len(refused)
            emit("task.fenced", count=len(refused))

    def back_off_if_stuck(self) -> None:
        """At the end of a round: raises RefusedValue if so much was refused in any form that the rest has to wait."""
        if self._stuck:
            self._stuck = False
            raise RefusedValue("The database refuses what several tasks have to say, in any form; its log says why.")

    def _release(self, releases: list[Release]) -> list[int]:
        return self._queue.release_each([(release.claim, release.reason, release.started) for release in releases])

    def _write(self, kind: Kind[T], items: list[T], claim: Callable[[T], Claim], verb: Callable[[list[T]], list[int]]) -> None:
        if not items:
            return
        hopeless = self._culprits.write(kind, items, lambda some: self.forget([claim(item) for item in some], verb(some)))
        self._ledger.put_aside([claim(item) for item in hopeless], time.monotonic())
        self._stuck = self._stuck or len(hopeless) >= MOST_HOPELESS

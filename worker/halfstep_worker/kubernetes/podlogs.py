"""The logs of one cluster's pods, collected while they run and to their end, by a few threads for any number of pods."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from halfstep.events import emit
from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.api import ClusterApi, LogQuery
from halfstep_worker.kubernetes.logpage import Deliver, LogPage, stream_of
from halfstep_worker.kubernetes.logplan import Attempt, LogSource, LogTimes, Plan, Reader
from halfstep_worker.kubernetes.logposition import Position, Reading
from halfstep_worker.kubernetes.streams import Stream
from halfstep_worker.progress import Part

READ_AT_LEAST = 1.0
READ_SECONDS = 300.0
"""Longer than any read of a log: a thread that is not back by then hangs."""
DECISIVE = (400, 404)
"""Answers to a last read that no further try changes: never started, gone."""


class PodLogCollector:
    """deliver: takes lines (seconds since 1970, stream, text) of an attempt, from any of our threads; those of one container
    come in order. If it returns False, the beginning of the attempt's log is full: it gets no more of it until the pod has
    ended, unless a hook sees it all.

    One collector a cluster, so that one that is away blocks no other.
    """

    def __init__(
        self, api: ClusterApi, *, deliver: Deliver, threads: int = 4, times: LogTimes | None = None, part: Part | None = None
    ) -> None:
        self._api = api
        self._part = part or Part(f"logs {api.name}", bound=READ_SECONDS)
        self._deliver = deliver
        self._plan = Plan(times or LogTimes())
        self._attempts: dict[str, tuple[Attempt, list[Reader]]] = {}
        self._changed = threading.Condition()  # guards the plan, the attempts and the streams
        self._ending = False
        self._streams: set[Stream] = set()
        self._threads = [threading.Thread(target=self._work, name=f"logs {api.name} {n}", daemon=True) for n in range(threads)]

    def __len__(self) -> int:
        return len(self._attempts)

    def start(self) -> None:
        """Returns when it reads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns when the threads have ended. Last reads that are not over are given up: their `done` is not called."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
            for stream in self._streams:
                stream.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def follow(self, source: LogSource) -> None:
        """The pod runs: read its log every now and then, until `finish` or `forget`. Twice is fine."""
        with self._changed:
            if source.key not in self._attempts:
                self._add(source, due=time.monotonic() + self._plan.times.first)

    def finish(self, source: LogSource, done: Callable[[], None], *, needed: bool = False) -> None:
        """The pod has ended: read the rest, then call `done` from one of our threads. It need not have been followed.

        needed: the outcome stands in it. While the API server shows us no log at all, it is waited for longer.
        """
        now = time.monotonic()
        with self._changed:
            if source.key not in self._attempts:
                self._add(source, due=now)
            attempt, readers = self._attempts[source.key]
            begun, attempt.done = attempt.done is not None, done
            if begun:
                return
            attempt.ends = now + self._plan.times.final
            attempt.patient_until = now + (self._plan.times.needed if needed else self._plan.times.patient)
            for reader in readers:
                if not reader.busy:
                    self._plan.put(reader, now)
            self._changed.notify_all()

    def forget(self, key: str) -> None:
        """Read no more of it, deliver nothing more. An attempt that is not known is fine."""
        with self._changed:
            self._drop(key)

    def _add(self, source: LogSource, *, due: float) -> None:
        attempt = Attempt(source, open=len(source.containers))
        readers = [Reader(attempt, container, _position(source, container)) for container in source.containers]
        self._attempts[source.key] = attempt, readers
        self._plan.readers += len(readers)
        for reader in readers:
            self._plan.put(reader, due)
        self._changed.notify_all()

    def _drop(self, key: str) -> None:
        attempt, readers = self._attempts.pop(key, (None, []))
        self._plan.readers -= len(readers)
        if attempt is not None:
            attempt.forgotten = True

    # -- the threads

    def _work(self) -> None:
        me = threading.get_ident()
        while (reader := self._next()) is not None:
            self._part.turned(me)
            try:
                self._take(reader)
            except Exception as error:  # nobody knows of one: the thread goes on, and so does the reader's verdict
                emit("part.fell", part=self._part.name, error=error)
                self._give_up(reader)
            self._part.rests(me)

    def _take(self, reader: Reader) -> None:
        began, final = time.monotonic(), reader.is_final
        error = self._read(reader, final=final)
        reader.failures = 0 if error is None else reader.failures + 1
        reader.kept_out = reader.kept_out or (error is not None and error.access)
        now = time.monotonic()
        if final and (error is None or _is_decisive(error) or now >= reader.attempt.last_moment(error)):
            self._end(reader, error)
            return
        with self._changed:
            if not reader.attempt.forgotten:
                self._plan.again(reader, began=began, now=now)
                self._changed.notify()

    def _give_up(self, reader: Reader) -> None:
        if not reader.is_final:
            with self._changed:
                self._plan.again(reader, began=time.monotonic(), now=time.monotonic())
        elif not reader.ended:
            self._close(reader)

    def _next(self) -> Reader | None:
        with self._changed:
            while not self._ending:
                now = time.monotonic()
                reader = self._plan.pick(now)
                if reader is not None:
                    return reader
                self._changed.wait(self._plan.wait(now))
        return None

    def _read(self, reader: Reader, *, final: bool) -> ApiError | None:
        began = time.monotonic()
        least = self._plan.times.read if reader.kept_out else READ_AT_LEAST
        seconds = max(least, reader.attempt.ends - began) if final else self._plan.times.read
        page = LogPage(reader, Reading(reader.position, now=began), self._deliver)
        if not page.wanted:
            return None
        try:
            complete = self._fill(page, seconds, final=final)
        except ApiError as error:
            return error
        except Exception as error:  # of the owner's `deliver` or hook: one attempt's trouble, not the collector's
            return ApiError(f"{type(error).__name__}: {error}")
        return page.close(final=final) if complete else None

    def _fill(self, page: LogPage, seconds: float, *, final: bool) -> bool:
        """False: the log was left before its end."""
        stream = self._open(page.query(), seconds)
        try:
            for line in stream.lines():
                page.take(line)
                if not page.wanted:
                    return False
            page.take_rest(stream.rest, final=final)
        finally:
            with self._changed:
                self._streams.discard(stream)
            stream.release()
            page.flush(now=time.monotonic())
        return not self._ending

    def _open(self, query: LogQuery, seconds: float) -> Stream:
        stream = self._api.read_log(query, seconds=seconds)
        with self._changed:
            self._streams.add(stream)
            if self._ending:
                stream.close()
        return stream

    def _end(self, reader: Reader, error: ApiError | None) -> None:
        if error is not None:
            page = LogPage(reader, Reading(reader.position, now=time.monotonic()), self._deliver)
            page.mark_missing(error)
        self._close(reader)

    def _close(self, reader: Reader) -> None:
        attempt, reader.ended = reader.attempt, True
        with self._changed:
            attempt.open -= 1
            over = attempt.open == 0 and not attempt.forgotten and not self._ending
            if over:
                self._drop(attempt.source.key)
        if over and attempt.done is not None:
            attempt.done()


def _is_decisive(error: ApiError) -> bool:
    return error.status in DECISIVE and not error.access


def _position(source: LogSource, container: str) -> Position:
    earlier = source.stored.get(stream_of(container))
    return Position() if earlier is None else Position(earlier, skip=earlier.lines)

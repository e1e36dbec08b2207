"""Passing on what a program writes to stdout and stderr, as it writes it, until it has ended."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from halfstep_worker.operators.base import OperatorFailed

_CHUNK = 64 * 1024
_LARGEST_PIPE = 1024 * 1024  # what can be left unread when the program has ended; beyond it, others write
# With the edge, the kernel lists the streams in the order in which they were written to; without, a stream keeps its place.
_WRITTEN = select.EPOLLIN | select.EPOLLET


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of a program: the descriptors that it comes from and goes to, and who hears it."""

    source: int
    target: int
    hear: Callable[[bytes], None]


def relay(ended: int, streams: Sequence[Stream]) -> None:
    """Pass on until `ended`, the program's pidfd, says so; not until the streams do: something left behind may hold those.

    Can be called again after an exception of a signal's. OperatorFailed: the log takes no more.
    """
    with select.epoll() as poller:
        poller.register(ended, select.EPOLLIN)
        for stream in streams:
            os.set_blocking(stream.source, False)
            poller.register(stream.source, _WRITTEN)
        _Relay(poller, ended, {stream.source: stream for stream in streams}).run()


class _Relay:
    def __init__(self, poller: select.epoll, ended: int, streams: dict[int, Stream]) -> None:
        self._poller = poller
        self._ended = ended
        self._streams = streams
        self._has_ended = False

    def run(self) -> None:
        while not self._has_ended:
            self._turn(None)
        rest = _LARGEST_PIPE * len(self._streams)
        while rest > 0 and (size := self._turn(0)):
            rest -= size

    def _turn(self, timeout: float | None) -> int:
        """Wait until there is something, and pass on one chunk of each stream that has any. Returns the bytes."""
        size = 0
        for source, _ in self._poller.poll(timeout):
            if source == self._ended:
                self._has_ended = True
            else:
                size += self._pass_on(self._streams[source])
        return size

    def _pass_on(self, stream: Stream) -> int:
        try:
            chunk = os.read(stream.source, _CHUNK)
        except BlockingIOError:
            return 0
        if not chunk:
            self._poller.unregister(stream.source)
            return 0
        self._poller.modify(stream.source, _WRITTEN)  # what is left counts as written just now
        stream.hear(chunk)
        _write(stream.target, chunk)
        return len(chunk)


def _write(target: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:  # some programs leave a shared pipe non-blocking
            os.set_blocking(target, True)
        except OSError as error:
            raise OperatorFailed(f"The program's output could not be passed on to the task's log: {error.strerror}.") from None

"""Passing on the streams of a program: order, fullness and end, with pipes in the place of the program's."""

from __future__ import annotations

import fcntl
import os
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from halfstep_worker.operators.relay import Stream, relay
from waiting import wait_until


@dataclass(frozen=True)
class Pipe:
    """Both ends of a pipe."""

    near: int
    far: int

    def fill(self) -> int:
        """To the brim; how much that was."""
        os.set_blocking(self.far, False)
        size = 0
        try:
            while True:
                size += os.write(self.far, b"-")
        except BlockingIOError:
            return size


@pytest.fixture
def pipe() -> Iterator[Callable[[], Pipe]]:
    made: list[int] = []

    def make() -> Pipe:
        made.extend(os.pipe())
        return Pipe(*made[-2:])

    yield make
    for descriptor in made:
        os.close(descriptor)


def test_what_came_first_passes_on_first_also_while_the_log_is_full(pipe: Callable[[], Pipe]) -> None:
    ended, log, out, err = (pipe() for _ in range(4))
    heard = threading.Event()
    streams = [Stream(out.near, log.far, lambda _: heard.set()), Stream(err.near, log.far, lambda _: None)]
    before = log.fill()
    with ThreadPoolExecutor() as threads:
        relayed = threads.submit(relay, ended.near, streams)
        os.write(out.far, b"one ")
        # By making the log block, it says that it can't write; what comes meanwhile has to wait.
        wait_until(lambda: heard.is_set() and os.get_blocking(log.far), what="a write to the full log")
        for source, text in ((err, b"two "), (out, b"three "), (err, b"four ")):
            os.write(source.far, text)
        assert os.read(log.near, before) == b"-" * before
        os.write(ended.far, b"\0")
        relayed.result(timeout=30)
    assert os.read(log.near, 1000) == b"one two four three "


def test_more_than_one_chunk_passes_on_though_nothing_follows(pipe: Callable[[], Pipe], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfstep_worker.operators.relay._CHUNK", 4)
    ended, log, out = (pipe() for _ in range(3))
    os.write(out.far, b"one two three")
    with ThreadPoolExecutor() as threads:
        relayed = threads.submit(relay, ended.near, [Stream(out.near, log.far, lambda _: None)])
        try:
            wait_until(lambda: _waiting(log) == 13, what="all of it in the log")
        finally:
            os.write(ended.far, b"\0")
        relayed.result(timeout=30)


def _waiting(pipe: Pipe) -> int:
    return int.from_bytes(fcntl.ioctl(pipe.near, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_whoever_writes_on_and_on_after_the_end_holds_nobody(pipe: Callable[[], Pipe], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfstep_worker.operators.relay._LARGEST_PIPE", 2000)
    ended, log, out = (pipe() for _ in range(3))
    os.write(ended.far, b"\0")
    os.write(out.far, b"first")
    rounds = iter(range(40))

    def write_on(_: bytes) -> None:
        assert next(rounds, None) is not None, "it was never let go"
        os.write(out.far, b"-" * 100)

    relay(ended.near, [Stream(out.near, log.far, write_on)])
    assert _waiting(log) <= 2100


def test_streams_that_end_before_their_program_do_not_end_it(pipe: Callable[[], Pipe]) -> None:
    ended = pipe()
    near, far = os.pipe()
    os.close(far)
    with ThreadPoolExecutor() as threads:
        relayed = threads.submit(relay, ended.near, [Stream(near, ended.far, lambda _: None)])
        assert not relayed.done()
        os.write(ended.far, b"\0")
        relayed.result(timeout=30)
    os.close(near)

"""The listener: hints that come at once, a wait that can be ended, an error when the connection is gone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from halfstep.database import Database, Listener
from halfstep.errors import DatabaseUnavailable
from halfstep.hints import LONGEST_GAP_SECONDS, HintListener
from waiting import PATIENCE, wait_until


@pytest.fixture
def listener(database_url: str) -> Iterator[Listener]:
    with closing(Listener(database_url, "halfstep")) as listener:
        yield listener


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_payloads_are_heard_in_order(listener: Listener, database: Database, pipe: tuple[int, int]) -> None:
    database.execute("SELECT pg_notify('halfstep', n::text) FROM generate_series(1, 3) n")
    heard: list[str] = []
    while len(heard) < 3:
        heard += listener.wait(10, stop_fd=pipe[0])
    assert heard == ["1", "2", "3"]


def test_other_channels_are_not_heard_and_silence_is_empty(listener: Listener, database: Database, pipe: tuple[int, int]) -> None:
    database.execute("SELECT pg_notify('other', 'x')")
    assert listener.wait(0.05, stop_fd=pipe[0]) == []


def test_a_wait_ends_when_it_is_told_to(listener: Listener, pipe: tuple[int, int], threads: ThreadPoolExecutor) -> None:
    waiting = threads.submit(listener.wait, 60, stop_fd=pipe[0])
    os.write(pipe[1], b"x")
    assert waiting.result(PATIENCE) == []


def test_a_connection_that_was_cut_is_an_error(listener: Listener, database: Database, pipe: tuple[int, int]) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    database.execute(cut)

    def is_gone() -> bool:
        try:
            listener.wait(0.1, stop_fd=pipe[0])
        except DatabaseUnavailable:
            return True
        return False

    wait_until(is_gone, what="an error of the listener")


def test_closing_twice_is_fine(listener: Listener) -> None:
    listener.close()


def test_no_server_is_one_sentence(unused_port: Any) -> None:
    with pytest.raises(DatabaseUnavailable, match="check HALFSTEP_DATABASE_URL"):
        Listener(f"postgresql://x@127.0.0.1:{unused_port}/x", "halfstep")


@pytest.fixture
def hinted(database_url: str) -> Iterator[list[str]]:
    """The words that a listener passes on, as they come; it has begun."""
    heard: list[str] = []
    listener = HintListener(database_url, heard.append)
    listener.start()
    wait_until(lambda: heard == ["ready"], what="the listener's first hint")
    heard.clear()
    yield heard
    listener.stop()


def test_a_flood_of_notifications_wakes_nobody_as_often(hinted: list[str], database: Database) -> None:
    """Whoever may log in to the database may notify; an idle worker asks the queue at each wake."""
    started = time.monotonic()
    for _ in range(2_000):
        database.execute("SELECT pg_notify('halfstep', 'ready')")
    database.execute("SELECT pg_notify('halfstep', 'cancel')")
    wait_until(lambda: "cancel" in hinted, what="the last hint")
    most = 10 + (time.monotonic() - started) / LONGEST_GAP_SECONDS  # the first gaps are shorter
    assert 1 < len(hinted) <= most


def test_words_that_halfstep_does_not_say_are_not_passed_on(hinted: list[str], database: Database) -> None:
    database.execute("SELECT pg_notify('halfstep', repeat('x', 7000) || n) FROM generate_series(1, 100) n")
    database.execute("SELECT pg_notify('halfstep', 'drain')")
    wait_until(lambda: hinted, what="the hint")
    assert hinted == ["drain"]

"""A disk that is full for a while: ends wait for room, none is lost or written twice, even if the server breaks down of it."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from effects import Effects
from halfstep.database import Database
from halfstep.errors import HalfstepError
from halfstep.producer import NewTask, enqueue_many
from halfstep.reports import Reports
from own_server import OwnServer
from small_disk import MISSING, SmallDisk, small_disk
from waiting import wait_until
from worker_processes import WorkerProcess

Start = Callable[..., WorkerProcess]
TIGHT = {"max_wal_size": "32MB", "min_wal_size": "32MB", "shared_buffers": "16MB"}
HOARDS = {"wal_keep_size": "1GB"}
"""No checkpoint removes a file of the log, or gives it back to be written once more: each new one needs room of its own."""
NOISE = """
import os
from halfstep import task

@task
def noise(size):
    return os.urandom(size // 2).hex()
"""


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    """A small disk that the server's user can reach."""
    with tempfile.TemporaryDirectory(prefix="halfstep-disk-") as top:
        os.chmod(top, 0o711)
        with small_disk(Path(top) / "disk", megabytes=160) as mounted:
            if mounted is None:
                pytest.skip(MISSING)
            yield mounted


@pytest.fixture
def cramped(disk: SmallDisk, tmp_path: Path) -> Iterator[OwnServer]:
    """A server whose data lie on the small disk."""
    with OwnServer(disk.folder, settings=TIGHT, log=tmp_path / "postgres.log") as started:
        yield started


@pytest.fixture
def hoarding(disk: SmallDisk, tmp_path: Path) -> Iterator[OwnServer]:
    """The same, and its log finds no way to go on when the disk is full."""
    with OwnServer(disk.folder, settings=TIGHT | HOARDS, log=tmp_path / "postgres.log") as started:
        yield started


def test_ends_wait_while_the_disk_is_full_and_are_written_within_a_second_or_so_of_its_end(
    disk: SmallDisk, cramped: OwnServer, start_worker: Start, effects: Effects, source: Path
) -> None:
    (source / "noisy.py").write_text(NOISE)
    worker = start_worker(url=cramped.url, lease_seconds=20.0)
    with closing(Database(cramped.url)) as database:
        reports = Reports(database)
        quick = [NewTask("python", effects.call(0.02), {}) for _ in range(100)]
        large = [NewTask("python", {"function": "noisy:noise", "args": [200_000]}, {}) for _ in range(40)]
        ids = enqueue_many(database, [task for pair in zip(quick, large * 3, strict=False) for task in pair])
        wait_until(lambda: _ended(reports, ids) > 20, what="some progress")
        disk.fill()
        wait_until(lambda: "Trying again" in worker.log.read_text(), what="the worker to meet the full disk")
        disk.free()
        if "PANIC" in cramped.log.read_text():  # its own log needed room first; then it may be down for good
            cramped.restart(crash=True)
            database.close()
        before = _ended(reports, ids)
        wait_until(lambda: _ended(reports, ids) > before, what="ends to be written")
        wait_until(lambda: _ended(reports, ids) == len(ids), what="the end of all")
        assert Counter(reports.states(ids).values()) == {"succeeded": len(ids)}
        assert database.execute("SELECT * FROM halfstep.attempt") == []
    assert set(effects.starts().values()) == {1}
    assert worker.stop() == 0


def test_a_server_that_breaks_down_as_its_log_has_no_room_loses_no_end(
    disk: SmallDisk, hoarding: OwnServer, start_worker: Start, effects: Effects
) -> None:
    worker = start_worker(url=hoarding.url, lease_seconds=20.0)
    with closing(Database(hoarding.url)) as database:
        reports = Reports(database)
        ids = enqueue_many(database, [NewTask("python", effects.call(0.02), {}) for _ in range(200)])
        wait_until(lambda: _ended(reports, ids) > 20, what="some progress")
        disk.fill()
        wait_until(lambda: _breaks_down(hoarding), what="the server to break down")
        wait_until(lambda: "Trying again" in worker.log.read_text(), what="the worker to notice")
        disk.free()
        hoarding.restart(crash=True)
        database.close()
        wait_until(lambda: _ended(reports, ids) == len(ids), what="the end of all")
        assert Counter(reports.states(ids).values()) == {"succeeded": len(ids)}
        assert database.execute("SELECT * FROM halfstep.attempt") == []
    assert "PANIC" in hoarding.log.read_text()
    assert set(effects.starts().values()) == {1}
    assert worker.stop() == 0


def _ended(reports: Reports, ids: list[int]) -> int:
    return sum(state == "succeeded" for state in reports.states(ids).values())


def _breaks_down(server: OwnServer) -> bool:
    """Asked while the disk is full: takes the next file of the log, until there is none."""
    with suppress(HalfstepError):
        server.admin("SELECT pg_switch_wal(), txid_current()")
    return "PANIC" in server.log.read_text()

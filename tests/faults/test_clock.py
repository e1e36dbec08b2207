"""Wall clocks that jump or are wrong: leases and deadlines go by monotonic clocks, and what is due by the server's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clocks import MISSING, Clock, library
from effects import Effects
from halfstep.database import Database
from halfstep.producer import NewTask, enqueue, enqueue_many
from halfstep.reports import Report, Reports
from own_server import OwnServer, own_server
from waiting import NEVER, wait_until
from worker_processes import WorkerProcess

pytestmark = pytest.mark.skipif(library() is None, reason=MISSING)
Start = Callable[..., WorkerProcess]
HOUR = 3600


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock that every user can read."""
    with tempfile.TemporaryDirectory(prefix="halfstep-clock-") as folder:
        os.chmod(folder, 0o755)
        yield Clock(Path(folder) / "offset")


@pytest.fixture
def server_of_wrong_time(clock: Clock) -> Iterator[OwnServer]:
    """A server that goes by that clock."""
    with own_server(environment=clock.environment) as started:
        yield started


def test_an_hour_forth_or_back_of_the_servers_clock_rescues_nobody_who_lives_and_still_whoever_is_dead(
    clock: Clock, server_of_wrong_time: OwnServer, start_worker: Start, effects: Effects, tmp_path: Path
) -> None:
    url, go = server_of_wrong_time.url, tmp_path / "go"
    victim, survivor = (start_worker(url=url, slots=3, lease_seconds=4.0, name=name) for name in ("victim", "survivor"))
    with closing(Database(url)) as database:
        reports = Reports(database)
        wait_until(lambda: len(reports.workers()) == 2, what="both workers")
        held = enqueue_many(database, [NewTask("python", {"function": "jobs:report_progress", "args": [str(go)]}, {})] * 2)
        wait_until(lambda: set(reports.states(held).values()) == {"running"}, what="the start of the long ones")
        ids: list[int] = []
        for offset in (HOUR, -HOUR, 0):
            clock.jump(offset)
            wait_until(lambda offset=offset: abs(_ahead(database) - offset) < 60, what="the jump")  # type: ignore[misc]
            ids += enqueue_many(database, [NewTask("python", effects.call(0.02), {}) for _ in range(60)])
            beats = _beats(database) + 2 * 11  # of both, over more than a lease
            wait_until(lambda beats=beats: _beats(database) >= beats, what="a lease to pass")  # type: ignore[misc]
            wait_until(lambda: set(reports.states(ids).values()) == {"succeeded"}, what="the end of all")  # noqa: B023
        assert database.execute("SELECT * FROM halfstep.attempt") == []
        assert database.execute("SELECT name FROM halfstep.worker WHERE ended_at IS NOT NULL") == []
        clock.jump(-HOUR)
        victim.kill()
        go.touch()
        wait_until(lambda: set(reports.states(held).values()) == {"succeeded"}, what="the end of the long ones")
        assert {attempt["worker"] for id in held for attempt in reports.show(id)["attempts"][-1:]} == {"survivor"}
    assert set(effects.starts().values()) == {1}
    assert survivor.stop() == 0


def test_what_is_due_at_a_time_is_due_by_the_servers_clock(
    clock: Clock, server_of_wrong_time: OwnServer, start_worker: Start, effects: Effects
) -> None:
    start_worker(url=server_of_wrong_time.url)
    with closing(Database(server_of_wrong_time.url)) as database:
        reports = Reports(database)
        half_an_hour = datetime.now(UTC) + timedelta(minutes=30)
        later = enqueue(database, "python", effects.call(0.0), run_at=half_an_hour)
        now = enqueue(database, "python", effects.call(0.0))
        wait_until(lambda: reports.states([now])[now] == "succeeded", what="the one without a time")
        assert reports.states([later])[later] == "scheduled"
        clock.jump(HOUR)
        wait_until(lambda: reports.states([later])[later] == "succeeded", what="the one that is due now")


@pytest.mark.parametrize("hours", [3, -3])
def test_a_worker_whose_clock_is_hours_off_works_as_any_other(
    clock: Clock, start_worker: Start, call: Callable[..., int], ended: Callable[..., Report], effects: Effects, tmp_path: Path,
    database: Database, monkeypatch: pytest.MonkeyPatch, hours: int,
) -> None:  # fmt: skip
    with monkeypatch.context() as patched:
        for name, value in clock.environment.items():
            patched.setenv(name, value)
        clock.jump(hours * HOUR)
        start_worker(name="wrong", lease_seconds=4.0)
    right = start_worker(name="right", lease_seconds=4.0)
    held = [call("report_progress", str(tmp_path / "go"), timeout=NEVER) for _ in range(4)]
    reports = Reports(database)
    wait_until(lambda: set(reports.states(held).values()) == {"running"}, what="the start of the long ones")
    beats = _beats(database) + 2 * 6
    wait_until(lambda: _beats(database) >= beats, what="a lease to pass")
    (tmp_path / "go").touch()
    workers = {attempt["worker"] for task in held for attempt in ended(task)["attempts"]}
    assert workers == {"wrong", "right"}
    assert right.stop() == 0
    late = ended(call("touch_and_wait", str(tmp_path / "starts"), 3600.0, timeout=0.5, max_attempts=1))
    assert (late["state"], late["reason"], late["attempts"][0]["worker"]) == ("failed", "timeout", "wrong")
    again = ended(call("fail", "no", max_attempts=2, backoff_base=0.1))
    assert [attempt["outcome"] for attempt in again["attempts"]] == ["failed", "failed"]
    assert database.execute("SELECT * FROM halfstep.attempt WHERE outcome = 'lost'") == []
    # It is killed, not drained: under libfaketime a wait for a child's end, a sleep on the monotonic clock, is an error.


def _beats(database: Database) -> int:
    return int(database.execute("SELECT coalesce(sum(counter), 0)::int AS beats FROM halfstep.lease")[0]["beats"])


def _ahead(database: Database) -> float:
    """Seconds that the server's clock is ahead of ours."""
    now = database.execute("SELECT clock_timestamp() AS now")[0]["now"]
    return float((now - datetime.now(UTC)).total_seconds())

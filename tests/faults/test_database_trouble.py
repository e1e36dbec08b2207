"""What a database can do to its workers: they wait, ask again, run their bodies on, and write every end once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import TestServer
from effects import Effects
from halfstep.database import ConnectionSettings, Database, parse_url
from halfstep.errors import DatabaseUnavailable
from halfstep.producer import NewTask, enqueue, enqueue_many
from halfstep.reports import Report, Reports
from own_server import OwnServer
from poolers import reconnect
from processor import processor_seconds
from proxy import Proxy
from waiting import wait_until
from worker_processes import WorkerProcess

Start = Callable[..., WorkerProcess]
Call = Callable[..., int]
Ended = Callable[..., Report]

PASSING = {
    "40001": "serialization failure", "40P01": "deadlock", "53100": "disk full", "53200": "out of memory", "53300": "connections",
    "55P03": "lock time-out", "57014": "statement time-out", "57P01": "shutdown", "25006": "read-only", "58030": "I/O",
    "XX000": "bug",
}  # fmt: skip
"""SQLSTATEs that may be over in a moment."""
TROUBLE = """
CREATE SEQUENCE halfstep.refusal;
CREATE FUNCTION halfstep.refusal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('halfstep.refusal') <= 2 THEN RAISE EXCEPTION 'there is trouble' USING ERRCODE = TG_ARGV[0]; END IF;
    RETURN coalesce(NEW, OLD);
END $$;
"""


@pytest.mark.alters_schema
def test_a_finish_that_the_server_refuses_for_a_while_is_repeated_whatever_the_reason(
    start_worker: Start, call: Call, ended: Ended, database: Database
) -> None:
    worker = start_worker()
    database.script(TROUBLE)
    for code in PASSING:
        with trouble(database, code, "DELETE"):
            report = ended(call("add", 1, 2))
            assert (report["state"], len(report["attempts"])) == ("succeeded", 1), code
            assert database.execute("SELECT last_value AS n FROM halfstep.refusal")[0]["n"] == 3, code
    assert worker.stop() == 0


@pytest.mark.alters_schema
def test_a_claim_or_a_retry_that_the_server_refuses_for_a_while_is_repeated(
    start_worker: Start, call: Call, ended: Ended, database: Database
) -> None:
    worker = start_worker()
    database.script(TROUBLE)
    for code in ("40001", "40P01", "25006"):
        with trouble(database, code, "UPDATE OF state"):
            report = ended(call("fail", "no", max_attempts=2, backoff_base=0.0))
            assert [attempt["outcome"] for attempt in report["attempts"]] == ["failed", "failed"], code
    assert worker.stop() == 0


def test_the_victim_of_a_deadlock_writes_its_ends_once_more(
    start_worker: Start, call: Call, database: Database, reports: Reports, threads: ThreadPoolExecutor,
    wait_for_lock_waiters: Callable[[int], None], tmp_path: Path,
) -> None:  # fmt: skip
    worker = start_worker(slots=2)
    wait_until(reports.workers, what="the worker")
    tasks = sorted(call("report_progress", str(tmp_path / "go")) for _ in range(2))
    wait_until(lambda: list(reports.states(tasks).values()) == ["running"] * 2, what="the start of both")
    with database.transaction():
        database.execute("SELECT FROM halfstep.task WHERE id = %(id)s FOR UPDATE", {"id": tasks[1]})
        (tmp_path / "go").touch()
        wait_for_lock_waiters(1)
        first = "SELECT FROM halfstep.task WHERE id = %(id)s FOR UPDATE"
        database.execute(first, {"id": tasks[0]})  # the worker waited first: it finds the deadlock first, and gives way
    wait_until(lambda: set(reports.states(tasks).values()) == {"succeeded"}, what="the end of both")
    assert {len(reports.show(task)["attempts"]) for task in tasks} == {1}
    assert worker.stop() == 0


@pytest.mark.parametrize("what", ["no connection is left", "every connection is read-only, as on a standby"])
def test_a_worker_goes_on_when_the_server_takes_it_in_again(
    server: TestServer, start_worker: Start, call: Call, ended: Ended, reports: Reports, database: Database,
    database_url: str, tmp_path: Path, what: str,
) -> None:  # fmt: skip
    name = database.execute("SELECT current_database() AS name")[0]["name"]
    begin, end = {
        "no": (f"ALTER DATABASE {name} CONNECTION LIMIT 0", f"ALTER DATABASE {name} CONNECTION LIMIT -1"),
        "every": (
            f"ALTER DATABASE {name} SET default_transaction_read_only = on",
            f"ALTER DATABASE {name} RESET default_transaction_read_only",
        ),
    }[what.split()[0]]
    worker = start_worker(lease_seconds=20.0)
    task = call("report_progress", str(tmp_path / "go"))
    wait_until(lambda: reports.states([task])[task] == "running", what="the start")
    try:
        server.admin(begin)
        server.admin(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        (tmp_path / "go").touch()
        wait_until(lambda: "Trying again" in worker.log.read_text(), what="the worker to notice")
        if what.startswith("every"):
            wait_until(lambda: server.admin(_WORKERS + f"'{name}'"), what="a connection that may only read")
    finally:
        server.admin(end)
    reconnect(database_url)
    with pytest.raises(DatabaseUnavailable):
        database.execute("SELECT 1")  # this connection was ended as well
    report = ended(task)
    assert (report["state"], len(report["attempts"])) == ("succeeded", 1)
    assert ended(call("add", 1, 1))["state"] == "succeeded"
    assert worker.stop() == 0


def test_a_connection_that_may_only_read_is_given_up_so_that_the_next_may_write(database: Database, database_url: str) -> None:
    with closing(Database(database_url)) as led_to_a_standby:
        led_to_a_standby.execute("SET default_transaction_read_only = on")
        with pytest.raises(DatabaseUnavailable, match="read-only"):
            enqueue(led_to_a_standby, "bash")
        assert enqueue(led_to_a_standby, "bash") > 0


def test_the_end_of_all_connections_again_and_again_repeats_and_loses_nothing(
    server: TestServer, start_worker: Start, database_url: str, reports: Reports, effects: Effects
) -> None:
    name = parse_url(database_url).database
    workers = [start_worker(lease_seconds=20.0) for _ in range(2)]
    with closing(Database(database_url)) as producer:
        ids = enqueue_many(producer, [NewTask("python", effects.call(0.01), {}) for _ in range(400)])
    for done in (60, 160, 260):
        wait_until(lambda done=done: _count(server, name) >= done, what=f"{done} tasks to end")  # type: ignore[misc]
        server.admin(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{name}' AND application_name ~ '^halfstep [eh]'"
        )
    wait_until(lambda: Counter(reports.states(ids).values()) == {"succeeded": 400}, what="the end of all")
    assert set(effects.starts()) == {(id, 1) for id in ids}
    assert set(effects.starts().values()) == {1}
    assert [worker.stop() for worker in workers] == [0, 0]


REPLIES = {
    "a claim": (b"claimable AS", "add"),
    "a finish": (b'"state":"succeeded"', "add"),
    "a retry": (b"AS e (id bigint, token uuid, delay", "fail"),
    "the question after a lost reply": (b"UPDATE halfstep.exchange e SET sequence", "add"),
    "a look at what is held": (b"WHERE t.state = 'running' AND t.worker_id", "add"),
    "a renewal": (b"SET counter = counter + 1", "add"),
    "a look for cancels": (b"cancel_requested_at IS NOT NULL", "touch"),
}


def test_a_lost_reply_of_any_verb_repeats_and_loses_nothing(
    start_worker: Start, call: Call, ended: Ended, proxy: Proxy, database: Database, tmp_path: Path
) -> None:
    worker = start_worker(url=proxy.url, lease_seconds=20.0)
    ended(call("add", 0, 0))
    for verb, (marker, body) in REPLIES.items():
        if verb in ("the question after a lost reply", "a look at what is held"):
            proxy.lose_the_reply_to(b"claimable AS")
            wait_until(proxy.lost.is_set, what="the first loss")
        proxy.lose_the_reply_to(marker)
        arguments: dict[str, tuple[Any, ...]] = {"add": (1, 2), "fail": ("no",), "touch": (str(tmp_path / "s"), 1.5)}
        function = "touch_and_wait" if body == "touch" else body
        report = ended(call(function, *arguments[body], max_attempts=2, backoff_base=0.0))
        wait_until(proxy.lost.is_set, what=f"the lost reply of {verb}")
        told = [attempt["outcome"] for attempt in report["attempts"]]
        assert told == (["failed", "failed"] if body == "fail" else ["succeeded"]), verb
    assert worker.stop() == 0


def test_a_lost_reply_of_a_release_leaves_the_task_ready_and_released_once(
    start_worker: Start, call: Call, proxy: Proxy, reports: Reports, tmp_path: Path
) -> None:
    worker = start_worker(url=proxy.url, lease_seconds=20.0, grace=0.1, stop_grace=0.3)
    task = call("touch_and_wait", str(tmp_path / "starts"), 3600.0)
    wait_until((tmp_path / "starts").exists, what="the start")
    proxy.lose_the_reply_to(b"started boolean, reason text")
    assert worker.stop() == 0
    assert proxy.lost.is_set()
    report = reports.show(task)
    assert (report["state"], [attempt["outcome"] for attempt in report["attempts"]]) == ("ready", ["released"])


LEASE = 6.0


def test_workers_outlive_a_restart_a_crash_and_an_outage_longer_than_their_lease(
    own_server: OwnServer, start_worker: Start, effects: Effects, tmp_path: Path
) -> None:
    workers = [start_worker(url=own_server.url, slots=3, lease_seconds=LEASE) for _ in range(2)]
    with closing(Database(own_server.url)) as database:
        reports = Reports(database)
        wait_until(lambda: len(reports.workers()) == 2, what="both workers")
        held = [
            enqueue(database, "python", {"function": "jobs:report_progress", "args": [str(tmp_path / "go")]}) for _ in range(2)
        ]
        wait_until(lambda: set(reports.states(held).values()) == {"running"}, what="the start of the long ones")
        ids: list[int] = []
        faults: list[Callable[[], object]] = [
            own_server.restart,
            lambda: own_server.restart(crash=True),
            lambda: outage(own_server, workers),
        ]
        for fault in faults:
            fresh = enqueue_many(database, [NewTask("python", effects.call(0.02), {}) for _ in range(100)])
            wait_until(lambda first=fresh[0]: reports.states([first])[first] == "succeeded", what="some progress")  # type: ignore[misc]
            fault()
            database.close()
            wait_for_beats(database, 2)
            ids += fresh
            wait_until(
                lambda: set(reports.states(ids).values()) == {"succeeded"},  # noqa: B023
                what="the end of all",
            )
        (tmp_path / "go").touch()
        wait_until(lambda: set(reports.states(held).values()) == {"succeeded"}, what="the end of the long ones")
        assert database.execute("SELECT * FROM halfstep.attempt") == []
        assert database.execute("SELECT name FROM halfstep.worker WHERE state = 'dead'") == []
    assert set(effects.starts().values()) == {1}
    assert [worker.stop() for worker in workers] == [0, 0]


def outage(server: OwnServer, workers: list[WorkerProcess]) -> None:
    """Longer than a lease without a server, in which the workers use hardly any processor."""
    server.stop()
    begun, used = time.monotonic(), sum(processor_seconds(worker.process.pid) for worker in workers)
    wait_until(lambda: time.monotonic() - begun > LEASE + 1, what="the end of the outage")
    used = sum(processor_seconds(worker.process.pid) for worker in workers) - used
    share = used / len(workers) / (time.monotonic() - begun)
    assert share < 0.2, f"a worker used {share:.0%} of a core while the server was away"
    server.start()


def wait_for_beats(database: Database, number: int) -> None:
    """Until the leases of that many workers have moved from now on."""
    sql = "SELECT count(*) FILTER (WHERE renewed_at > %(since)s::timestamptz) AS fresh FROM halfstep.lease"
    since = database.execute("SELECT clock_timestamp()::text AS now")[0]["now"]
    wait_until(lambda: database.execute(sql, {"since": since})[0]["fresh"] >= number, what="all workers to be back")


@contextmanager
def trouble(database: Database, code: str, event: str) -> Iterator[None]:
    """The next two rows that are written that way are refused with this SQLSTATE."""
    database.script(
        "ALTER SEQUENCE halfstep.refusal RESTART; CREATE TRIGGER trouble BEFORE "
        f"{event} ON halfstep.task FOR EACH ROW EXECUTE FUNCTION halfstep.refusal('{code}')"
    )
    yield
    database.script("DROP TRIGGER trouble ON halfstep.task")


_WORKERS = "SELECT FROM pg_stat_activity WHERE application_name ~ '^halfstep [eh]' AND datname = "


def _count(server: TestServer, name: str | None) -> int:
    address = parse_url(server.admin_url).set(database=name).render_as_string(hide_password=False)
    with closing(Database(address.replace("+psycopg2", ""), ConnectionSettings("observer"))) as observer:
        return int(observer.execute("SELECT count(*) AS n FROM halfstep.history")[0]["n"])

"""History while it is pruned, read for long or short of a partition: no end waits longer than a second, none is lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from typing import Any

import pytest

from conftest import TestServer
from finishing import Finishing
from halfstep.administration import AHEAD_DAYS, Administration, Pruned
from halfstep.database import Database, parse_url
from halfstep.producer import enqueue
from halfstep.reports import Report, Reports
from waiting import wait_until
from worker_processes import WorkerProcess

PARENTS = {"history": "finished_at", "attempt": "ended_at", "log": "written_at"}
LONGEST = 1.0
"""Seconds that an end may wait."""
SLOW = """
CREATE FUNCTION halfstep.slow() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(4); END $$;
CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION halfstep.slow();
"""
pytestmark = pytest.mark.alters_schema


def test_ends_go_to_the_default_partition_while_those_of_the_coming_days_are_missing(
    database: Database, start_worker: Callable[..., WorkerProcess], call: Callable[..., int],
    ended: Callable[..., Report], reports: Reports,
) -> None:  # fmt: skip
    drop_coming(database)
    worker = start_worker()
    failed = ended(call("fail", "no", max_attempts=2, backoff_base=0.0))
    assert [attempt["outcome"] for attempt in failed["attempts"]] == ["failed", "failed"]
    assert rows_in_default(database) == [1, 1]
    done = Administration(database).prune()
    assert done.busy == []
    assert missing(database) == [(parent, today(database)) for parent in ("attempt", "history", "log")]  # rows lie there
    assert ended(call("add", 1, 2))["result"] == 3
    assert reports.show(failed["id"])["state"] == "failed"
    assert worker.stop() == 0


def test_a_day_whose_rows_lie_in_the_default_partition_is_left_and_the_next_days_are_made(
    database: Database, database_url: str
) -> None:
    drop_coming(database)
    with Finishing(database_url) as finishing:
        wait_until(lambda: finishing.finished > 50, what="some ends")
        done = Administration(database).prune()
        wait_until(lambda: finishing.finished > 100, what="more ends")
    assert done.busy == []
    assert missing(database) == [("history", today(database))]
    assert finishing.longest < LONGEST
    assert states(database) == {"succeeded": finishing.finished}


def test_a_partition_that_takes_long_to_attach_makes_no_end_wait_longer_than_a_second(
    server: TestServer, database: Database, database_url: str
) -> None:
    drop_coming(database)
    address = parse_url(server.admin_url).set(drivername="postgresql", database=parse_url(database_url).database)
    with Finishing(database_url) as finishing:
        wait_until(lambda: finishing.finished > 20, what="some ends")
        with closing(Database(address.render_as_string(hide_password=False))) as superuser:
            superuser.script(SLOW)
        done = Administration(database).prune()
        wait_until(lambda: finishing.finished > 60, what="more ends")
    assert done.busy
    assert finishing.longest < LONGEST + 0.2


def test_a_prune_under_load_drops_what_is_old_and_makes_no_end_wait(database: Database, database_url: str) -> None:
    old = make_old(database, days=5)
    with Finishing(database_url) as finishing:
        wait_until(lambda: finishing.finished > 50, what="some ends")
        done = Administration(database).prune()
        wait_until(lambda: finishing.finished > 100, what="more ends")
    assert (sorted(done.dropped), done.busy) == (old, [])
    assert finishing.longest < LONGEST
    assert states(database) == {"succeeded": finishing.finished}


@pytest.mark.parametrize("reads", ["history is dumped", "one old day is read"])
def test_a_prune_beside_a_long_reader_waits_for_nobody_and_drops_when_it_is_gone(
    database: Database, database_url: str, connect: Callable[[], Database], reads: str
) -> None:
    old, reader = make_old(database, days=2), connect()
    drop_coming(database, first=5)
    with Finishing(database_url) as finishing:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        if reads.startswith("history"):  # as pg_dump begins
            reader.execute("LOCK TABLE halfstep.history, halfstep.attempt, halfstep.log IN ACCESS SHARE MODE")
        else:
            reader.execute(f"SELECT count(*) FROM halfstep.{old[0]}")
        done = Administration(database).prune()
        wait_until(lambda: finishing.finished > 50, what="ends meanwhile")
        assert old[0] in done.busy
        assert reader.execute(f"SELECT count(*) AS n FROM halfstep.{old[0]}")[0]["n"] == 10, "what is being read was emptied"
        reader.execute("COMMIT")
        again = Administration(database).prune()
    assert sorted(done.dropped + again.dropped) == old
    assert missing(database) == []
    assert finishing.longest < LONGEST
    assert states(database) == {"succeeded": finishing.finished}


def test_two_prunes_at_once_do_not_stand_in_each_others_way(
    database: Database, connect: Callable[[], Database], threads: Any
) -> None:
    old = make_old(database, days=4)
    drop_coming(database)
    done: list[Pruned] = list(threads.map(lambda n: Administration(connect()).prune(), range(3)))
    left = Administration(database).prune()
    assert sorted(name for pruned in [*done, left] for name in pruned.dropped) == old
    assert missing(database) == []


def test_a_task_of_the_default_partition_runs_again_by_hand(database: Database, worker: Any, queue: Any) -> None:
    drop_coming(database)
    id = enqueue(database, "bash", unique_key="k")
    worker.finish(*worker.claim())
    Administration(database).prune()
    queue.retry_finished(id)
    assert worker.finish(*worker.claim()) == []
    assert states(database) == {"succeeded": 1}


def today(database: Database) -> date:
    """By the server's clock, as partitions go."""
    found: date = database.execute("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date AS day")[0]["day"]
    return found


def drop_coming(database: Database, *, first: int = 0) -> None:
    """The partitions from that day on are gone, as if nobody had pruned for a week."""
    days = [today(database) + timedelta(days=ahead) for ahead in range(first, AHEAD_DAYS + 1)]
    database.script(";".join(f"DROP TABLE halfstep.{parent}_{day:%Y%m%d}" for parent in PARENTS for day in days))


def make_old(database: Database, *, days: int) -> list[str]:
    """Partitions of history past retention, ten rows each; returns their names."""
    names = []
    for back in range(days):
        day = today(database) - timedelta(days=40 - back)
        database.run("add_partition", parent="log", column_name="written_at", day=day)
        insert = f"INSERT INTO halfstep.log SELECT n, 1, 0, '{day}T12:00Z', '[]' FROM generate_series(1, 10) AS n"
        database.execute(insert)
        names.append(f"log_{day:%Y%m%d}")
    return names


def missing(database: Database) -> list[tuple[str, date]]:
    """Days of the coming week without a partition."""
    return [(row["parent"], row["day"]) for row in database.run("missing_partitions", ahead=AHEAD_DAYS)]


def rows_in_default(database: Database) -> list[int]:
    """How many rows there are in the default partitions of history and attempts."""
    return [database.execute(f"SELECT count(*) AS n FROM halfstep.{parent}_default")[0]["n"] for parent in ("history", "attempt")]


def states(database: Database) -> dict[str, int]:
    """How many tasks ended how; each once."""
    rows = database.execute("SELECT state, count(*) AS n, count(DISTINCT id) AS tasks FROM halfstep.history GROUP BY state")
    assert all(row["n"] == row["tasks"] for row in rows)
    return {row["state"]: row["n"] for row in rows}

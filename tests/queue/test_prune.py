"""Prune: partitions are there before they are needed and go when they are old; no finish fails or waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from halfstep import enqueue
from halfstep.administration import Administration
from halfstep.database import Database
from halfstep.errors import InvalidSettings
from halfstep.reports import Reports
from waiting import PATIENCE, is_within

pytestmark = pytest.mark.alters_schema

PARENTS = {"history": "finished_at", "attempt": "ended_at", "log": "written_at"}


def partitions(database: Database, parent: str) -> set[str]:
    sql = "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = %(parent)s::regclass"
    return {row["name"].removeprefix("halfstep.") for row in database.execute(sql, {"parent": f"halfstep.{parent}"})}


def day(database: Database, ahead: int) -> str:
    sql = "SELECT to_char((clock_timestamp() AT TIME ZONE 'UTC')::date + %(ahead)s, 'YYYYMMDD') AS day"
    return str(database.execute(sql, {"ahead": ahead})[0]["day"])


def add(database: Database, parent: str, *, ahead: int) -> str:
    database.run("add_partition", parent=parent, column_name=PARENTS[parent], day=day(database, ahead))
    return f"{parent}_{day(database, ahead)}"


def finish_one(database: Database, worker: Any, *, days_ago: int = 0) -> int:
    id = enqueue(database, "bash")
    worker.finish(*worker.claim())
    if days_ago:
        sql = "UPDATE halfstep.history SET finished_at = finished_at - make_interval(days => %(days)s) WHERE id = %(id)s"
        database.execute(sql, {"days": days_ago, "id": id})
    return id


def test_a_week_of_partitions_lies_ahead_after_migrating_and_after_pruning(
    database: Database, administration: Administration
) -> None:
    for parent in PARENTS:
        expected = {f"{parent}_{day(database, ahead)}" for ahead in range(8)} | {f"{parent}_default"}
        assert partitions(database, parent) == expected
        database.script(f"DROP TABLE halfstep.{parent}_{day(database, 7)}; DROP TABLE halfstep.{parent}_{day(database, 3)}")
        administration.prune()
        assert partitions(database, parent) == expected


def test_a_partition_is_like_its_parent_with_all_its_indexes(database: Database, administration: Administration) -> None:
    sql = "SELECT count(*) AS n FROM pg_indexes WHERE schemaname = 'halfstep' AND tablename = %(table)s"
    for parent in PARENTS:
        made = add(database, parent, ahead=9)
        numbers = {
            database.execute(sql, {"table": table})[0]["n"]
            for table in (made, f"{parent}_default", f"{parent}_{day(database, 0)}")
        }
        assert len(numbers) == 1


def test_a_finish_on_a_day_without_a_partition_lands_in_the_default_one(
    database: Database, worker: Any, administration: Administration, reports: Reports
) -> None:
    database.script(f"DROP TABLE halfstep.history_{day(database, 0)}")
    id = finish_one(database, worker)
    assert [row["id"] for row in database.execute("SELECT id FROM halfstep.history_default")] == [id]
    assert reports.show(id)["state"] == "succeeded"
    assert administration.prune().busy == []  # today's partition can't be made over that row, and nothing breaks
    assert reports.show(id)["state"] == "succeeded"
    finish_one(database, worker)


def test_partitions_past_retention_are_dropped_and_younger_ones_kept(
    database: Database, administration: Administration, worker: Any, reports: Reports
) -> None:
    assert administration.history_days(5) == 5
    old = [add(database, parent, ahead=-6) for parent in PARENTS]
    young = [add(database, parent, ahead=-5) for parent in PARENTS]
    gone, kept = finish_one(database, worker, days_ago=6), finish_one(database, worker, days_ago=4)
    done = administration.prune()
    assert (sorted(done.dropped), done.busy) == (sorted(old), [])
    assert all(name in partitions(database, name.split("_")[0]) for name in young)
    assert set(reports.states([gone, kept])) == {kept}


def test_rows_past_retention_in_a_default_partition_are_deleted(
    database: Database, administration: Administration, worker: Any, reports: Reports
) -> None:
    gone, kept = finish_one(database, worker, days_ago=15), finish_one(database, worker, days_ago=13)
    database.execute(
        "INSERT INTO halfstep.attempt (task_id, number, ended_at, outcome) VALUES (1, 1, now() - interval '15 days', 'lost')"
    )
    database.execute("INSERT INTO halfstep.log VALUES (1, 1, 0, now() - interval '15 days', '[]')")
    assert administration.prune().rows == 3
    assert set(reports.states([gone, kept])) == {kept}
    assert database.execute("SELECT FROM halfstep.attempt UNION ALL SELECT FROM halfstep.log") == []


def test_workers_and_keys_past_their_time_are_deleted(
    database: Database, administration: Administration, worker: Any, queue: Any
) -> None:
    enqueue(database, "bash", unique_key="ended", unique_for=3600)
    enqueue(database, "bash", unique_key="lives")
    queue.deregister(worker.id)
    database.execute("UPDATE halfstep.unique_key SET expires_at = now() WHERE key = 'ended'")
    database.execute("UPDATE halfstep.worker SET ended_at = now() - interval '15 days'")
    assert administration.prune().rows == 2
    assert [row["key"] for row in database.execute("SELECT key FROM halfstep.unique_key")] == ["lives"]
    assert database.execute("SELECT FROM halfstep.worker") == []


def test_a_reader_of_an_old_partition_makes_it_busy_and_the_next_prune_drops_it(
    database: Database, administration: Administration, raw_connect: Callable[[], Any]
) -> None:
    old = add(database, "history", ahead=-20)
    reader = raw_connect()
    reader.cursor().execute(f"SELECT count(*) FROM halfstep.{old}")
    assert administration.prune(lock_seconds=0.05).busy == [old]
    reader.rollback()
    assert administration.prune().dropped == [old]


def test_a_view_of_somebodys_on_an_old_partition_keeps_it_and_is_told(database: Database, administration: Administration) -> None:
    old = add(database, "history", ahead=-40)
    database.script(f"CREATE SCHEMA theirs; CREATE VIEW theirs.mine AS SELECT id FROM halfstep.{old}")
    assert administration.prune().busy == [old]
    database.script("DROP SCHEMA theirs CASCADE")
    pruned = administration.prune()
    assert (pruned.dropped, pruned.busy) == ([old], [])


def test_a_reader_of_all_history_makes_no_finish_wait_behind_a_prune(
    database: Database, worker: Any, connect: Callable[[], Database], raw_connect: Callable[[], Any], threads: ThreadPoolExecutor,
    wait_for_lock_waiters: Callable[[int], None],
) -> None:  # fmt: skip
    old = add(database, "history", ahead=-20)
    missing = f"history_{day(database, 7)}"
    database.script(f"DROP TABLE halfstep.{missing}")
    enqueue(database, "bash")
    claims = worker.claim()
    reader = raw_connect()
    reader.cursor().execute("SELECT count(*) FROM halfstep.history")
    pruning = threads.submit(Administration(connect()).prune)
    wait_for_lock_waiters(1)
    began = time.monotonic()
    assert worker.finish(*claims) == []
    assert is_within(1.0, time.monotonic() - began)
    assert sorted(pruning.result(PATIENCE).busy) == sorted([old, missing])
    reader.rollback()
    done = Administration(connect()).prune()
    assert (done.dropped, done.busy) == ([old], [])
    assert missing in partitions(database, "history")


def test_a_prune_leaves_the_connections_own_timeouts_as_they_were(database: Database, administration: Administration) -> None:
    before = database.execute("SHOW lock_timeout")
    administration.prune()
    assert database.execute("SHOW lock_timeout") == before


def test_two_prunes_at_once_do_no_harm(connect: Callable[[], Database], database: Database, threads: ThreadPoolExecutor) -> None:
    for parent in PARENTS:
        for ahead in (-20, -21, -22):
            add(database, parent, ahead=ahead)
        database.script(f"DROP TABLE halfstep.{parent}_{day(database, 7)}")
    for pruning in [threads.submit(Administration(connect()).prune) for _ in range(3)]:
        pruning.result(PATIENCE)
    Administration(database).prune()
    for parent in PARENTS:
        assert partitions(database, parent) == {f"{parent}_{day(database, ahead)}" for ahead in range(8)} | {f"{parent}_default"}


def test_retention_is_at_least_a_day(administration: Administration) -> None:
    assert administration.history_days() == 14
    with pytest.raises(InvalidSettings, match="at least 1 day"):
        administration.history_days(0)


def test_what_a_member_of_the_owner_makes_is_the_owners(server: Any, database: Database) -> None:
    """A worker may log in as a member, and prunes; a migration insists on one owner for all."""
    role = server.make_role()
    owner = database.execute("SELECT current_user AS name, current_database() AS database")[0]
    server.admin(f'GRANT "{owner["name"]}" TO {role[0]}')
    last = database.execute("SELECT max(relname) AS name FROM pg_class WHERE relname ~ '^history_[0-9]+$'")[0]["name"]
    database.execute(f"DROP TABLE halfstep.{last}")
    with closing(Database(server.url(owner["database"], role))) as theirs:
        Administration(theirs).prune()
    made = f"SELECT pg_get_userbyid(relowner) AS name FROM pg_class WHERE oid = 'halfstep.{last}'::regclass"
    assert database.execute(made)[0]["name"] == owner["name"]
    server.admin(f"DROP ROLE {role[0]}")

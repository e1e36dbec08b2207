"""What stood in the schema before unique keys had queues and functions had many types, after it was migrated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from halfstep import enqueue
from halfstep.administration import Administration
from halfstep.database import Database
from halfstep.migrate import _BOOKS, _oldest_code, migrate
from halfstep.queue import Queue
from halfstep.statements import migrations

BEFORE = 5


@pytest.fixture
def old(empty_database_url: str) -> Iterator[Database]:
    """A database with the schema of before."""
    with closing(Database(empty_database_url)) as database:
        database.script("CREATE SCHEMA halfstep;" + _BOOKS)
        for number, name, text in migrations():
            if number <= BEFORE:
                database.script(text)
                sql = "INSERT INTO halfstep.migration (version, name, oldest_code) VALUES (%(n)s, %(name)s, %(oldest)s)"
                database.execute(sql, {"n": number, "name": name, "oldest": _oldest_code(text)})
        yield database


def made(database: Database, arguments: str) -> int:
    return int(database.execute(f"SELECT halfstep.enqueue('bash', '{{}}', {arguments}) AS id")[0]["id"])


def test_keys_go_to_the_queues_of_their_tasks(old: Database) -> None:
    lives = made(old, "queue => 'a', unique_key => 'lives'")
    period = made(old, "queue => 'b', unique_key => 'period', unique_for => '1 day'")
    Queue(old).cancel(period)
    forgotten = made(old, "queue => 'b', unique_key => 'forgotten', unique_for => '300 days'")
    Queue(old).cancel(forgotten)
    old.execute(f"DELETE FROM halfstep.history WHERE id = {forgotten}")
    assert migrate(old) == ["0006_doors", *migrations_after()]
    assert enqueue(old, "bash", queue="a", unique_key="lives") == lives
    assert enqueue(old, "bash", queue="b", unique_key="lives") != lives
    assert enqueue(old, "bash", queue="b", unique_key="period") == period
    assert enqueue(old, "bash", queue="a", unique_key="period") != period
    assert {enqueue(old, "bash", queue=queue, unique_key="forgotten") for queue in ("a", "b", "default")} == {forgotten}


def migrations_after() -> list[str]:
    return [name for number, name, _ in migrations() if number > BEFORE + 1]


def test_who_might_call_the_functions_still_may(old: Database, server: Any) -> None:
    role = server.make_role()
    old.script(
        f"GRANT USAGE ON SCHEMA halfstep TO {role[0]};"
        f"GRANT EXECUTE ON FUNCTION halfstep.enqueue, halfstep.enqueue_many TO {role[0]};"
        f"INSERT INTO halfstep.producer VALUES ('{role[0]}', 'mine')"
    )
    migrate(old)
    name = old.execute("SELECT current_database() AS name")[0]["name"]
    with closing(Database(server.url(name, role))) as theirs:
        assert theirs.execute("SELECT halfstep.enqueue('bash', '{}'::json, queue => 'mine') AS id")[0]["id"]
        assert enqueue(theirs, "bash", queue="mine")
    outsiders = old.execute(
        "SELECT p.oid::regprocedure::text AS name FROM pg_proc p WHERE p.pronamespace = 'halfstep'::regnamespace"
        " AND has_function_privilege('public', p.oid, 'EXECUTE')"
    )
    assert outsiders == []
    Administration(old).revoke_producer(role[0])
    server.admin(f"DROP OWNED BY {role[0]}")


def test_clusters_that_had_pods_are_served(old: Database) -> None:
    """Launchers of before don't say what they serve, and have to work on."""
    for number in range(8):
        task = made(old, f"queue => 'etl', placement => 'pod', cluster => 'c{number}'")
        old.execute(
            "INSERT INTO halfstep.pod (attempt_id, task_id, attempt, cluster, namespace, name)"
            f" VALUES (gen_random_uuid(), {task}, 1, 'c{number}', 'jobs', 'x')"
        )
        Queue(old).cancel(task)
    for number in range(30):
        made(old, f"queue => 'etl', cluster => 'typo{number}'")
    migrate(old)
    for number in range(8):
        enqueue(old, "pod", queue="etl", placement="pod", cluster=f"c{number}")
    enqueue(old, "pod", queue="etl", placement="pod", cluster="new")


def test_what_stood_in_the_way_of_promotion_no_longer_does(old: Database) -> None:
    odd = made(old, "placement => 'pod', cluster => repeat(md5(random()::text), 1000), run_at => '2100-01-01'")
    late = made(old, "run_at => '294276-12-31'")
    early = made(old, "run_at => '4713-01-01 BC'")
    old.execute(f"UPDATE halfstep.task SET state = 'scheduled' WHERE id = {early}")
    innocent = made(old, "run_at => '2100-01-01'")
    migrate(old)
    old.execute(f"UPDATE halfstep.task SET run_at = now() WHERE id IN ({odd}, {innocent})")
    assert Queue(old).promote() == 3
    states = {row["id"]: row["state"] for row in old.execute("SELECT id, state FROM halfstep.task")}
    assert states == {odd: "ready", late: "scheduled", early: "ready", innocent: "ready"}


def test_code_of_before_goes_on_with_keys(old: Database) -> None:
    """A worker that is not replaced yet frees a key by name and task alone."""
    key = made(old, "queue => 'a', unique_key => 'k'")
    migrate(old)
    freed = (
        "DELETE FROM halfstep.unique_key k USING halfstep.task t WHERE k.key = t.unique_key AND k.task_id = t.id RETURNING k.key"
    )
    assert [row["key"] for row in old.execute(freed)] == ["k"]
    assert enqueue(old, "bash", queue="a", unique_key="k") != key

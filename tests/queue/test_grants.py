"""Grants: a role that may enqueue is not a role that may do anything else."""

from __future__ import annotations

from typing import Any

import pytest

from halfstep import enqueue
from halfstep.administration import Administration
from halfstep.database import Database
from halfstep.errors import HalfstepError, InvalidSettings, NotFound, NotPermitted
from producers import Producer


def test_a_producer_enqueues_to_its_queues_and_to_no_other(producer: Producer, administration: Administration) -> None:
    administration.set_queue("secret")
    administration.grant_producer(producer.role, ["a", "b"])
    assert enqueue(producer.database, "bash", queue="a") == 1
    assert producer.database.execute("SELECT halfstep.enqueue('bash', queue => 'b') AS id")[0]["id"] == 2
    for queue in ("secret", "default", "new"):
        with pytest.raises(
            NotPermitted, match=f"{producer.role} may not enqueue to queue {queue}; ask for: halfstep grant producer"
        ):
            enqueue(producer.database, "bash", queue=queue)


def test_a_producer_needs_a_queues_operators_too(producer: Producer, administration: Administration) -> None:
    administration.set_queue("a", operators=["sql"])
    administration.grant_producer(producer.role, ["a"])
    enqueue(producer.database, "sql", queue="a")
    with pytest.raises(NotPermitted, match="takes only the operators sql, not bash"):
        enqueue(producer.database, "bash", queue="a")


def test_nothing_is_allowed_before_the_grant_or_after_the_revoke(producer: Producer, administration: Administration) -> None:
    with pytest.raises(NotPermitted):
        enqueue(producer.database, "bash", queue="a")
    administration.grant_producer(producer.role, ["a"])
    enqueue(producer.database, "bash", queue="a")
    administration.revoke_producer(producer.role)
    with pytest.raises(NotPermitted):
        enqueue(producer.database, "bash", queue="a")


def test_a_producer_reads_and_writes_no_table(producer: Producer, administration: Administration, database: Database) -> None:
    administration.grant_producer(producer.role, ["a"])
    found = database.execute(
        "SELECT relname, relkind::text AS kind FROM pg_class"
        " WHERE relnamespace = 'halfstep'::regnamespace AND relkind IN ('r', 'p', 'S', 'v')"
    )
    assert len(found) > 30
    for row in found:
        tries = [f"SELECT * FROM halfstep.{row['relname']}"]
        if row["kind"] in "rp":
            tries += [f"DELETE FROM halfstep.{row['relname']}", f"INSERT INTO halfstep.{row['relname']} DEFAULT VALUES"]
        for statement in tries:
            with pytest.raises(NotPermitted):
                producer.database.execute(statement)


def test_a_producer_calls_no_function_but_the_two(producer: Producer, administration: Administration, database: Database) -> None:
    administration.grant_producer(producer.role, ["a"])
    allowed = (
        "SELECT proname FROM pg_proc WHERE pronamespace = 'halfstep'::regnamespace"
        f" AND has_function_privilege('{producer.role}', oid, 'EXECUTE') ORDER BY proname"
    )
    assert {row["proname"] for row in database.execute(allowed)} == {"enqueue", "enqueue_many"}
    with pytest.raises(NotPermitted):
        producer.database.execute("SELECT halfstep.take_key('k', 'a', 1, NULL)")


def test_a_producer_makes_nothing_in_the_schema(producer: Producer, administration: Administration) -> None:
    administration.grant_producer(producer.role, ["a"])
    with pytest.raises(NotPermitted):
        producer.database.execute("CREATE TABLE halfstep.mine (x int)")


def test_a_producers_own_objects_cannot_stand_in_for_the_functions(
    producer: Producer, administration: Administration, server: Any, database_url: str
) -> None:
    """The functions run as the owner: what a caller has in its search path must not run there."""
    administration.grant_producer(producer.role, ["a"])
    producer.database.script(
        "CREATE TEMP TABLE task (id bigint); CREATE TEMP TABLE queue (name text);SET search_path = pg_temp, halfstep, pg_catalog"
    )
    assert enqueue(producer.database, "bash", queue="a") == 1
    assert producer.database.execute("SELECT count(*) AS n FROM pg_temp.task")[0]["n"] == 0


def test_members_of_a_granted_role_may_enqueue(producer: Producer, administration: Administration, server: Any) -> None:
    (team, _) = server.make_role()
    administration.grant_producer(team, ["a"])
    server.admin(f"GRANT {team} TO {producer.role}")
    assert enqueue(producer.database, "bash", queue="a") == 1
    administration.revoke_producer(team)
    server.admin(f"DROP ROLE {team}")


def test_granting_twice_is_fine_and_bad_names_are_told(producer: Producer, administration: Administration) -> None:
    administration.grant_producer(producer.role, ["a"])
    administration.grant_producer(producer.role, ["a", "b"])
    for verb in (
        lambda: administration.grant_producer("nobody here", ["a"]),
        lambda: administration.revoke_producer("nobody here"),
    ):
        with pytest.raises(NotFound, match="no database role nobody here"):
            verb()
    with pytest.raises(InvalidSettings, match="queue name"):
        administration.grant_producer(producer.role, ["no such!"])
    with pytest.raises(InvalidSettings, match="weight"):
        administration.set_queue("a", weight=0)


def test_a_producer_cannot_administer(producer: Producer, administration: Administration) -> None:
    administration.grant_producer(producer.role, ["a"])
    theirs = Administration(producer.database)
    for attempt in (
        lambda: theirs.set_queue("a"),
        theirs.prune,
        lambda: theirs.fix_queues(True),
        lambda: theirs.grant_producer(producer.role, ["b"]),
    ):
        with pytest.raises(HalfstepError):
            attempt()


def test_a_grant_tells_where_else_the_role_may_enqueue_already(
    producer: Producer, administration: Administration, server: Any
) -> None:
    assert administration.grant_producer(producer.role, ["a", "b"]) == []
    assert administration.grant_producer(producer.role, ["a"]) == ["b"]
    assert administration.grant_producer(producer.role, ["c"]) == ["a", "b"]
    team = server.make_role()[0]
    administration.grant_producer(team, ["of-the-team"])
    server.admin(f"GRANT {team} TO {producer.role}")
    assert administration.grant_producer(producer.role, ["c"]) == ["a", "b", "of-the-team"]
    administration.revoke_producer(team)
    server.admin(f"DROP ROLE {team}")


def test_what_a_dropped_role_was_granted_is_told_to_who_grants_to_the_next_and_can_be_taken_back(
    database: Database, administration: Administration, server: Any
) -> None:
    role = server.make_role()[0]
    administration.grant_producer(role, ["old"])
    database.script(f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA halfstep FROM {role}; REVOKE USAGE ON SCHEMA halfstep FROM {role}")
    server.admin(f"DROP ROLE {role}")
    server.admin(f"CREATE ROLE {role}")
    assert administration.grant_producer(role, ["new"]) == ["old"]
    database.script(f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA halfstep FROM {role}; REVOKE USAGE ON SCHEMA halfstep FROM {role}")
    server.admin(f"DROP ROLE {role}")
    administration.revoke_producer(role)
    server.admin(f"CREATE ROLE {role}")
    assert administration.grant_producer(role, ["new"]) == []
    administration.revoke_producer(role)
    server.admin(f"DROP ROLE {role}")
    with pytest.raises(NotFound, match="no database role"):
        administration.revoke_producer(role)

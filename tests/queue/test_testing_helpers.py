"""halfstep.testing: what users' tests build on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from halfstep import Failed, Retry, Succeeded, enqueue, task
from halfstep.database import Database
from halfstep.queue import Queue
from halfstep.reports import Reports
from halfstep.testing import assert_enqueued, drain


@task(name="testing:add")
def add(a: int, b: int) -> int:
    return a + b


def test_an_enqueued_task_is_found_inside_its_own_transaction(raw_connect: Callable[[], Any], database: Database) -> None:
    connection = raw_connect()
    id = enqueue(connection, "bash", {"command": "true", "env": {"a": "b"}}, queue="etl")
    assert assert_enqueued(connection, operator="bash", args={"env": {"a": "b"}}, queue="etl") == id
    with pytest.raises(AssertionError, match="there are: none"):
        assert_enqueued(database, operator="bash")


@pytest.mark.parametrize("wanted", [{"operator": "sql"}, {"args": {"command": "false"}}, {"queue": "other"}])
def test_what_is_not_there_is_answered_with_what_is(database: Database, wanted: dict[str, Any]) -> None:
    enqueue(database, "bash", {"command": "true"})
    with pytest.raises(AssertionError, match=r'there are: 1 bash \{"command": "true"\} in default'):
        assert_enqueued(database, **({"operator": "bash"} | wanted))


def test_registered_functions_are_drained_in_the_test_itself(database: Database, reports: Reports) -> None:
    ids = [add.enqueue(n, b=1, connection=database) for n in range(3)]
    assert drain(database) == dict(zip(ids, (Succeeded("1"), Succeeded("2"), Succeeded("3")), strict=True))
    assert [reports.show(id)["result"] for id in ids] == [1, 2, 3]
    assert reports.workers() == []


def test_what_a_body_enqueues_is_drained_too(database: Database) -> None:
    def step(args: dict[str, Any]) -> None:
        if args["n"]:
            enqueue(database, "step", {"n": args["n"] - 1})

    enqueue(database, "step", {"n": 3})
    assert len(drain(database, {"step": step})) == 4


def test_a_failure_is_retried_after_its_back_off_and_at_last_fails(database: Database, reports: Reports, queue: Queue) -> None:
    id = enqueue(database, "bash", max_attempts=2)

    def broken(args: dict[str, Any]) -> None:
        raise ValueError("no")

    assert isinstance(drain(database, {"bash": broken})[id], Retry)
    assert reports.show(id)["state"] == "scheduled"
    assert drain(database, {"bash": broken}) == {}
    database.execute("UPDATE halfstep.task SET run_at = clock_timestamp()")
    queue.promote()
    assert drain(database, {"bash": broken}) == {id: Failed("ValueError: no")}
    assert reports.show(id)["error"] == "ValueError: no"


def test_an_unknown_operator_fails_and_a_function_of_claims_decides_itself(database: Database, reports: Reports) -> None:
    id = enqueue(database, "bash")
    drain(database, {})
    assert "no operator bash" in reports.show(id)["error"]
    second = enqueue(database, "bash")
    assert drain(database, lambda claim: Succeeded(str(claim.id))) == {second: Succeeded(str(second))}

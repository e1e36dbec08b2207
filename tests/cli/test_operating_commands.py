"""retry, cancel, pause and resume, queue, grant and revoke, prune, migrate."""

from __future__ import annotations

import pytest

from halfstep.migrate import NEWEST
from halfstep.outcomes import Failed
from halfstep.producer import enqueue

BASH = ("enqueue", "bash", '{"command": "true"}')


def test_retry_gives_finished_tasks_another_attempt(halfstep, database, worker):
    enqueue(database, "bash", {"command": "true"})
    worker.finish(*worker.claim(), outcome=Failed("No.", "exception"))
    assert halfstep("retry", "1").code == 0
    task = halfstep("show", "1", "--json").json
    assert (task["state"], task["failures"], len(task["attempts"])) == ("ready", 0, 1)


def test_retry_of_a_task_that_has_not_ended_is_a_conflict(halfstep):
    halfstep(*BASH)
    said = halfstep("retry", "1")
    assert (said.code, said.err) == (6, "halfstep: Task 1 has not ended yet; cancel it first, or wait.\n")


def test_retry_is_refused_while_another_task_holds_the_unique_key(halfstep, database, worker):
    enqueue(database, "bash", {"command": "true"}, unique_key="nightly")
    worker.finish(*worker.claim())
    holder = halfstep(*BASH, "--unique-key", "nightly").ids[0]
    said = halfstep("retry", "1")
    assert (said.code, said.err) == (6, f"halfstep: Task 1 can't run again: its unique key is held by task {holder}.\n")


def test_cancel_ends_waiting_tasks_and_asks_for_running_ones(halfstep, database, worker):
    enqueue(database, "bash", {"command": "true"})
    worker.claim()
    halfstep(*BASH)
    said = halfstep("cancel", "1", "2")
    assert (said.code, said.err) == (0, "Task 1 runs; its worker was asked to stop it.\nTask 2 is cancelled.\n")
    assert halfstep("show", "2", "--json").json["state"] == "cancelled"
    assert halfstep("show", "1", "--json").json["cancel_requested_at"]


def test_one_that_is_refused_does_not_hold_up_the_others(halfstep):
    halfstep(*BASH, "--count", "2")
    said = halfstep("cancel", "1", "99", "1", "2")
    assert said.code == 5
    assert said.err.splitlines() == [
        "Task 1 is cancelled.",
        "halfstep: There is no task 99.",
        "halfstep: Task 1 has already ended: cancelled.",
        "Task 2 is cancelled.",
    ]


def test_a_paused_queue_is_not_served_until_it_is_resumed(halfstep, start_worker):
    halfstep("queue", "set", "etl")
    halfstep("pause", "etl")
    start_worker()
    held = halfstep(*BASH, "--queue", "etl").ids
    assert halfstep(*BASH, "--wait").code == 0
    assert halfstep("show", str(held[0]), "--json").json["state"] == "ready"
    halfstep("resume", "etl")
    assert halfstep(*BASH, "--queue", "etl", "--priority", "-1", "--wait").code == 0
    assert halfstep("show", str(held[0]), "--json").json["state"] == "succeeded"


def test_a_queue_can_be_weighed_and_limited(halfstep):
    def etl() -> tuple[int, list[str] | None]:
        found = next(queue for queue in halfstep("queues", "--json").json if queue["name"] == "etl")
        return found["weight"], found["operators"]

    halfstep("queue", "set", "etl", "--weight", "5")
    assert etl() == (5, None)
    halfstep("queue", "set", "etl", "--operator", "sql", "-o", "http")
    assert etl() == (5, ["sql", "http"])
    assert halfstep(*BASH, "--queue", "etl").code == 7
    halfstep("queue", "set", "etl", "--any-operator")
    assert etl() == (5, None)


def test_queues_can_be_fixed_and_unfixed(halfstep):
    halfstep("queue", "fix")
    assert halfstep(*BASH, "--queue", "etl").code == 2
    halfstep("queue", "unfix")
    assert halfstep(*BASH, "--queue", "etl").code == 0


def test_a_producer_may_enqueue_until_it_is_revoked(halfstep, halfstep_at, server, database_url):
    role = server.make_role()
    url = server.url(database_url.rsplit("/", 1)[1].partition("?")[0], role)
    assert halfstep_at(url, *BASH, "--queue", "mail").code == 7
    assert halfstep("grant", "producer", role[0], "--queue", "mail", "--queue", "etl").code == 0
    assert halfstep_at(url, *BASH, "--queue", "mail").code == 0
    assert halfstep_at(url, *BASH, "--queue", "etl").code == 0
    assert halfstep("revoke", "producer", role[0]).code == 0
    assert halfstep_at(url, *BASH, "--queue", "mail").code == 7


@pytest.mark.alters_schema
def test_prune_drops_days_past_retention(halfstep, database):
    database.execute("SELECT halfstep.add_partition('history', 'finished_at', '2001-01-01')")
    said = halfstep("prune", "--days", "30", "--json")
    assert said.json == {"dropped": ["history_20010101"], "busy": [], "rows": 0, "history_days": 30}
    assert halfstep("prune").err == "Kept 30 days of history: 0 partitions and 0 rows dropped.\n"


def test_migrate_shows_then_applies_then_has_nothing_to_do(halfstep_at, empty_database_url):
    dry = halfstep_at(empty_database_url, "migrate", "--dry-run")
    names = dry.out.splitlines()
    assert (len(names), dry.err) == (NEWEST, f"{NEWEST} to apply; nothing was changed.\n")
    assert halfstep_at(empty_database_url, "tasks").code == 4
    assert halfstep_at(empty_database_url, "migrate").out.splitlines() == names
    assert halfstep_at(empty_database_url, "migrate", "--json").json == {"applied": [], "version": NEWEST}
    assert halfstep_at(empty_database_url, "tasks").code == 0


def test_migrate_goes_past_a_pooler_if_there_is_a_direct_url(halfstep_at, empty_database_url, monkeypatch):
    monkeypatch.setenv("HALFSTEP_DIRECT_DATABASE_URL", empty_database_url)
    assert halfstep_at("postgresql://nobody@127.0.0.1:1/pooler", "migrate").code == 0


@pytest.mark.parametrize("words", [("version",), ("version", "--json")])
def test_version_needs_no_database(halfstep_at, words):
    said = halfstep_at(None, *words)
    assert said.code == 0
    assert "0.1.0" in said.out

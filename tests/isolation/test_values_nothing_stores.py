"""What the server refuses in any form waits, ever longer, and in nobody's way. Real PostgreSQL, with a trigger that refuses."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from exchange_rounds import Rounds, rounds_of
from halfstep.claims import Claim, Ending
from halfstep.database import Database
from halfstep.errors import RefusedValue
from halfstep.outcomes import Retry, Succeeded
from halfstep.pods import PodBook
from halfstep.queue import Queue
from halfstep_worker.culprits import MOST_HOPELESS
from halfstep_worker.desk import Outgoing, Release
from halfstep_worker.exchanger import MOST_DOUBTED
from hostile_values import chunk, line, pod_row

pytestmark = pytest.mark.alters_schema

REFUSE = """
CREATE FUNCTION halfstep.refuse_some() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF to_jsonb(coalesce(NEW, OLD)) ->> TG_ARGV[0] = ANY (TG_ARGV[1:]) THEN
        RAISE EXCEPTION 'nothing of this is stored here' USING ERRCODE = 'P0001';
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;
"""


@pytest.fixture
def rounds(database_url: str) -> Iterator[Rounds]:
    """Of a worker."""
    with rounds_of(database_url) as made:
        made.database.script(REFUSE)
        yield made


def refuse(database: Database, table: str, column: str, *values: object) -> None:
    """From now on the table takes no row with such a value."""
    listed = ", ".join(f"'{value}'" for value in (column, *values))
    database.script(
        f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON halfstep.{table}"
        f" FOR EACH ROW EXECUTE FUNCTION halfstep.refuse_some({listed})"
    )


def relent(database: Database, table: str) -> None:
    """It takes everything again."""
    database.script(f"DROP TRIGGER refuse ON halfstep.{table}")


def ends(claims: list[Claim]) -> Outgoing:
    return Outgoing(endings=[Ending(claim, Succeeded(f"{claim.id}"), 0.5) for claim in claims])


def states(rounds: Rounds, claims: list[Claim]) -> list[str]:
    return [rounds.reports.show(claim.id)["state"] for claim in claims]


def test_an_end_that_is_refused_in_any_form_waits_and_is_written_as_it_was_when_the_server_relents(
    rounds: Rounds, caplog: pytest.LogCaptureFixture
) -> None:
    claims = rounds.claim(9)
    refuse(rounds.database, "task", "id", claims[4].id)
    with caplog.at_level(logging.INFO):
        rounds.write(ends(claims))
        assert states(rounds, claims) == ["succeeded"] * 4 + ["running"] + ["succeeded"] * 4
        for pause in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
            assert rounds.exchanger._ledger.pause == pause
            rounds.write(Outgoing())
            assert not [sql for sql in rounds.statements if "halfstep.history" in sql and "DELETE" in sql]
            rounds.bring_back()
            rounds.write(Outgoing())
    told = [record.message for record in caplog.records]
    assert told == [f"The end of task {claims[4].id} can't be stored in any form: nothing of this is stored here"]
    relent(rounds.database, "task")
    rounds.bring_back()
    rounds.write(Outgoing())
    assert rounds.reports.show(claims[4].id)["result"] == claims[4].id
    assert not rounds.exchanger._ledger.held


@pytest.mark.parametrize("part", ["retry", "release"])
def test_what_is_handed_back_and_refused_in_any_form_waits_too(rounds: Rounds, part: str) -> None:
    guilty, *others = rounds.claim(5)
    refuse(rounds.database, "task", "id", guilty.id)

    def handed_back(claims: list[Claim]) -> Outgoing:
        if part == "retry":
            return Outgoing(retries=[(claim, Retry("no", 3600.0)) for claim in claims])
        return Outgoing(releases=[Release(claim, "drain", started=True) for claim in claims])

    after = "scheduled" if part == "retry" else "ready"
    rounds.write(handed_back([others[0], guilty, *others[1:]]))
    assert states(rounds, others) == [after] * 4
    relent(rounds.database, "task")
    rounds.write(Outgoing())
    assert states(rounds, [guilty]) == ["running"]
    rounds.bring_back()
    rounds.write(Outgoing())
    assert states(rounds, [guilty]) == [after]


def test_a_worker_whose_ends_are_all_refused_sends_few_statements_a_round_and_claims_no_more(
    rounds: Rounds,
) -> None:
    claims = rounds.claim(100)
    refuse(rounds.database, "task", "state", "running")
    rounds.desk.send(ends(claims))
    for _ in range(MOST_DOUBTED):
        rounds.statements.clear()
        with pytest.raises(RefusedValue, match="its log says why"):
            rounds.exchanger.tick()
        assert len(rounds.statements) <= 10 + 2 * 7 + 2 * MOST_HOPELESS
        rounds.exchanger._uncertain = True  # as after any error
    rounds.desk.aim(200)
    assert rounds.exchanger._wants(0.0).want == 0
    rounds.bring_back()
    with pytest.raises(RefusedValue):
        rounds.exchanger.tick()
    assert rounds.exchanger._wants(0.0).want == 0
    relent(rounds.database, "task")
    rounds.bring_back()
    for _ in range(3):
        rounds.write(Outgoing())
    assert states(rounds, claims) == ["succeeded"] * 100
    assert len(rounds.claim(1)) == 1


def test_an_end_that_could_not_be_written_when_its_worker_leaves_is_left_to_the_rescue(rounds: Rounds, queue: Queue) -> None:
    claims = rounds.claim(3)
    refuse(rounds.database, "task", "id", claims[1].id)
    rounds.write(ends(claims))
    rounds.exchanger.start()
    assert not rounds.exchanger.stop(timeout=10)  # something is left
    assert states(rounds, claims) == ["succeeded", "running", "succeeded"]
    relent(rounds.database, "task")
    queue.rescue()
    report = rounds.reports.show(claims[1].id)
    assert (report["state"], [attempt["reason"] for attempt in report["attempts"]]) == ("ready", ["worker_lost"])


def test_what_waits_outlasts_a_lost_reply_and_is_not_run_again(rounds: Rounds) -> None:
    claims = rounds.claim(3)
    refuse(rounds.database, "task", "id", claims[1].id)
    rounds.write(ends(claims))
    rounds.exchanger._uncertain = True
    rounds.write(Outgoing())
    assert rounds.desk.collect().claims == []
    relent(rounds.database, "task")
    rounds.bring_back()
    rounds.write(Outgoing())
    assert states(rounds, claims) == ["succeeded"] * 3


def test_a_log_store_that_takes_nothing_holds_no_end_up_and_is_told_once(
    rounds: Rounds, caplog: pytest.LogCaptureFixture
) -> None:
    claims = rounds.claim(50)
    refuse(rounds.database, "log", "attempt", 1)
    said = ends(claims)
    said.chunks = [chunk(claim, line("a")) for claim in claims]
    rounds.write(said)
    assert states(rounds, claims) == ["succeeded"] * 50
    assert len(rounds.statements) <= 40
    for _ in range(2):
        rounds.write(Outgoing(chunks=[chunk(claim, line("b")) | {"chunk": 1} for claim in claims]))
    told = "The database refuses every log in any form; what it refuses is dropped."
    assert [record.message for record in caplog.records].count(told) == 1


def test_an_intent_that_is_refused_in_any_form_is_written_when_the_server_relents(database_url: str) -> None:
    with rounds_of(database_url, placement="pod") as rounds:
        rounds.database.script(REFUSE)
        guilty, other = rounds.claim(2)
        refuse(rounds.database, "pod", "task_id", guilty.id)
        rows = {claim.attempt_id: replace(pod_row(claim), uid=None, facts=None) for claim in (guilty, other)}
        rounds.write(Outgoing(pods=rows))
        assert rounds.desk.collect().intended == [other.attempt_id]
        relent(rounds.database, "pod")
        rounds.bring_back()
        rounds.write(Outgoing())
        assert rounds.desk.collect().intended == [guilty.attempt_id]


def test_what_was_refused_of_a_pod_does_not_come_after_what_is_newer(database_url: str) -> None:
    with rounds_of(database_url, placement="pod") as rounds:
        rounds.database.script(REFUSE)
        (claim,) = rounds.claim(1)
        refuse(rounds.database, "pod", "task_id", claim.id)
        rounds.write(Outgoing(pods={claim.attempt_id: replace(pod_row(claim), facts={"restarts": 1})}))
        relent(rounds.database, "pod")
        rounds.write(Outgoing(pods={claim.attempt_id: replace(pod_row(claim), facts={"restarts": 2})}))
        rounds.bring_back()
        rounds.write(Outgoing())
        assert PodBook(rounds.database).list(task=claim.id)[0]["facts"]["restarts"] == 2


def test_an_adopter_takes_over_a_pod_whose_log_has_times_that_it_can_not_reckon_with(database_url: str, queue: Queue) -> None:
    with rounds_of(database_url, placement="pod") as rounds:
        odd, plain = rounds.claim(2)
        rounds.write(Outgoing(pods={claim.attempt_id: pod_row(claim) for claim in (odd, plain)}))
        rounds.write(Outgoing(chunks=[chunk(odd, line("a", at=1e300)), chunk(plain, line("b"))]))
        (lease,) = queue.leases()
        assert queue.mark_dead(lease["worker"], counter=lease["counter"])
    with rounds_of(database_url, placement="pod") as heir:
        heir.desk.aim(2)
        heir.exchanger.tick()  # learns which queues there are
        heir.exchanger._adopt_at = 0.0  # type: ignore[attr-defined]
        heir.exchanger.tick()
        came = heir.desk.collect()
        assert {claim.id for claim in came.claims} == {odd.id, plain.id}
        assert came.pasts[plain.attempt_id].log.chunk == 1

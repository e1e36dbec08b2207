"""What the server refuses of what a worker has to say harms nothing but itself. Real PostgreSQL; no processes, no threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hostile_values as hostile
from conftest import TestServer
from exchange_rounds import Rounds, rounds_of
from halfstep.claims import Claim, Ending
from halfstep.outcomes import Cancelled, Failed, Retry, Succeeded
from halfstep.pods import PodBook
from halfstep.reports import Report, Reports
from halfstep_worker.desk import Outgoing, Release
from hostile_values import STORED, Case, chunk, line, pod_row
from old_encodings import migrate_as_before

MOST_STATEMENTS = 30
"""Of one round with one culprit among twelve things to write; a round without one takes about ten."""


@pytest.fixture(scope="session")
def templates(server: TestServer) -> Iterator[Callable[[str], str]]:
    """A migrated database of an encoding, to be copied."""
    made: dict[str, str] = {}

    def template(encoding: str) -> str:
        if encoding not in made:
            made[encoding] = server.make_database(template=f"template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
            migrate_as_before(server.url(made[encoding]))
        return made[encoding]

    yield template
    for name in made.values():
        server.drop(name)


@pytest.fixture
def url(case: Case, server: TestServer, templates: Callable[[str], str], request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of the case's encoding."""
    if case.encoding == "UTF8":
        yield request.getfixturevalue("database_url")
        return
    name = server.make_database(template=templates(case.encoding))
    yield server.url(name)
    server.drop(name)


def neighbours(claims: list[Claim]) -> Outgoing:
    """One of each, in characters that each of the encodings has."""
    won, failed, gone, again, back, far, said = claims
    return Outgoing(
        endings=[Ending(won, Succeeded('["é", 1.50]'), 0.25), Ending(failed, Failed("né"), 2), Ending(gone, Cancelled("né"))],
        retries=[(again, Retry("né", 3600.0, "timeout"))],
        releases=[Release(back, "drain", started=True)],
        progress={far.id: (far, '"né"')},
        chunks=[chunk(said, line("é"), line("", stream="stderr"))],
    )


def assert_neighbours(reports: Reports, claims: list[Claim]) -> None:
    """All of it is recorded exactly."""
    won, failed, gone, again, back, far, said = (reports.show(claim.id) for claim in claims)
    assert (won["state"], won["result"], won["seconds"], won["error"]) == ("succeeded", ["é", 1.5], 0.25, None)
    assert (failed["state"], failed["reason"], failed["error"], failed["seconds"]) == ("failed", "exception", "né", 2)
    assert (gone["state"], gone["error"]) == ("cancelled", "né")
    assert (again["state"], _last(again), again["attempts"][0]["error"]) == ("scheduled", ("failed", "timeout"), "né")
    assert (back["state"], _last(back)) == ("ready", ("released", "drain"))
    assert (far["state"], far["progress"]) == ("running", "né")
    assert _log(reports, said["id"]) == [(STORED, "stdout", "é"), (STORED, "stderr", "")]


def _last(report: Report) -> tuple[str, str]:
    return report["attempts"][-1]["outcome"], report["attempts"][-1]["reason"]


def _log(reports: Reports, task: int) -> list[tuple[float, str, str]]:
    return [(line["at"], line["stream"], line["text"]) for _, line in reports.log(task)]


def among(guilty: Outgoing, others: Outgoing) -> Outgoing:
    """All of it, with the culprit first or in the midst."""
    mixed = Outgoing(pods=guilty.pods)
    mixed.endings = others.endings[:-1] + guilty.endings + others.endings[-1:]
    mixed.retries = guilty.retries + others.retries
    mixed.releases = guilty.releases + others.releases
    mixed.chunks = guilty.chunks + others.chunks
    mixed.progress = guilty.progress | others.progress
    return mixed


def assert_told(rounds: Rounds, claim: Claim, told: dict[str, Any]) -> None:
    """What became of the culprit."""
    report = rounds.reports.show(claim.id)
    for name, value in told.items():
        match name:
            case "last":
                assert _last(report) == value
            case "log":
                assert _log(rounds.reports, claim.id) == value
            case "facts":
                facts = PodBook(rounds.database).list(task=claim.id)[0]["facts"]
                assert {key: facts[key] for key in value} == value
            case "error":
                error = report["error"] if report["error"] is not None else report["attempts"][-1]["error"]
                assert error.startswith(value)
            case _:
                assert report[name] == value, name


def check(case: Case, rounds: Rounds) -> None:
    """The culprit beside one of each, and then a round of others."""
    culprit, *others = rounds.claim(8)
    rounds.write(among(case.say(culprit), neighbours(others)))
    assert len(rounds.statements) <= MOST_STATEMENTS
    assert not rounds.exchanger._ledger.outgoing
    assert not rounds.exchanger._ledger.aside
    assert_neighbours(rounds.reports, others)
    assert_told(rounds, culprit, case.told)
    later = rounds.claim(7)
    began = time.monotonic()
    rounds.write(neighbours(later))
    assert time.monotonic() - began < 1
    assert_neighbours(rounds.reports, later)


WORKERS = [
    pytest.param(case, id=f"{part}: {case.name}")
    for part, cases in (("end", hostile.ENDS), ("back", hostile.HANDED_BACK), ("told", hostile.TOLD))
    for case in cases
]


@pytest.mark.parametrize("case", WORKERS)
def test_a_value_that_the_server_refuses_harms_nothing_but_itself(case: Case, url: str) -> None:
    with rounds_of(url) as rounds:
        check(case, rounds)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in hostile.PODS])
def test_facts_of_a_pod_that_the_server_refuses_harm_nothing_but_themselves(case: Case, url: str) -> None:
    with rounds_of(url, placement="pod") as rounds:
        pods = rounds.claim(2)
        rounds.write(Outgoing(pods={claim.attempt_id: pod_row(claim) for claim in pods}))
        rows = case.say(pods[0]).pods | {pods[1].attempt_id: pod_row(pods[1])}
        rounds.write(Outgoing(pods=rows, endings=[Ending(pods[1], Succeeded())]))
        assert rounds.reports.show(pods[1].id)["state"] == "succeeded"
        assert_told(rounds, pods[0], case.told)
        check(case, rounds)


texts = st.text(st.characters(exclude_categories=()), max_size=40)
numbers = st.one_of(st.floats(), st.integers(), st.just(10**4000))
values = st.recursive(
    st.one_of(texts, numbers, st.none(), st.binary(max_size=3)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
anything_said = st.one_of(
    texts.map(hostile.result),
    st.builds(hostile.ends, st.builds(Failed, texts, texts), numbers),
    st.builds(hostile.ends, st.builds(Cancelled, texts), numbers),
    st.builds(hostile.retries, texts, numbers, texts),
    texts.map(hostile.released),
    texts.map(hostile.progress),
    st.lists(st.tuples(numbers, texts, texts), min_size=1, max_size=3).map(lambda lines: hostile.logs(*lines)),
    st.dictionaries(texts, values, max_size=3).map(lambda facts: hostile.pod(facts=facts)),
)


@pytest.mark.parametrize(
    "case", [Case(encoding, hostile.result(""), {}, encoding) for encoding in ("UTF8", "LATIN1")], ids=["utf8", "latin1"]
)
def test_whatever_is_said_is_written_in_some_form_and_harms_nothing_else(case: Case, url: str) -> None:
    with rounds_of(url, placement="pod") as rounds:

        @settings(max_examples=40)
        @given(anything_said)
        def check_one(say: Callable[[Claim], Outgoing]) -> None:
            culprit, *others = rounds.claim(8)
            rounds.write(among(say(culprit), neighbours(others)))
            assert len(rounds.statements) <= MOST_STATEMENTS
            assert not rounds.exchanger._ledger.outgoing
            assert not rounds.exchanger._ledger.aside
            assert_neighbours(rounds.reports, others)

        check_one()


def test_a_batch_in_which_every_other_end_is_refused_is_written_at_once(database_url: str) -> None:
    with rounds_of(database_url) as rounds:
        claims = rounds.claim(200)
        endings = [Ending(claim, Succeeded("1e999999999" if n % 2 else str(n))) for n, claim in enumerate(claims)]
        rounds.write(Outgoing(endings=endings))
        shown = [rounds.reports.show(claim.id) for claim in claims]
        assert [report["result"] for report in shown[::2]] == list(range(0, 200, 2))
        assert {report["reason"] for report in shown[1::2]} == {"result"}
        assert len(rounds.statements) < 2.5 * len(claims)


def test_an_attempt_whose_log_was_refused_once_is_not_refused_for_each_of_its_chunks(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with rounds_of(database_url) as rounds:
        (claim,) = rounds.claim(1)
        for number in range(5):
            rounds.write(Outgoing(chunks=[chunk(claim, line("a\0")) | {"chunk": number}]))
        assert sum("halfstep.log" in sql for sql in rounds.statements) == 1
        assert [line["text"] for _, line in rounds.reports.log(claim.id)] == ["a\\x00"] * 5
    told = [record.message for record in caplog.records]
    assert [words.partition(":")[0] for words in told] == [
        f"The log of task {claim.id} is written in another form, as it could not be stored"
    ]


def test_large_results_go_in_several_exchanges(database_url: str) -> None:
    with rounds_of(database_url) as rounds:
        claims = rounds.claim(12)
        rounds.write(Outgoing(endings=[Ending(claim, Succeeded(f'"{"x" * 1_000_000}"')) for claim in claims]))
        states = rounds.reports.states([claim.id for claim in claims])
        assert list(states.values()).count("running") == 4
        rounds.write(Outgoing())
        assert not rounds.exchanger._ledger.held

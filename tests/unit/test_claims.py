"""What passes between worker and queue: back-off, what an outcome means for its task, how an ending is written."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep.claims import Claim, Ending, backoff, settle
from halfstep.outcomes import Cancelled, Failed, Lost, Outcome, Retry, Succeeded

CLAIM = Claim(7, "0" * 8, "q", "bash", "{}", 1, 0, 3, None, 1.0, 300.0, False, False)
claims = st.builds(
    lambda failures, most, once: CLAIM._replace(failures=failures, max_attempts=most, at_most_once=once),
    st.integers(0, 1000), st.integers(1, 1000), st.booleans(),
)  # fmt: skip
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Succeeded, st.just("1")),
    st.builds(Failed, st.text(), st.sampled_from(["exception", "timeout", "invalid"]), st.booleans()),
    st.builds(Retry, st.text(), st.floats(0, 1e6), st.just("exception"), st.booleans()),
    st.just(Cancelled()),
    st.builds(Lost, st.just("drain")),
)


@given(st.integers(1, 10_000), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1))
def test_a_back_off_is_never_negative_or_over_its_cap(failures: int, base: float, cap: float, jitter: float) -> None:
    assert 0 <= backoff(failures, base=base, cap=cap, jitter=jitter) <= cap


@given(st.integers(1, 100), st.floats(0.001, 1e3), st.floats(0.001, 1e6))
def test_a_back_off_grows_with_the_failures_and_is_spread_over_its_upper_half(failures: int, base: float, cap: float) -> None:
    least, most = (backoff(failures, base=base, cap=cap, jitter=jitter) for jitter in (0.0, 1.0))
    assert least == pytest.approx(most / 2)
    assert most <= backoff(failures + 1, base=base, cap=cap, jitter=1.0)


def test_a_back_off_doubles_up_to_its_cap() -> None:
    assert [backoff(n, base=1, cap=10, jitter=1.0) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]


@given(claims, outcomes, st.floats(0, 1))
def test_a_task_runs_again_only_if_it_may(claim: Claim, outcome: Outcome, jitter: float) -> None:
    settled = settle(claim, outcome, jitter=jitter)
    if isinstance(settled, Retry):
        assert not claim.at_most_once
        assert claim.failures + 1 < claim.max_attempts or not settled.counts
    if claim.at_most_once:
        assert isinstance(settled, Succeeded | Failed | Cancelled)


@given(claims, outcomes)
def test_what_is_settled_stays_settled(claim: Claim, outcome: Outcome) -> None:
    settled = settle(claim, outcome, jitter=0.5)
    if not isinstance(settled, Failed) or settled.final:
        assert settle(claim, settled, jitter=0.5) == settled


@given(claims, st.sampled_from([Succeeded("1"), Cancelled()]))
def test_success_and_cancel_are_what_they_are(claim: Claim, outcome: Outcome) -> None:
    assert settle(claim, outcome) == outcome


def test_a_failure_with_attempts_left_is_a_retry_and_the_last_one_is_not() -> None:
    failure = Failed("It broke.", "timeout")
    assert settle(CLAIM, failure, jitter=1.0) == Retry("It broke.", 1.0, "timeout")
    assert settle(CLAIM._replace(failures=1), failure, jitter=1.0) == Retry("It broke.", 2.0, "timeout")
    assert settle(CLAIM._replace(failures=2), failure) == failure
    assert settle(CLAIM, replace(failure, final=True)) == replace(failure, final=True)


@pytest.mark.parametrize(("base", "jitter", "delay"), [(1, 0.0, 30.0), (1, 1.0, 60.0), (200, 0.0, 100.0), (200, 1.0, 200.0)])
def test_what_is_missing_is_looked_for_again_when_a_deploy_may_have_brought_it(base: float, jitter: float, delay: float) -> None:
    missing = Failed("There is no file 'a.py'.", "invalid")
    claim = CLAIM._replace(backoff_base=base)
    assert settle(claim, missing, jitter=jitter) == Retry(missing.error, delay, "invalid")
    assert settle(claim._replace(failures=claim.max_attempts - 1), missing) == missing
    assert settle(claim._replace(at_most_once=True), missing) == missing


def test_a_retry_that_does_not_count_is_always_granted_but_to_at_most_once_work() -> None:
    retry = Retry("Later.", 9.0, counts=False)
    assert settle(CLAIM._replace(failures=99), retry) == retry
    assert isinstance(settle(CLAIM._replace(at_most_once=True), retry), Failed)


def test_lost_at_most_once_work_fails_and_says_that_it_may_have_had_its_effect() -> None:
    failed = settle(CLAIM._replace(at_most_once=True), Lost("drain"))
    assert isinstance(failed, Failed)
    assert (failed.reason, failed.final) == ("lost", True)
    assert "may have had its effect" in failed.error


@given(st.text(), st.text(max_size=20), st.floats(0, 1e9))
def test_an_ending_is_json_whatever_its_error_says(error: str, reason: str, seconds: float) -> None:
    told = json.loads(Ending(CLAIM, Failed(error, reason), seconds).as_json())
    assert (told["id"], told["state"], told["error"], told["reason"], told["result"]) == (7, "failed", error, reason, None)
    assert told["seconds"] == pytest.approx(seconds, abs=1e-6)


@given(st.text())
def test_a_result_is_a_text_of_its_own_in_the_ending_whatever_stands_in_it(text: str) -> None:
    told = json.loads(Ending(CLAIM, Succeeded(text)).as_json())
    assert (told["id"], told["state"], told["result"]) == (7, "succeeded", text)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, -1.0, 1e300, pytest.param(10**5000, id="5001 digits")])
def test_seconds_that_nobody_can_have_run_are_none(seconds: float) -> None:
    assert json.loads(Ending(CLAIM, Succeeded(), seconds).as_json())["seconds"] == 0

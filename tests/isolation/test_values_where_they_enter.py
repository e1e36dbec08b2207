"""Values of a body are looked at where they enter: in its child, and in what its pod has left."""

from __future__ import annotations

import json
import math

import pytest

from halfstep import context
from halfstep.limits import LONGEST_SECONDS
from halfstep.outcomes import Failed, Retry
from halfstep_worker.children.storable import outcome_of
from halfstep_worker.kubernetes.frames import VERSION, opened
from hostile_values import DEEP, MANY_DIGITS

DELAYS = [math.nan, math.inf, -math.inf, -1, 1e300, LONGEST_SECONDS + 1, "soon", None, [1]]


@pytest.mark.parametrize("delay", [*DELAYS, pytest.param(MANY_DIGITS, id="many digits"), pytest.param(10**400, id="400 digits")])
def test_a_delay_that_is_none_fails_the_attempt_with_what_to_give_instead(delay: object) -> None:
    outcome = outcome_of(Retry("x", delay), 1000)  # type: ignore[arg-type]
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.final) == ("result", True)
    assert outcome.error.startswith("The body asked for a retry after ")
    assert outcome.error.endswith(" seconds; give a number of 0 to 31536000, which is a year.")


@pytest.mark.parametrize("delay", [0, 0.5, LONGEST_SECONDS])
def test_any_delay_of_up_to_a_year_is_granted(delay: float) -> None:
    assert outcome_of(Retry("x", delay), 1000) == Retry("x", float(delay))


@pytest.mark.parametrize("delay", ["1e300", "1" + "0" * 400, "1e5000", "NaN", '"soon"', "null"])
def test_a_delay_that_a_pod_has_left_is_looked_at_too(delay: str) -> None:
    outcome = opened(json.dumps({"halfstep": VERSION, "kind": "retry", "body": f'["x", {delay}, "exception", true]'}))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "result"


@pytest.mark.parametrize(
    "body", ["1" * 5000, f'["x", {"1" * 5000}]', DEEP, "{}", "[]", '["x", 1, 2, 3, 4, 5]', "\ud800", f"[{DEEP[:900]}{']' * 900}]"]
)
@pytest.mark.parametrize("kind", ["succeeded", "failed", "retry", "cancelled", "lost", "unheard of"])
def test_no_message_of_a_pod_is_more_than_an_outcome_or_nothing(kind: str, body: str) -> None:
    opened(json.dumps({"halfstep": VERSION, "kind": kind, "body": body}))


class Silent:
    """A link that nobody listens at."""

    def stop_reason(self) -> str | None:
        return None

    def log(self, text: str, /) -> None:
        return

    def heartbeat(self, progress: str, /) -> None:
        raise AssertionError(progress[:100])


@pytest.mark.parametrize(
    "progress",
    [pytest.param(MANY_DIGITS, id="many digits"), pytest.param({"left": [MANY_DIGITS]}, id="many digits within"), math.inf],
)
def test_a_progress_that_is_no_json_is_the_bodys_error(progress: object) -> None:
    current = context.Context(task_id=1, attempt=1, deadline=None, link=Silent())
    with pytest.raises(ValueError, match="Progress must be a JSON value"):
        current.heartbeat(progress)


def test_a_progress_that_is_nested_too_deep_is_the_bodys_error() -> None:
    value: object = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="Progress must be a JSON value"):
        context.Context(task_id=1, attempt=1, deadline=None, link=Silent()).heartbeat(value)

"""When a stream says what."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from halfstep_scaler.teller import QUIET_SECONDS, REPEAT_SECONDS, Teller


def test_nothing_is_said_before_anything_is_known() -> None:
    assert Teller(refresh=60).due() == inf


def test_the_first_state_is_said_at_once_whatever_it_is() -> None:
    for active in (True, False):
        teller = Teller(refresh=60)
        teller.note(active)
        assert teller.due() == -inf
        assert teller.say(5.0) is active


def test_work_that_begins_is_told_at_once_and_once_more_and_then_seldom() -> None:
    teller = _told(False, at=0.0)
    teller.note(True)
    assert teller.due() == -inf
    assert teller.say(0.1) is True
    assert teller.due() == 0.1 + REPEAT_SECONDS
    assert teller.say(3.1) is True
    assert teller.due() == 3.1 + 60


def test_an_end_is_told_a_second_after_the_beginning() -> None:
    teller = _told(True, at=0.0)
    teller.note(False)
    assert teller.due() == QUIET_SECONDS
    assert teller.say(1.0) is False
    assert teller.due() == inf


def test_work_that_ended_and_began_again_within_the_second_is_told_again() -> None:
    teller = _told(True, at=0.0)
    teller.note(False)
    teller.note(True)
    assert teller.due() == QUIET_SECONDS
    assert teller.say(1.0) is True


def test_a_state_that_stays_is_not_told_again() -> None:
    teller = _told(False, at=0.0)
    teller.note(False)
    assert teller.due() == inf


@given(st.lists(st.tuples(st.floats(0.01, 2.0), st.booleans()), max_size=60))
def test_whatever_happens_true_is_said_at_most_once_a_second_and_the_last_state_gets_told(
    steps: list[tuple[float, bool]],
) -> None:
    teller, now, trues, last = Teller(refresh=60), 0.0, [-inf], None
    for pause, active in [*steps, (10.0, None)]:
        end = now + pause
        while teller.due() <= end:
            now = max(now, teller.due())
            last = teller.say(now)
            if last:
                assert now - trues[-1] > QUIET_SECONDS - 1e-6  # rounding
                trues.append(now)
        now = end
        if active is not None:
            teller.note(active)
    if steps:
        assert last is steps[-1][1]


def _told(active: bool, *, at: float) -> Teller:
    teller = Teller(refresh=60)
    teller.note(active)
    teller.say(at)
    return teller

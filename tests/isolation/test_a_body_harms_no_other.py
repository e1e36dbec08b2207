"""After each polluting body, tasks of every operator that were queued behind it are what they are in a new child."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from isolation.bay import Given, Told
from isolation.polluters import POLLUTERS, Polluter
from isolation.witnesses import OURS, Seen, differences, seen


def test_the_witnesses_agree_with_themselves_in_two_new_children(
    in_a_new_child: Callable[[], dict[str, Seen]], reference: dict[str, Seen]
) -> None:
    assert differences(in_a_new_child(), reference) == []


def test_the_witnesses_agree_with_themselves_in_a_child_that_they_used_before(ward: Any, reference: dict[str, Seen]) -> None:
    for _ in range(3):
        told = ward.bay.run(ward.ground.witnesses())
        assert differences(seen(told, ward.bay.mark), reference) == []


def test_an_innocent_body_does_not_cost_its_child(ward: Any) -> None:
    """Threads, programs and loops that a body has brought to their end are nothing that it left."""
    told = ward.bay.run(ward.ground.witnesses())
    assert [line for one in told.values() for line in one.lines["log"] if line.startswith(OURS)] == []


@pytest.mark.parametrize("polluter", POLLUTERS, ids=lambda polluter: polluter.name)
def test_after_a_polluting_body_the_witnesses_are_as_in_a_new_child(
    polluter: Polluter, ward: Any, reference: dict[str, Seen]
) -> None:
    if polluter.root and os.geteuid():
        pytest.skip("needs root")
    complaints = _complaints(polluter, ward, reference)
    assert not complaints, "\n".join(complaints)


def _complaints(polluter: Polluter, ward: Any, reference: Mapping[str, Seen]) -> list[str]:
    """What is wrong; where anything is, the next case gets another pool."""
    complaints = ["the pool was lost"]
    try:
        guilty = [Given(("guilty", n), polluter.operator, polluter.args, polluter.timeout) for n in range(polluter.times)]
        told = ward.bay.run([*guilty, *ward.ground.witnesses()])
        own = [complaint for task in guilty for complaint in _of_its_own(polluter, told[task.key])]
        complaints = own + differences(seen(told, ward.bay.mark), reference)
    except AssertionError as error:
        complaints = [str(error)]
    finally:
        if complaints:
            ward.clear()
    return complaints


def _of_its_own(polluter: Polluter, told: Told) -> list[str]:
    """Whether the polluter's own task ended as it should, and its log says why its child was replaced."""
    complaints = []
    if not told.end.startswith(polluter.ends):
        complaints.append(f"its own end: {told.outcome} instead of {polluter.ends}")
    reasons = [line for line in told.lines["log"] if line.startswith(OURS)]
    if polluter.told and not any(polluter.told in line for line in reasons):
        complaints.append(f"its own log: no line `[halfstep: … {polluter.told} …`, only {reasons}")
    return complaints

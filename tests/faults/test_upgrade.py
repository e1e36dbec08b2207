"""An upgrade from the schema before, and the way back, while work goes on: workers and scalers of both versions take turns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from own_server import OwnServer
from rehearsal import Change, Rehearsal, rehearsal
from releases import NoHistory, previous
from waiting import is_within


@pytest.fixture
def here(own_server: OwnServer) -> Iterator[Rehearsal]:
    try:
        with previous() as old, rehearsal(old, own_server) as made:
            yield made
    except NoHistory as error:
        pytest.skip(str(error))


def check(change: Change) -> None:
    assert change.problems == []
    assert is_within(3.0, change.pause)  # the bound on a quiet machine is in benchmarks/faults_upgrade.py


@pytest.mark.slow
def test_an_upgrade_and_the_way_back_stop_nothing_and_lose_nothing(here: Rehearsal) -> None:
    here.begin()
    migrated = here.migrate()
    check(migrated)
    assert is_within(1.5, max(*here.longest_wait(migrated), here.longest_lock))
    check(here.change_to(here.new))
    check(here.change_to(here.old))
    sheet = here.end()
    print(sheet)
    assert (sheet.problems, here.problems, sheet.lost) == ([], [], 0)
    assert sheet.states.keys() == {"succeeded"}
    assert sheet.repeats.keys() <= {"released: drain"}
    assert here.asker.answers > 20

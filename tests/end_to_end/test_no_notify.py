"""Workers that are told to hear no notifications really do not listen: the polling figure would be a lie otherwise."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfstep.database import Database
from halfstep.reports import Reports
from halfstep_cli.bench.ground import Team
from halfstep_cli.crew import Crew, WorkerSpec
from halfstep_cli.stopping import StopSignals
from waiting import wait_until

LISTENERS = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%%'"


@pytest.fixture
def crew(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Crew]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    team = Team(notify=request.param)
    crew = Crew(WorkerSpec(database_url, queues=["default"], environment=team.environment(), alone=True), tmp_path)
    with StopSignals() as stop:
        crew.start(1)
        yield crew
        crew.leave(stop)


def one_works(database: Database) -> bool:
    return any(worker["state"] == "running" for worker in Reports(database).workers())


@pytest.mark.parametrize("crew", [True], indirect=True)
def test_a_worker_listens(database: Database, crew: Crew) -> None:
    wait_until(lambda: database.execute(LISTENERS)[0]["n"] == 1, what="the listener")


@pytest.mark.parametrize("crew", [False], indirect=True)
def test_a_worker_without_notifications_does_not(database: Database, crew: Crew) -> None:
    wait_until(lambda: one_works(database), what="the worker")
    assert not crew.trouble
    with pytest.raises(AssertionError):
        wait_until(lambda: database.execute(LISTENERS)[0]["n"] > 0, seconds=1, what="a listener")

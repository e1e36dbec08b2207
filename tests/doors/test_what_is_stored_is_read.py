"""Rows that no door would let in now: earlier versions and people's hands left them. Whoever reads survives, and names them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from halfstep import enqueue
from halfstep.administration import Administration
from halfstep.database import Database
from halfstep.metrics.exporter import Exporter, ExporterSettings
from halfstep.queue import Queue
from halfstep.reports import Reports
from halfstep.scaling import ScalingBook

DEEP = "repeat('[', 3000) || repeat(']', 3000)"
ODD = {
    "a run_at before the years": "run_at = '4713-01-01 BC'",
    "a run_at of year 10000": "run_at = '10000-01-01'",
    "the last run_at of all": "run_at = '294276-12-31 23:59:59.999999'",
    "a run_at that always was": "run_at = '-infinity'",
    "a run_at that never comes": "run_at = 'infinity'",
    "a run_at that only other zones have": "run_at = '9999-12-31 23:59:59Z'",
    "a run_at on the first of days": "run_at = '0001-01-01 00:00:00Z'",
    "an enqueued_at before the years": "enqueued_at = '4000-01-01 BC'",
    "args of 3,000 levels": f"args = ('{{\"x\":' || {DEEP} || '}}')::jsonb",
    "labels of 3,000 levels": f"labels = ('{{\"x\":' || {DEEP} || '}}')::jsonb",
    "a progress of 3,000 levels": f"progress = ({DEEP})::jsonb",
    "args with a number of 5,000 digits": "args = '{\"x\": 1e5000}'",
    "labels with a number of 5,000 digits": "labels = '{\"x\": 1e5000}'",
    "args that are a string": "args = '\"text\"'",
    "labels that are an array": "labels = '[1]'",
    "an operator with an escape": "operator = E'a\\x1b[31mb'",
    "an operator of a megabyte": "operator = repeat('x', 1000000)",
    "a queue of the name of none": "queue = E'no\\nqueue'",
    "a cluster too long for an index": "state = 'scheduled', run_at = 'infinity', cluster = repeat(md5(random()::text), 1000)",
    "a placement that there is not": "placement = 'moon'",
    "a timeout without end": "timeout = 'infinity'",
    "a timeout that is no number": "timeout = 'NaN'",
    "a back-off that is no number": "backoff_base = 'NaN', backoff_cap = 'NaN'",
    "no attempt": "max_attempts = -5",
    "a key of a megabyte": "unique_key = repeat('k', 1000000)",
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("table", ["task", "history"])
def test_all_readers_survive(
    database: Database, database_url: str, make_worker: Callable[..., Any], queue: Queue, change: str, table: str
) -> None:
    odd = enqueue(database, "bash", {"command": "true"})
    if table == "history":
        worker = make_worker()
        worker.finish(*worker.claim())
        change = change.replace("state = 'scheduled', ", "")
    database.execute(f"UPDATE halfstep.{table} SET {change} WHERE id = {odd}")
    innocent = enqueue(database, "bash", {"command": "true"})
    reports = Reports(database)
    assert {row["id"] for row in reports.tasks()} == {odd, innocent}
    json.dumps([reports.show(odd), reports.show(innocent), reports.queues(), reports.workers()], allow_nan=True)
    for words in (
        ("tasks",),
        ("show", str(odd)),
        ("tasks", "--json"),
        ("show", str(odd), "--json"),
        ("queues",),
        ("logs", str(odd)),
    ):
        told = subprocess.run(
            [sys.executable, "-P", "-m", "halfstep_cli.main", *words], capture_output=True, text=True, timeout=120, check=False,
            env=os.environ | {"HALFSTEP_DATABASE_URL": database_url, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert told.returncode == 0, (words, told.stderr)
        assert str(odd) in told.stdout or words[0] in ("queues", "logs")
    assert ScalingBook(database).backlogs(1000)
    assert database.execute("SELECT * FROM halfstep.demand")
    exporter = Exporter(database_url, ExporterSettings("x"))
    exporter.step()
    assert list(exporter.collect())
    queue.promote()
    Administration(database).prune()
    claims = make_worker().claim(5, queues=["default"])
    assert innocent in {claim.id for claim in claims}

"""The bars of the doors: what comes in is checked, a producer reaches nobody else, and what that costs."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path

from benchmarks.bars import Bar, Measure
from halfstep import enqueue
from halfstep.administration import Administration
from halfstep.database import Database
from halfstep.metrics.exporter import Exporter, ExporterSettings
from halfstep.scaling import ScalingBook

ROOT = Path(__file__).parents[1]
HOSTILE_ROWS = 1_000_000
TURNS = 9
TABLES = {
    "bad input": (
        250,
        ("tests/doors/test_what_enqueue_refuses.py", "tests/cli/test_bad_input.py", "tests/queue/test_enqueue.py"),
    ),
    "rows that no door lets in": (40, ("tests/doors/test_what_is_stored_is_read.py",)),
    "a producer's reach": (60, ("tests/doors/test_a_producers_reach.py", "tests/queue/test_grants.py")),
    "hostile pods": (
        60,
        ("tests/unit/test_pod_hostile.py", "tests/unit/test_pod_images.py", "tests/unit/test_pod_policy_rules.py"),
    ),
    "callers and drivers": (12, ("tests/drivers", "tests/doors/test_typed_parameters.py")),
    "http, sql texts, terminal": (
        100,
        ("tests/unit/test_operator_http_servers.py", "tests/unit/test_operator_sql_text.py", "tests/unit/test_visible.py"),
    ),
}
"""The fewest cases, and the files."""


def table_bars(url: str) -> list[Bar]:
    """The tables, which are tests. The given database is not used."""
    return [_table(name, least, files) for name, (least, files) in TABLES.items()]


def hostile_bars(url: str) -> list[Bar]:
    """Demand and a scrape beside a million rows of one producer, as awkward as its doors let them be.

    The rows are written past the functions, which would take minutes, and the server has looked at them, as autovacuum does.
    """
    with closing(Database(url)) as database:
        for name in ("mine", "theirs"):
            Administration(database).set_queue(name)
        for number in range(1, 6):
            enqueue(database, "http", queue="mine", placement="pod", cluster=f"c{number}")
        database.script(f"SET statement_timeout = 0; {_HOSTILE}; ANALYZE halfstep.task")
        enqueue(database, "bash", queue="theirs")
        clock = count(step=ExporterSettings().interval)  # each look finds that its time has come
        exporter = Exporter(url, ExporterSettings("bars", lease=1e9), clock=lambda: float(next(clock)))
        return [
            _under("the view halfstep.demand", lambda: database.execute("SELECT * FROM halfstep.demand")),
            _under("a scaler's reading", lambda: ScalingBook(database).backlogs(10_000)),
            _under("an exporter's reading", exporter.step),
            _under("a scrape", lambda: list(exporter.collect())),
        ]


def enqueue_bars(url: str) -> list[Bar]:
    """100,000 tasks by enqueue_many, in turns with the code that HALFSTEP_BASELINE names (a folder of an earlier checkout)."""
    baseline = os.environ.get("HALFSTEP_BASELINE")
    if not baseline:
        return [Bar("enqueue_many of 100,000", "not measured", "HALFSTEP_BASELINE=FOLDER of before", ok=False)]
    ratios, seconds = [], []
    for turn in range(TURNS):
        pair = [(ROOT, "now"), (Path(baseline), "before")]
        found = {name: _enqueued(folder) for folder, name in (pair if turn % 2 else pair[::-1])}
        ratios.append(found["now"] / found["before"])
        seconds.append(found["now"])
    figure = f"{statistics.median(ratios):.3f} ({statistics.median(seconds):.2f} s)"
    return [Bar("enqueue_many of 100,000", figure, "<= 1.05 of before", statistics.median(ratios) <= 1.05)]


MEASUREMENTS: dict[str, Measure] = {"doors tables": table_bars, "doors hostile rows": hostile_bars, "doors enqueue": enqueue_bars}

_HOSTILE = f"""
INSERT INTO halfstep.task
    (id, queue, placement, cluster, state, priority, operator, args, at_most_once, max_attempts, backoff_base, backoff_cap,
     enqueued_at, run_at)
SELECT nextval('halfstep.task_id'), 'mine', CASE WHEN n % 7 = 6 THEN 'worker' ELSE 'pod' END,
       CASE WHEN n % 7 IN (0, 6) THEN '' ELSE 'c' || n % 7 END, CASE WHEN n % 10 = 9 THEN 'scheduled' ELSE 'ready' END,
       (random() * 2e9 - 1e9)::int, 'http', '{{}}', false, 3, 1, 300, now(), now() - random() * interval '10 days'
FROM generate_series(1, {HOSTILE_ROWS}) n"""

_CLOCK = """
import json, sys, tempfile, time
from pathlib import Path
from contextlib import closing
from itertools import count
from halfstep.database import Database
from halfstep.producer import NewTask, enqueue_many
from halfstep_cli.embedded import discard
from halfstep_cli.station import open_station
with tempfile.TemporaryDirectory() as top:
    Path(top).chmod(0o711)
    with open_station(Path(top) / "data", None) as station, closing(Database(station.url)) as database:
        tasks = [NewTask("python", {"function": "m:f", "args": [n]}, {"queue": "etl"}) for n in range(100_000)]
        started = time.perf_counter()
        with database.transaction():
            enqueue_many(database, tasks)
        print(json.dumps(time.perf_counter() - started))
    discard(Path(top) / "data")
"""


def _enqueued(folder: Path) -> float:
    """Seconds, on a database of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HALFSTEP_", "PYTHONPATH"))}
    command = [str(folder / ".venv" / "bin" / "python"), "-c", _CLOCK]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _under(name: str, read: Callable[[], object], *, milliseconds: float = 100) -> Bar:
    """The median of some readings."""
    took = []
    read()  # whoever reads first writes down which rows are visible
    for _ in range(TURNS):
        started = time.perf_counter()
        read()
        took.append((time.perf_counter() - started) * 1000)
    middle = statistics.median(took)
    return Bar(f"{name}, beside 1 M hostile rows", f"{middle:.0f} ms", f"< {milliseconds:.0f} ms", middle < milliseconds)


def _table(name: str, least: int, files: tuple[str, ...]) -> Bar:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HALFSTEP_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    last = done.stdout.splitlines()[-1] if done.stdout else ""
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error|skipped)", last)}
    told = ", ".join(f"{number} {word}" for word, number in counts.items()) or "no tests"
    return Bar(f"table: {name}", told, f">= {least} cases, all hold", done.returncode == 0 and counts.get("passed", 0) >= least)

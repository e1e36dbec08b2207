"""Bodies whose values can't be stored, in real workers on databases of three encodings, each beside innocent ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from conftest import TestServer
from halfstep.database import Database
from halfstep.producer import NewTask, enqueue_many
from halfstep.reports import Report, Reports
from old_encodings import migrate_as_before
from waiting import wait_until
from worker_fixtures import source, start_worker
from worker_processes import WorkerProcess

__all__ = ["source", "start_worker"]

BODIES = """
import math, os, sys
from decimal import Decimal
from halfstep import Cancelled, Failed, Retry, current, task

class Broken:
    def __str__(self):
        raise RuntimeError("no words")

@task
def add(a, b):
    print("adding", a, b)
    current().heartbeat([a, b])
    return a + b

@task
def guilty(name):
    return CRIMES[name]()

def wrong_progress(text):
    current().link.heartbeat(text)
    return "told"

def write(data):
    os.write(1, data)
    return "written"

def fail(text):
    raise ValueError(text)

CRIMES = {
    "endless delay": lambda: Retry("x", 1e300),
    "infinite delay": lambda: Retry("x", math.inf),
    "NaN delay": lambda: Retry("x", math.nan),
    "delay of many digits": lambda: Retry("x", 10**5000),
    "delay of many digits, written": lambda: Retry("x", 10**400),
    "delay before now": lambda: Retry("x", -1),
    "delay of another type": lambda: Retry("x", Decimal(1)),
    "no JSON as progress": lambda: wrong_progress("half way"),
    "two records as progress": lambda: wrong_progress('1},{"id":1'),
    "NaN as progress": lambda: wrong_progress("NaN"),
    "euro as progress": lambda: wrong_progress('"€"'),
    "NUL in an error": lambda: fail("a\\0b"),
    "half of a pair in an error": lambda: fail("a\\ud800b"),
    "euro in an error": lambda: fail("5 €"),
    "error without words": lambda: fail(Broken()),
    "error of many digits": lambda: Failed(10**5000),
    "endless reason": lambda: Failed("x", "y" * 1_000_000),
    "cancel in euro": lambda: Cancelled("€"),
    "bytes that are no text": lambda: write(b"\\xff\\xfe\\0\\n"),
    "euro in the log": lambda: write("5 €\\n".encode()),
    "euro as result": lambda: "€",
    "half of a pair as result": lambda: "\\ud800",
    "NUL as result": lambda: "\\0",
    "number of many digits as result": lambda: 10**5000,
}
"""
RESULT = ("failed", "result", "The result")
DELAY = ("failed", "result", "The body asked for a retry after")
FINE = ("succeeded", None, "")
ERROR = ("failed", "exception", "ValueError: ")
VERDICTS = {
    "endless delay": DELAY,
    "infinite delay": DELAY,
    "NaN delay": DELAY,
    "delay of many digits": DELAY,
    "delay of many digits, written": DELAY,
    "delay before now": DELAY,
    "delay of another type": DELAY,
    "no JSON as progress": FINE,
    "two records as progress": FINE,
    "NaN as progress": FINE,
    "euro as progress": FINE,
    "NUL in an error": ("failed", "exception", "ValueError: a\ufffdb"),
    "half of a pair in an error": ("failed", "exception", "ValueError: a?b"),
    "euro in an error": ("failed", "exception", "ValueError: 5 €"),
    "error without words": ERROR,
    "error of many digits": ERROR,
    "endless reason": ("failed", "y" * 40, "x"),
    "cancel in euro": ("cancelled", "cancelled", "€"),
    "bytes that are no text": FINE,
    "euro in the log": FINE,
    "euro as result": FINE,
    "half of a pair as result": RESULT,
    "NUL as result": RESULT,
    "number of many digits as result": RESULT,
}
IN_LATIN = {
    "NUL in an error": ("failed", "exception", "ValueError: a\\ufffdb"),
    "euro in an error": ("failed", "exception", "ValueError: 5 \\u20ac"),
    "cancel in euro": ("cancelled", "cancelled", "\\u20ac"),
    "euro as result": RESULT,
}
LOGS = {"euro in the log": "5 €", "bytes that are no text": "\ufffd\ufffd\ufffd"}
LATIN_LOGS = {"euro in the log": "5 \\u20ac", "bytes that are no text": "\\ufffd\\ufffd\\ufffd"}


@pytest.fixture(params=["UTF8", "LATIN1", "SQL_ASCII"])
def encoding(request: pytest.FixtureRequest) -> str:
    """Of the database."""
    return str(request.param)


@pytest.fixture
def url(encoding: str, server: TestServer) -> Iterator[str]:
    """A migrated database of that encoding."""
    name = server.make_database(template=f"template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
    migrate_as_before(server.url(name))
    yield server.url(name)
    server.drop(name)


def test_bodies_with_hostile_values_end_with_a_reason_and_beside_them_everything_is_as_always(
    url: str, encoding: str, source: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    (source / "hostile.py").write_text(BODIES)
    worker = start_worker(url=url)
    with closing(Database(url)) as database:
        tasks = [task for n, name in enumerate(VERDICTS) for task in (_call("guilty", name), _call("add", n, 1))]
        ids = enqueue_many(database, tasks)
        reports = Reports(database)
        over = {"succeeded", "failed", "cancelled"}
        wait_until(lambda: set(reports.states(ids).values()) <= over, seconds=60, what="the end of all")
        shown = [reports.show(task) for task in ids]
        assert [report["result"] for report in shown[1::2]] == [n + 1 for n in range(len(VERDICTS))]
        verdicts = VERDICTS | (IN_LATIN if encoding == "LATIN1" else {})
        for report, (name, verdict) in zip(shown[::2], verdicts.items(), strict=True):
            assert _matches(report, verdict), (name, report)
        texts = {
            name: [line["text"] for _, line in reports.log(ids[2 * list(VERDICTS).index(name)])]
            for name in LOGS
        }  # fmt: skip
        assert texts == {name: [text] for name, text in (LATIN_LOGS if encoding == "LATIN1" else LOGS).items()}
    assert worker.stop() == 0
    said = worker.log.read_text()
    assert "Traceback" not in said
    assert "Trying again" not in said


def _call(function: str, *args: object) -> NewTask:
    return NewTask("python", {"function": f"hostile:{function}", "args": list(args)}, {"max_attempts": 1})


def _matches(report: Report, verdict: tuple[str, str | None, str]) -> bool:
    state, reason, error = verdict
    return (report["state"], report["reason"]) == (state, reason) and (report["error"] or "").startswith(error)


def test_a_worker_whose_exchange_ends_by_a_fault_of_ours_ends_and_its_tasks_run_elsewhere(
    database_url: str, source: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    (source / "hostile.py").write_text(BODIES)
    broken = start_worker(failpoints="finish.before=raise")
    with closing(Database(database_url)) as database:
        (task,) = enqueue_many(database, [_call("add", 1, 1)])
        assert broken.wait(seconds=20) != 0
        assert "The exchange with the database has ended" in broken.log.read_text()
        start_worker()
        wait_until(lambda: Reports(database).states([task]).get(task) == "succeeded", seconds=30, what="its end elsewhere")

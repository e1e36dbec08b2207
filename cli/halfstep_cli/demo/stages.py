"""The demo's tasks, in three stages. The queue knows no order among tasks: a stage is enqueued when the one before has ended."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from halfstep.producer import NewTask, Options
from halfstep_cli.demo.analysis import analyse
from halfstep_cli.demo.files import Source, module_name

QUEUE = "demo"
CONNECTION = "demo"
MOST_NAMES = 400
"""File names in one command: the kernel takes 128 KiB of text, and a name has at most 255 bytes."""

_TABLE = """
CREATE TABLE IF NOT EXISTS demo_modules (
    run text NOT NULL, task_id bigint NOT NULL, module text NOT NULL, lines int NOT NULL, functions int, classes int,
    complexity int, documented int, documentable int, seconds float8, error text, PRIMARY KEY (run, task_id))
"""
_JOIN = """
INSERT INTO demo_modules
SELECT :run, h.id, r.module, r.lines, r.functions, r.classes, r.complexity, r.documented, r.documentable, h.seconds, r.error
FROM halfstep.history h, jsonb_to_record(h.result)
    AS r (module text, lines int, functions int, classes int, complexity int, documented int, documentable int, error text)
WHERE h.id BETWEEN :first AND :last AND h.operator = 'python' AND h.state = 'succeeded' AND h.labels ->> 'demo' = :run
ON CONFLICT DO NOTHING
"""
_LARGEST = """
SELECT module, lines, functions, classes, complexity, round(100.0 * documented / documentable) AS documented
FROM demo_modules WHERE run = :run AND error IS NULL ORDER BY lines DESC, module LIMIT 10
"""
_TOTALS = """
SELECT count(*) AS modules, count(m.error) AS unreadable,
    coalesce(sum(m.lines), 0) AS lines, coalesce(sum(m.functions), 0) AS functions,
    (SELECT coalesce(sum(CAST(h.result ->> 'last_line' AS bigint)), 0) FROM halfstep.history h
     WHERE h.id BETWEEN :first AND :last AND h.labels ->> 'demo' = :run AND h.labels ->> 'step' = 'lines') AS wc_lines,
    (SELECT h.result ->> 'last_line' FROM halfstep.history h
     WHERE h.id BETWEEN :first AND :last AND h.labels ->> 'demo' = :run AND h.labels ->> 'step' = 'version') AS python
FROM demo_modules m WHERE m.run = :run
"""


def reading(source: Source, run: str) -> Iterator[NewTask]:
    """One `python` task a file, `bash` tasks that count the same lines with wc, and the table for the results."""
    yield _sql(run, "table", _TABLE, {})
    yield _task("bash", {"command": f"{shlex.quote(sys.executable)} --version"}, run, "version")
    for folder, files in source.folders.items():
        for some in batches(files, MOST_NAMES):
            yield _task("bash", {"command": _count_lines(source.folder / folder, some)}, run, "lines")
    for file in source.files:
        call = {"function": analyse.name, "args": [str(source.folder / file), module_name(file)]}
        yield _task("python", call, run, "analyse")


def joining(run: str, first: int, last: int) -> Iterator[NewTask]:
    """One `sql` task that writes the results of the tasks from `first` to `last` into the table."""
    yield _sql(run, "join", _JOIN, {"run": run, "first": first, "last": last})


def reporting(run: str, first: int, last: int) -> Iterator[NewTask]:
    """Two `sql` tasks that read the table: the ten largest modules, and the totals."""
    yield _sql(run, "largest", _LARGEST, {"run": run})
    yield _sql(run, "totals", _TOTALS, {"run": run, "first": first, "last": last})


def batches(files: list[Path], size: int) -> Iterator[list[Path]]:
    """The list in pieces of at most `size`."""
    return (files[start : start + size] for start in range(0, len(files), size))


def _count_lines(folder: Path, files: list[Path]) -> str:
    names = " ".join(shlex.quote(f"./{file.name}") for file in files)
    return f"cd {shlex.quote(str(folder))} && cat {names} | wc -l"


def _sql(run: str, step: str, statement: str, parameters: dict[str, object]) -> NewTask:
    return _task("sql", {"connection": CONNECTION, "statement": statement, "parameters": parameters}, run, step)


def _task(operator: str, args: Mapping[str, object], run: str, step: str) -> NewTask:
    return NewTask(operator, args, Options(queue=QUEUE, labels={"demo": run, "step": step}))

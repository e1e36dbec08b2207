"""The log store: what bodies print, in order, readable while they run."""

from __future__ import annotations

from typing import Any

import pytest

from halfstep import enqueue
from halfstep.database import Database
from halfstep.errors import RefusedValue
from halfstep.queue import Queue
from halfstep.reports import Reports


def chunk(task: int, attempt: int, number: int, *texts: str) -> dict[str, Any]:
    lines = [[1_700_000_000.5 + n, "stdout", text] for n, text in enumerate(texts)]
    return {"task_id": task, "attempt": attempt, "chunk": number, "lines": lines}


def texts(reports: Reports, task: int, **after: Any) -> list[str]:
    return [line["text"] for _, line in reports.log(task, **after)]


def test_lines_come_back_in_the_order_of_attempts_and_chunks(queue: Queue, reports: Reports) -> None:
    queue.write_log([chunk(1, 2, 0, "e"), chunk(1, 1, 1, "c", "d"), chunk(2, 1, 0, "other"), chunk(1, 1, 0, "a", "b")])
    assert texts(reports, 1) == ["a", "b", "c", "d", "e"]
    _, line = next(reports.log(1))
    assert line == {"attempt": 1, "at": 1_700_000_000.5, "stream": "stdout", "text": "a"}


def test_a_reader_goes_on_where_it_stopped(queue: Queue, reports: Reports) -> None:
    queue.write_log([chunk(1, 1, 0, "a"), chunk(1, 1, 1, "b")])
    seen = list(reports.log(1))
    queue.write_log([chunk(1, 1, 2, "c"), chunk(1, 2, 0, "d")])
    assert texts(reports, 1, after=seen[0][0]) == ["b", "c", "d"]
    assert texts(reports, 1, after=seen[-1][0]) == ["c", "d"]


def test_a_chunk_that_is_written_again_after_a_lost_reply_stands_once(queue: Queue, reports: Reports) -> None:
    queue.write_log([chunk(1, 1, 0, "a")])
    queue.write_log([chunk(1, 1, 0, "a"), chunk(1, 1, 1, "b")])
    assert texts(reports, 1) == ["a", "b"]


@pytest.mark.parametrize("text", ["é€𝄞\u2028", "\t\x01\x1f", '"\\u0000"', "", "x" * 16_384, "%s :a \\"])
def test_any_text_that_sql_can_hold_comes_back_as_it_was(queue: Queue, reports: Reports, text: str) -> None:
    queue.write_log([chunk(1, 1, 0, text)])
    assert texts(reports, 1) == [text]


def test_a_nul_is_refused_and_nothing_of_its_batch_is_written(queue: Queue, reports: Reports) -> None:
    with pytest.raises(RefusedValue):
        queue.write_log([chunk(1, 1, 0, "good"), chunk(1, 1, 1, "nul \0")])
    assert texts(reports, 1) == []


def test_a_log_outlives_its_task(database: Database, queue: Queue, worker: Any, reports: Reports) -> None:
    id = enqueue(database, "bash")
    claims = worker.claim()
    queue.write_log([chunk(id, 1, 0, "while it runs")])
    assert texts(reports, id) == ["while it runs"]
    worker.finish(*claims)
    assert texts(reports, id) == ["while it runs"]


def test_progress_is_told_by_the_holder_only_and_starts_afresh(
    database: Database, queue: Queue, worker: Any, reports: Reports
) -> None:
    id = enqueue(database, "bash")
    (old,) = worker.claim()
    queue.report_progress([(old, '{"done": 1}')])
    assert reports.show(id)["progress"] == {"done": 1}
    queue.release([old], reason="drain", started=True)
    (new,) = worker.claim()
    queue.report_progress([(old, "9")])
    assert reports.show(id)["progress"] is None
    queue.report_progress([(new, "2")])
    worker.finish(new)
    assert reports.show(id)["progress"] == 2

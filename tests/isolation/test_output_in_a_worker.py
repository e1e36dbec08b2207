"""What a body writes arrives in the log store while it is written; of a very long log both ends do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from halfstep.database import Database
from halfstep.limits import LOG_BYTES
from halfstep.producer import enqueue
from halfstep.reports import Report, Reports
from waiting import wait_until
from worker_fixtures import call, ended, source, start_worker
from worker_processes import WorkerProcess

__all__ = ["call", "ended", "source", "start_worker"]

Start = Callable[..., WorkerProcess]
Call = Callable[..., int]
Ended = Callable[..., Report]


def lines(reports: Reports, task: int) -> list[str]:
    """The text of a task's log."""
    return [line["text"] for _, line in reports.log(task)]


def test_a_dot_of_a_program_can_be_read_about_a_second_after_it_was_written(
    start_worker: Start, database: Database, ended: Ended, reports: Reports, tmp_path: Path
) -> None:
    start_worker()
    os.mkfifo(tmp_path / "go")
    task = enqueue(database, "bash", {"command": f"printf '%s ' $(date +%s.%N); read x < {tmp_path / 'go'}; printf '%s\n' $x"})
    wait_until(lambda: lines(reports, task), seconds=30, what="the first word")
    assert time.time() - float(lines(reports, task)[0]) < 1.5
    assert reports.show(task)["state"] == "running"
    (tmp_path / "go").write_text("on\n")
    ended(task)
    (first, second) = [line for _, line in reports.log(task)]
    assert (first["goes_on"], second["text"], "goes_on" in second) == (True, "on", False)


def test_a_program_that_writes_on_both_streams_in_turn_is_logged_in_turn(
    start_worker: Start, database: Database, ended: Ended, reports: Reports
) -> None:
    start_worker()
    command = "for n in 1 2 3 4 5; do echo out $n; sleep 0.05; echo err $n >&2; sleep 0.05; done"
    task = enqueue(database, "bash", {"command": command})
    ended(task)
    assert lines(reports, task) == [f"{stream} {n}" for n in range(1, 6) for stream in ("out", "err")]


def test_ten_mebibytes_before_a_traceback_leave_the_beginning_and_the_traceback(
    start_worker: Start, source: Path, database: Database, ended: Ended, reports: Reports
) -> None:
    code = "for n in range(100_000): print(f'{n:09}', 'x' * 95)\nraise RuntimeError('the cause')\n"
    (source / "long.py").write_text(code)
    start_worker()
    task = enqueue(database, "script", {"path": "long.py"}, max_attempts=1)
    assert ended(task, seconds=120)["state"] == "failed"
    written = lines(reports, task)
    assert written[0] == f"{0:09} {'x' * 95}"
    assert sum(len(text.encode()) + 40 for text in written) < 1.01 * LOG_BYTES
    (place,) = (place for place, text in enumerate(written) if "were left out here" in text)
    assert {"Traceback (most recent call last):", "RuntimeError: the cause"} <= set(written[place:])
    left_out = int(written[place].split()[1])
    numbers = [int(text[:9]) for text in written if text[:9].isdigit()]
    assert len(numbers) + left_out == 100_000
    assert f"({left_out * 105} bytes)" in written[place]
    assert numbers == sorted(numbers)


def test_what_outlives_its_body_writes_into_no_other_log(
    start_worker: Start, source: Path, database: Database, ended: Ended, reports: Reports
) -> None:
    """Until it is ended with its process, and that is soon."""
    start_worker(slots=1)
    (source / "late.py").write_text(
        "import os\nfrom halfstep import task\n@task\ndef leaves_a_talker():\n"
        "    if os.fork() == 0:\n        while True: os.write(2, b'late\\n')\n"
    )
    first = enqueue(database, "python", {"function": "late:leaves_a_talker"})
    second = enqueue(database, "bash", {"command": "echo mine"})
    assert (ended(first)["state"], ended(second)["state"]) == ("succeeded", "succeeded")
    assert lines(reports, second) == ["mine"]


def test_the_error_of_a_body_that_crashed_shows_a_line_that_was_told_in_parts_as_one(
    start_worker: Start, source: Path, database: Database, ended: Ended
) -> None:
    (source / "dots.py").write_text(
        "import os, threading\nfrom halfstep import task\n@task\ndef dots():\n    print('begun')\n"
        "    for _ in range(4):\n        print('.', end='', flush=True); threading.Event().wait(0.6)\n    os._exit(3)\n"
    )
    start_worker()
    task = enqueue(database, "python", {"function": "dots:dots"}, max_attempts=1)
    assert ended(task)["error"].endswith("Its last lines:\n  begun\n  ....")

"""What a task names may come a moment after it: the worker looks again, for as long as a deploy takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from halfstep.database import Database
from halfstep.producer import enqueue
from halfstep.reports import Report, Reports
from waiting import wait_until
from worker_processes import WorkerProcess

JOBS = "from halfstep import task\n@task\ndef brought(): return [1]\n"
LATE: list[tuple[str, dict[str, str], dict[str, str], str]] = [
    ("script", {"path": "late.sh"}, {"late.sh": "echo '[1]'\n"}, "There is no file 'late.sh' in the source folder."),
    ("python", {"function": "late:brought"}, {"late.py": JOBS}, "Function 'late:brought' is not registered with @task"),
    ("python", {"function": "jobs:brought"}, {"jobs.py": JOBS}, "Function 'jobs:brought' is not registered with @task"),
    ("python", {"function": "half:brought"}, {"inner.py": ""}, "Module 'half' could not be imported: ModuleNotFoundError"),
]


@pytest.mark.parametrize(("operator", "args", "files", "sentence"), LATE)
def test_what_comes_later_is_run_when_it_is_there(
    start_worker: Callable[..., WorkerProcess],
    ended: Callable[[int], Report],
    database: Database,
    reports: Reports,
    source: Path,
    operator: str,
    args: dict[str, str],
    files: dict[str, str],
    sentence: str,
) -> None:
    (source / "half.py").write_text("import inner\n" + JOBS)
    start_worker()
    task = enqueue(database, operator, args, max_attempts=1000)
    error = wait_until(lambda: [one["error"] for one in reports.show(task)["attempts"] if one["error"]], what="an attempt")[0]
    assert error.startswith(sentence)
    assert error.endswith("A deploy may bring it, so it is tried again while attempts are left.")
    (row,) = database.execute(
        "SELECT state, extract(epoch FROM run_at - clock_timestamp()) AS ahead FROM halfstep.task WHERE id = %(id)s", {"id": task}
    )
    assert row["state"] == "scheduled"
    assert 20 < row["ahead"] <= 60
    for name, text in files.items():
        (source / name).write_text(text)

    def is_over() -> bool:  # until children have the new source, attempts may still end as the first did
        database.execute(
            "UPDATE halfstep.task SET run_at = clock_timestamp() WHERE id = %(id)s AND state = 'scheduled'", {"id": task}
        )
        return reports.states([task])[task] not in ("scheduled", "ready", "running")

    wait_until(is_over, what="the end of the task")
    report = ended(task)
    assert (report["state"], report["result"]) == ("succeeded", [1]), report


def test_what_never_comes_is_invalid_after_its_attempts(
    start_worker: Callable[..., WorkerProcess], ended: Callable[[int], Report], database: Database
) -> None:
    start_worker()
    report = ended(enqueue(database, "script", {"path": "never.sh"}, max_attempts=1))
    assert (report["state"], report["reason"]) == ("failed", "invalid")
    assert report["error"].startswith("There is no file 'never.sh' in the source folder.")


def test_a_worker_says_which_import_it_leaves_to_its_children_and_how_to_mend_it(
    start_worker: Callable[..., WorkerProcess], ended: Callable[[int], Report], database: Database, source: Path
) -> None:
    (source / "served.py").write_text(
        "from halfstep import task\nfrom concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\n"
        "pool.submit(abs, 1).result()\n@task\ndef use(n): return pool.submit(abs, n).result(timeout=10)\n"
    )
    worker = start_worker(imports=["served"], slots=2)
    tasks = [enqueue(database, "python", {"function": "served:use", "args": [-n]}, max_attempts=1) for n in range(20)]
    assert [ended(task)["result"] for task in tasks] == list(range(20))
    said = [line for line in worker.log.read_text().splitlines() if "in each child" in line]
    assert len(said) == 1
    assert "Module 'served' is imported in each child instead of once for all" in said[0]
    assert "the thread 'ThreadPoolExecutor-0_0'" in said[0]

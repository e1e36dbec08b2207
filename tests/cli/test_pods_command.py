"""`halfstep pods`, on a real database whose rows a launcher would have written."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from halfstep.database import Database
from halfstep.pods import PodBook, PodRow
from halfstep.producer import enqueue


def run(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "halfstep_cli.main", "--database", url, *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_pods_of_running_attempts_are_listed_with_what_holds_them_up(
    database_url: str, database: Database, make_worker: Any
) -> None:
    task = enqueue(database, "pod", {"image": "x"}, placement="pod")
    launcher = make_worker(name="keeper", placement="pod")
    (claim,) = launcher.claim(placement="pod")
    facts = {"phase": "Pending", "node": None, "waiting": "The image can't be pulled."}
    PodBook(database).write([PodRow(claim.attempt_id, task, 1, "", "tasks", f"hs-{claim.attempt_id}", "u-1", facts)])
    shown = run(database_url, "pods")
    assert shown.returncode == 0
    for word in (f"hs-{claim.attempt_id}", "Pending", "keeper", "The image can't be pulled."):
        assert word in shown.stdout
    (told,) = json.loads(run(database_url, "pods", "--json").stdout)
    assert (told["task_id"], told["attempt"], told["live"], told["acknowledged"]) == (task, 1, True, True)
    shown = run(database_url, "show", str(task)).stdout
    assert f"tasks/hs-{claim.attempt_id}" in shown
    assert "running (The image can't be pulled.)" in shown
    launcher.finish(claim)
    assert json.loads(run(database_url, "pods", "--json").stdout) == []
    assert len(json.loads(run(database_url, "pods", "--task", str(task), "--json").stdout)) == 1


@pytest.mark.parametrize(
    ("memory", "shown"),
    [
        pytest.param({"request": "1Gi", "limit": "2Gi"}, "1Gi / 2Gi", id="both"),
        pytest.param({"request": "2Gi", "limit": "2Gi"}, "2Gi", id="two that are the same"),
        pytest.param({"limit": "2Gi"}, "2Gi", id="one"),
        pytest.param(None, None, id="none"),
        pytest.param(["odd"], None, id="a list"),
    ],
)
def test_the_memory_of_each_attempt_is_shown(
    database_url: str, database: Database, make_worker: Any, memory: Any, shown: str | None
) -> None:
    task = enqueue(database, "pod", {"image": "x"}, placement="pod")
    (claim,) = make_worker(name="keeper", placement="pod").claim(placement="pod")
    facts = {"phase": "Running"} | ({} if memory is None else {"memory": memory})
    PodBook(database).write([PodRow(claim.attempt_id, task, 1, "", "tasks", f"hs-{claim.attempt_id}", "u-1", facts)])
    said = run(database_url, "show", str(task))
    assert said.returncode == 0
    (heading,) = [line for line in said.stdout.splitlines() if line.startswith("ATTEMPT ")]
    assert ("MEMORY" in heading) == (shown is not None)
    if shown is not None:
        assert said.stdout.count(shown) >= 2, "of the last pod, and of its attempt"
        (attempt,) = json.loads(run(database_url, "show", str(task), "--json").stdout)["attempts"]
        assert attempt["pod"]["memory"] == memory

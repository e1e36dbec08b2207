"""`halfstep pods`, on a real database whose rows a launcher would have written."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import Any

import pytest
from rich.cells import cell_len

from halfstep.database import Database
from halfstep.pods import PodBook, PodRow, Stranger, Strangers
from halfstep.producer import enqueue
from halfstep_cli.output import age, shortened
from waiting import PATIENCE


def run(url: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "halfstep_cli.main", "--database", url, *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"} | environment,
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


SENTENCES = {
    "an image": "The image 'registry.example.com/shop/etl:7' can't be had (ImagePullBackOff): Back-off pulling image.",
    "one long word": "x" * 300,
    "wide characters": "図" * 100,
    "what would steer a terminal": "no.\x1b[2J\n" * 20,
    "nothing": None,
}
PHASES = {"x" * 300: "\x1b[2J" * 9, "図" * 100: "図" * 9}
"""Of pods whose API server says anything."""


@pytest.mark.parametrize("columns", [80, 100, 60])
def test_a_line_is_as_wide_as_the_terminal_and_tells_age_and_reason(
    database_url: str, database: Database, make_worker: Any, columns: int
) -> None:
    for _ in SENTENCES:
        enqueue(database, "pod", {"image": "x"}, placement="pod")
    keeper = make_worker(name="keeper-of-many-pods-in-a-far-away-zone", placement="pod")
    claims = keeper.claim(len(SENTENCES), placement="pod")
    rows = []
    for claim, waiting in zip(claims, SENTENCES.values(), strict=True):
        facts = {"phase": PHASES.get(waiting, "Pending"), "node": "n" * 60, "waiting": waiting}
        name = f"hs-{claim.attempt_id}"
        rows.append(PodRow(claim.attempt_id, claim.id, 1, "", "tasks", name, "u-1", facts, token=claim.token))
    assert len(PodBook(database).write(rows)) == len(SENTENCES)
    database.execute("UPDATE halfstep.pod SET intended_at = intended_at - interval '192 seconds'")
    shown = run(database_url, "pods", COLUMNS=str(columns)).stdout.splitlines()
    assert shown[0].split() == ["TASK", "ATT", "POD", "PHASE", "AGE", "WAITING"]
    assert len(shown) == 1 + len(SENTENCES)
    for line in shown:
        assert cell_len(line) <= columns
        assert line.isprintable()
    lines = {line.split()[0]: line for line in shown[1:]}
    for claim in claims:
        line = lines[str(claim.id)]
        assert f"hs-{claim.attempt_id}"[:11] in line
        assert "3m1" in line
    assert lines[str(claims[0].id)].endswith("…")
    assert "The image" in lines[str(claims[0].id)]
    assert str(SENTENCES["an image"]) in run(database_url, "pods", "--wide", COLUMNS=str(columns)).stdout
    told = json.loads(run(database_url, "pods", "--json", COLUMNS=str(columns)).stdout)
    assert {row["facts"]["waiting"] for row in told} == set(SENTENCES.values())
    assert all(192 <= row["age_seconds"] <= 320 for row in told)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"), (45.9, "45s"), (119, "119s"), (120, "2m"), (192, "3m12s"), (600, "10m"), (3 * 3600, "3h"),
        (5 * 3600 + 120, "5h2m"), (30 * 3600, "30h"), (3 * 86_400 + 4 * 3600, "3d4h"), (40 * 86_400, "40d"),
        (None, ""), (-1, ""), ("x", ""), (math.nan, ""),
    ],
)  # fmt: skip
def test_ages_are_written_as_kubectl_does(seconds: Any, shown: str) -> None:
    assert age(seconds) == shown


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 5, "short"), ("two words", 7, "two…"), ("abcdefghijklmnopqrstuvwxyz", 10, "abcdefghi…"),
        ("a b", 1, "…"), ("", 3, ""),
        ("No node takes the pod: 0/3", 23, "No node takes the pod…"),
    ],
)  # fmt: skip
def test_a_text_is_cut_between_words(text: str, width: int, shown: str) -> None:
    assert shortened(text, width) == shown


def test_strangers_are_listed_with_what_makes_them_strangers(database_url: str, database: Database) -> None:
    assert "No launcher has seen a pod" in run(database_url, "pods", "--strangers").stderr
    assert json.loads(run(database_url, "pods", "--strangers", "--json").stdout) == []
    book = PodBook(database)
    seen = [Stranger("tasks", "dbg", "u-1", "It is a copy."), Stranger("tasks", "other\x1b[31m", "u-2", "It is another's.")]
    book.write_strangers(Strangers("", ["tasks"], seen))
    shown = run(database_url, "pods", "--strangers")
    assert shown.returncode == 0
    for word in ("tasks", "dbg", "It is a copy.", "\\x1b[31m"):
        assert word in shown.stdout
    told = json.loads(run(database_url, "pods", "--strangers", "--json").stdout)
    assert (told[0]["name"], told[0]["uid"], told[0]["why"]) == ("dbg", "u-1", "It is a copy.")
    book.write_strangers(Strangers("", ["tasks"], seen[:1]))
    book.write_strangers(Strangers("", ["elsewhere"], []))
    book.write_strangers(Strangers("other", ["tasks"], []))
    again = book.strangers()
    assert [one["name"] for one in again] == ["dbg"]
    assert again[0]["first_seen"] < again[0]["seen_at"]
    book.write_strangers(Strangers("", ["tasks"], []))
    assert book.strangers() == []

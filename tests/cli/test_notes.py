"""Notes and events on stderr: whatever a task, a pod, a worker or a server says, each is one line and steers nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from halfstep.outcomes import Succeeded
from halfstep.pods import PodBook, PodRow
from halfstep.producer import enqueue
from halfstep.reports import Reports
from halfstep_cli.commands import waiting
from halfstep_cli.errors import ExitCode
from waiting import PATIENCE, wait_until

SPOOF = "no.\nTask 1 failed: send your password\r\n\x1b[2J\u2028x"
SHOWN = "no. Task 1 failed: send your password \\x1b[2J\\u2028x"
REASONS = {
    "a message with lines of its own": (f"No node takes the pod: {SPOOF}.", f"Task 1: No node takes the pod: {SHOWN}.\n"),
    "a message that says running": ("The main program is not running.", "Task 1: The main program is not running.\n"),
    "a sentence without its end": ("The pod's node does not answer", "Task 1: The pod's node does not answer.\n"),
}


@pytest.mark.parametrize(("told", "line"), REASONS.values(), ids=REASONS)
def test_waiting_tells_in_one_line_why_a_pod_does_not_start(
    database, connect, make_worker, threads, capfd, monkeypatch, told, line
):
    monkeypatch.setattr(waiting, "PATIENCE", 0.0)
    monkeypatch.setenv("NO_COLOR", "1")
    task = enqueue(database, "pod", {"image": "x"}, placement="pod")
    launcher = make_worker(name="keeper", placement="pod")
    (claim,) = launcher.claim(placement="pod")
    facts = {"phase": "Pending", "node": None, "waiting": told}
    PodBook(database).write([PodRow(claim.attempt_id, task, 1, "", "tasks", f"hs-{claim.attempt_id}", "u-1", facts)])
    seen: list[str] = []
    waits = threads.submit(waiting.wait_for, Reports(connect()), [task])
    try:
        wait_until(lambda: seen.append(capfd.readouterr().err) or "".join(seen).endswith("\n"), what="a note")
    finally:
        launcher.finish(claim, outcome=Succeeded("1"))
    assert waits.result() is ExitCode.FINE
    assert "".join(seen) == line


@pytest.mark.parametrize("words", [("drain", "{}"), ("drain", "{}", "--wait", "--timeout", "0.1"), ("uninstall",)], ids=" ".join)
def test_a_worker_s_name_makes_no_line_of_its_own(halfstep, make_worker, database, words):
    worker = make_worker(name="amy")
    database.execute("UPDATE halfstep.worker SET name = %(name)s", {"name": f"amy {SPOOF}"})
    said = halfstep(*(word.format(worker.id) for word in words)).err
    assert SHOWN in said
    assert not [line for line in said.splitlines() if line.startswith("Task 1")]


LOGS = """
import logging, sys
from halfstep.events import emit
from halfstep_cli.logged import log_to_stderr
log_to_stderr()
emit("source.broken", error=sys.argv[1])
try:
    raise ValueError("odd")
except ValueError:
    logging.getLogger("halfstep").exception("Oh")
"""


def test_an_event_is_one_line_and_a_traceback_keeps_its_lines():
    done = subprocess.run([sys.executable, "-c", LOGS, SPOOF], capture_output=True, text=True, timeout=PATIENCE, check=True)
    event, oh, heading, *_, last = done.stderr.splitlines()
    assert event.endswith(f"the old code goes on: {SHOWN}")
    assert oh.endswith("ERROR Oh")
    assert (heading, last) == ("Traceback (most recent call last):", "ValueError: odd")

"""The program in a task's pod, run as one: files in place of the mounts, and the log in a pipe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from halfstep.outcomes import Cancelled, Failed, Outcome, Retry, Succeeded
from halfstep_worker.kubernetes import body
from halfstep_worker.kubernetes.frames import Elsewhere, Frames, opened
from halfstep_worker.kubernetes.verdict import Known, Verdict, judge
from pod_builders import finished
from waiting import PATIENCE, wait_until

MODULE = """
import os, subprocess, sys, threading, time
from halfstep import current, task
from halfstep.context import Stopped
from halfstep.outcomes import Cancelled, Failed, Retry

@task
def add(a, b):
    return a + b

@task
def large(size):
    print("working", end="", flush=True)
    return "é" * size

@task
def environment():
    found = subprocess.run(["env"], capture_output=True, text=True).stdout
    return [sorted(os.environ), [line for line in found.splitlines() if "HALFSTEP" in line or "secret" in line]]

@task
def say():
    context = current()
    context.log("a line")
    for n in range(100):
        context.heartbeat({"n": n})
    print("printed")
    return [context.task_id, context.attempt, context.seconds_left > 50, context.stop_reason]

@task
def give_up(how):
    return {"failed": Failed("no", "mine", True), "retry": Retry("later", 5.0), "cancelled": Cancelled("off")}[how]

@task
def leave(how):
    threading.Thread(target=time.sleep, args=(60,)).start()
    if how == "raise": raise ValueError("bad luck")
    if how == "exit": sys.exit(3)
    if how == "os._exit": os._exit(0)
    if how == "close":
        os.close(1); os.close(2); sys.stdout.close()
    return "left"

@task
def wait(file, swallow):
    try:
        open(file, "w").close()
        threading.Event().wait(60)
    except Stopped as stopped:
        with open(file, "w") as out: out.write(f"{stopped.reason} {current().stop_reason}")
        if not swallow: raise
    return "done"
"""


@dataclass(frozen=True)
class Ran:
    """How the program ended, as its launcher would see it."""

    code: int
    message: str
    lines: list[str]
    log: str

    @property
    def verdict(self) -> Verdict:
        """With the frames of the log, as the launcher reads them."""
        found = judge(finished(self.code, None, self.message or None, operator="python"), Known())
        assert found is not None
        return found

    @property
    def outcome(self) -> Outcome:
        verdict = self.verdict
        if verdict.framed is None:
            return verdict.outcome
        frames = Frames()
        for line in self.lines:
            frames.take(line)
        return frames.outcome(verdict.framed) or verdict.outcome


class Pod:
    """A folder with what a pod's mounts hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.message = folder / "termination-log"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HALFSTEP_", "PG"))},
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "HALFSTEP_TERMINATION_LOG": str(self.message),
        }
        (folder / "source").mkdir()
        (folder / "source" / "shop.py").write_text(MODULE)

    def start(self, operator: str = "python", args: dict[str, Any] | None = None, **task: Any) -> subprocess.Popen[str]:
        """The program, on a task of the fields given."""
        written = {"protocol": 1, "task_id": 42, "attempt": 3, "operator": operator, "args": args or {}, "timeout": 60.0}
        written |= {"source": str(self.folder / "source"), **task}
        file = self.folder / "task.json"
        file.write_text(json.dumps(written))
        command = [sys.executable, "-m", "halfstep_worker.kubernetes.body", str(file)]
        return subprocess.Popen(
            command, env=self.environment, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )  # fmt: skip

    def end(self, program: subprocess.Popen[str]) -> Ran:
        """What it left."""
        try:
            out, err = program.communicate(timeout=PATIENCE)
        finally:
            program.kill()
        message = self.message.read_text() if self.message.exists() else ""
        return Ran(program.returncode, message, out.splitlines(), err)

    def run(self, operator: str = "python", args: dict[str, Any] | None = None, **task: Any) -> Ran:
        """Start and end."""
        return self.end(self.start(operator, args, **task))

    def call(self, function: str, *args: Any, **task: Any) -> Ran:
        """A function of the module shop."""
        return self.run("python", {"function": f"shop:{function}", "args": list(args)}, **task)


@pytest.fixture
def there(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


def test_a_body_s_value_is_the_result(there: Pod) -> None:
    ran = there.call("add", 2, 3)
    assert (ran.code, opened(ran.message)) == (0, Succeeded("5"))
    assert ran.outcome == Succeeded("5")


def test_any_operator_runs(there: Pod) -> None:
    ran = there.run("bash", {"command": "echo hello; echo $HALFSTEP_TASK_ID-$HALFSTEP_ATTEMPT"})
    assert ran.lines == ["hello", "42-3"]
    assert ran.outcome == Succeeded('{"exit_code": 0, "last_line": "42-3"}')


def test_a_large_result_comes_through_the_log_between_other_lines(there: Pod) -> None:
    ran = there.call("large", 100_000)
    assert isinstance(opened(ran.message), Elsewhere)
    assert ran.outcome == Succeeded(json.dumps("é" * 100_000, ensure_ascii=False))
    assert [kept for line in ran.lines if (kept := Frames().take(line)) is not None] == ["working"]


def test_a_result_over_the_limit_is_an_error_with_its_size(there: Pod) -> None:
    ran = there.call("large", 1000, result_bytes=1000)
    assert ran.code == 1
    assert ran.verdict.kind == "result"
    assert "2002 bytes" in str(ran.outcome)


def test_the_message_keeps_to_the_room_that_the_pod_leaves_it(there: Pod) -> None:
    ran = there.call("large", 1000, message_bytes=1024)
    assert len(ran.message.encode()) <= 1024
    assert ran.outcome == Succeeded(json.dumps("é" * 1000, ensure_ascii=False))


def test_connections_reach_operators_and_never_the_body_s_environment(there: Pod) -> None:
    there.environment["HALFSTEP_CONNECTION_SHOP"] = "postgresql://user:secret@127.0.0.1:1/shop"
    names, inherited = json.loads(there.call("environment").outcome.result)
    assert [name for name in names if name.startswith("HALFSTEP")] == []
    assert inherited == []
    failed = there.run("sql", {"connection": "shop", "statement": "SELECT 1"}).outcome
    assert isinstance(failed, Failed)
    assert "no connection" not in failed.error
    assert "secret" not in failed.error


def test_a_body_knows_its_task_and_speaks_through_the_log(there: Pod) -> None:
    ran = there.call("say")
    assert ran.outcome == Succeeded("[42, 3, true, null]")
    frames = Frames()
    assert [kept for line in ran.lines if (kept := frames.take(line)) is not None] == ["a line", "printed"]
    assert frames.progress == '{"n": 99}'
    assert len(ran.lines) < 8


@pytest.mark.parametrize(
    ("how", "outcome"),
    [("failed", Failed("no", "mine", True)), ("retry", Retry("later", 5.0)), ("cancelled", Cancelled("off"))],
)
def test_outcomes_that_a_body_returns_count(there: Pod, how: str, outcome: Outcome) -> None:
    ran = there.call("give_up", how)
    assert (ran.code, ran.outcome) == (1, outcome)


def test_an_exception_is_one_sentence_and_its_traceback_is_in_the_log(there: Pod) -> None:
    ran = there.call("leave", "raise")
    assert (ran.code, ran.outcome) == (1, Failed("ValueError: bad luck"))
    assert 'raise ValueError("bad luck")' in ran.log


def test_sys_exit_ends_the_body_and_is_its_failure(there: Pod) -> None:
    ran = there.call("leave", "exit")
    assert (ran.code, ran.outcome) == (1, Failed("SystemExit: 3"))


def test_leaving_without_an_outcome_is_a_crash_also_with_code_0(there: Pod) -> None:
    ran = there.call("leave", "os._exit")
    assert (ran.code, ran.message) == (0, "")
    assert ran.outcome == Failed("The body's process exited with code 0 before the body returned.", "crash")


def test_neither_closed_streams_nor_threads_hold_the_outcome_up(there: Pod) -> None:
    assert there.call("leave", "close").outcome == Succeeded('"left"')


def test_what_can_never_succeed_is_final(there: Pod) -> None:
    ran = there.run("bash", {"comand": "true"})
    assert ran.code == 1
    assert (ran.outcome.reason, ran.outcome.final) == ("invalid", True)
    assert "comand" in ran.outcome.error


def test_user_code_that_cannot_be_imported_is_said_to_be_so(there: Pod) -> None:
    ran = there.run("bash", {"command": "true"}, imports=["nothing_there"])
    assert ran.outcome == Failed(
        "Module 'nothing_there' could not be imported: ModuleNotFoundError: No module named 'nothing_there'.", "config"
    )


def test_another_protocol_is_refused_with_what_to_do(there: Pod) -> None:
    ran = there.run("bash", {"command": "echo ran"}, protocol=2)
    assert (ran.code, ran.lines) == (1, [])
    assert ran.outcome == Failed(
        "The launcher writes tasks of version 2 and this image reads version 1; use an image with the launcher's halfstep.",
        "config",
    )


def test_without_a_task_it_says_who_starts_it(there: Pod) -> None:
    program = subprocess.run(
        [sys.executable, "-m", "halfstep_worker.kubernetes.body", str(there.folder / "none")],
        env=there.environment, capture_output=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert program.returncode == 1
    assert "only a launcher starts this program" in there.message.read_text()


def test_an_outcome_that_cannot_be_written_is_no_success(there: Pod) -> None:
    there.environment["HALFSTEP_TERMINATION_LOG"] = str(there.folder / "missing" / "log")
    ran = there.call("add", 1, 1)
    assert ran.code == 1
    assert "missing" in ran.log


@pytest.mark.parametrize("swallow", [False, True])
def test_a_body_that_is_told_to_end_leaves_no_outcome(there: Pod, swallow: bool) -> None:
    file = there.folder / "waits"
    program = there.start("python", {"function": "shop:wait", "args": [str(file), swallow]})
    wait_until(file.exists, what="the body's start")
    program.send_signal(signal.SIGTERM)
    ran = there.end(program)
    assert (ran.code, ran.message) == (143, "")
    assert file.read_text() == "stopped stopped"


def test_a_body_past_its_timeout_is_told_so(there: Pod) -> None:
    file = there.folder / "waits"
    program = there.start("python", {"function": "shop:wait", "args": [str(file), False]}, timeout=0.0)
    wait_until(file.exists, what="the body's start")
    program.send_signal(signal.SIGTERM)
    assert there.end(program).code == 143
    assert file.read_text() == "timeout timeout"


def test_the_timeout_counts_from_the_start_of_the_program(there: Pod) -> None:
    """Not from the body's, which is later: a launcher counts from when it sees the container run."""
    (there.folder / "source" / "slow.py").write_text("import threading; threading.Event().wait(0.5)")
    code = "from halfstep import current, task\n\n@task\ndef left(): return current().seconds_left"
    (there.folder / "source" / "late.py").write_text(code)
    ran = there.run("python", {"function": "late:left"}, imports=["slow"], timeout=600.0)
    left = float(ran.outcome.result)
    assert 300 < left < 599.5


def test_a_process_whose_age_cannot_be_right_is_taken_for_new(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from halfstep_worker.kubernetes import body; print(body._age())"  # ours is that of all the tests before
    new = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True
    )
    assert 0 < float(new.stdout) < body.SLOWEST_START
    for wrong in (0.0, 1e9):
        monkeypatch.setattr(body, "clock_gettime", lambda _, wrong=wrong: wrong)
        assert body._age() == 0.0


def test_the_source_folder_may_come_from_the_environment(there: Pod) -> None:
    there.environment["HALFSTEP_SOURCE"] = str(there.folder / "source")
    assert there.call("add", 1, 1, source=None).outcome == Succeeded("2")


def test_it_loads_no_kubernetes_library() -> None:
    code = "import sys, halfstep_worker.kubernetes.body; sys.exit('kubernetes' in sys.modules)"
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=PATIENCE, check=False).returncode == 0

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
        return self.program(file)

    def program(self, file: Path) -> subprocess.Popen[str]:
        """The program, on the task that is written there."""
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


# -- what a body does to its own process hurts nobody else, and its outcome still comes through


POLLUTERS = {
    "closed outputs": "os.close(1); os.close(2)",
    "outputs that lead nowhere": "null = os.open(os.devnull, os.O_RDWR); os.dup2(null, 1); os.dup2(null, 2)",
    "all descriptors closed": "os.closerange(0, 400)",
    "all descriptors closed, ours too": "os.closerange(3, 1000)",
    "all descriptors closed, and others in their places": (
        "os.closerange(3, 1000); kept.extend(os.open(os.devnull, os.O_RDWR) for _ in range(900))"
    ),
    "streams of its own": "sys.stdout = sys.stderr = None",
    "a broken stream": "sys.stdout = type('Broken', (), {'flush': lambda self: sys.exit(3), 'write': print})()",
    "an empty environment": "os.environ.clear()",
    "another module json": "json.dumps = json.loads = lambda *a, **k: sys.exit(3); json.JSONEncoder = json.JSONDecoder = None",
    "SIGTERM ignored": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "SIGCHLD ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "a timer": "signal.signal(signal.SIGALRM, lambda *a: sys.exit(3)); signal.setitimer(signal.ITIMER_REAL, 0.02, 0.001)",
    "a timer that kills": "signal.setitimer(signal.ITIMER_REAL, 0.02)",
    "another folder": "os.chdir('/')",
    "a folder that is gone": "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')",
    "a stack of nothing": "sys.setrecursionlimit(40)",
    "a tracer": "sys.settrace(lambda *a: None); sys.setprofile(lambda *a: None)",
    "no more descriptors": "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
    "an umask": "os.umask(0o777)",
    "another exception hook": "sys.excepthook = sys.unraisablehook = None",
    "a word of its own in the termination message": "open(LOG, 'w').write('x' * 5000)",
    "threads": "threading.Thread(target=lambda: [print('x') for _ in iter(int, 1)], daemon=True).start()",
    "a fork that comes back, too": "kept.append(os.fork()); kept[0] or time.sleep(0.3)",
}


@pytest.mark.parametrize("name", POLLUTERS)
def test_what_a_body_does_to_its_process_does_not_change_its_outcome(there: Pod, name: str) -> None:
    """It is so large that it takes both ways: the message, and the log."""
    code = f"""
import json, os, resource, signal, sys, threading, time
from halfstep import task
LOG, kept = {str(there.message)!r}, []

@task
def pollute():
    {POLLUTERS[name]}
    return "é" * 20_000
"""
    (there.folder / "source" / "polluter.py").write_text(code)
    ran = there.run("python", {"function": "polluter:pollute"})
    assert (ran.code, ran.outcome) == (0, Succeeded(json.dumps("é" * 20_000, ensure_ascii=False)))


RAISED = {
    "an exception that can't be shown": "class Odd(Exception):\n        __str__ = lambda self: sys.exit(3)\n    raise Odd",
    "SystemExit": "sys.exit(0)",
    "a timer that strikes again and again": (
        "signal.signal(signal.SIGALRM, lambda *a: sys.exit(3)); signal.setitimer(signal.ITIMER_REAL, 0.01, 0.0003)\n"
        "    while True: pass"
    ),
    "a profiler that raises": "sys.setprofile(lambda *a: sys.exit(0))",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "GeneratorExit": "raise GeneratorExit",
    "a stop of its own": "raise Stopped('mine')",
    "no end of recursion": "pollute.__wrapped__() if hasattr(pollute, '__wrapped__') else (lambda f: f(f))(lambda f: f(f))",
    "a result that is itself": "kept.append(kept); return kept",
    "a result of 5,000 digits": "return 10 ** 5000",
    "a result that is nested deep": "for _ in range(100_000): kept[:] = [list(kept)]\n    return kept",
    "a result that is infinite": "return {'a': float('inf')}",
    "a result that raises": "return type('Evil', (dict,), {'items': lambda self: sys.exit(3)})(a=1)",
    "half of a surrogate pair": "return '\\ud800'",
    "a NUL": "return 'a\\0b'",
    "a retry in 1e300 seconds": "return Retry('later', float('nan'))",
    "an outcome of odd things": "return Failed(object(), ['x'], 'yes')",
    "a success that is none": "return Succeeded('NaN,')",
}


@pytest.mark.parametrize("name", RAISED)
def test_whatever_a_body_raises_or_returns_is_a_failure_that_says_why(there: Pod, name: str) -> None:
    code = f"""
import signal, sys
from halfstep import task
from halfstep.context import Stopped
from halfstep.outcomes import Failed, Retry, Succeeded
kept = []

@task
def pollute():
    {RAISED[name]}
"""
    (there.folder / "source" / "polluter.py").write_text(code)
    ran = there.run("python", {"function": "polluter:pollute"})
    assert (ran.code, type(ran.outcome)) == (1, Failed)
    assert ran.outcome.reason != "crash"
    assert ran.outcome.error


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 5000 + "]" * 5000], ids=["digits", "depth"])
def test_args_that_this_python_cannot_read_are_invalid_for_good(there: Pod, value: str) -> None:
    written = json.dumps({"protocol": 1, "task_id": 42, "attempt": 3, "operator": "bash", "args": {"command": "HERE"}})
    file = there.folder / "task.json"
    file.write_text(written.replace('"HERE"', value))
    ran = there.end(there.program(file))
    assert (ran.code, ran.outcome.reason, ran.outcome.final) == (1, "invalid", True)
    assert "can't be read" in ran.outcome.error
    assert "Traceback" not in ran.log


def test_args_with_numbers_at_the_edge_are_read_as_they_were_written(there: Pod) -> None:
    (there.folder / "source" / "same.py").write_text("from halfstep import task\n\n@task\ndef same(value): return value\n")
    value = [10**4000, -1.5e308, 5e-324, 0.1, {"": [None, "é"]}]
    assert json.loads(there.run("python", {"function": "same:same", "args": [value]}).outcome.result) == value


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "raise KeyboardInterrupt", "import os; os.close(1); 1 / 0"])
def test_an_import_that_ends_the_program_is_an_outcome(there: Pod, code: str) -> None:
    (there.folder / "source" / "ends.py").write_text(code)
    ran = there.run("bash", {"command": "true"}, imports=["ends"])
    assert (ran.code, type(ran.outcome)) == (1, Failed)
    assert ran.outcome.reason != "crash"

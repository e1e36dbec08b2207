"""Operator `bash`, with real shells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from halfstep import context
from halfstep.context import Stopped
from halfstep.errors import InvalidTask
from halfstep_worker.operators import OperatorFailed, load
from waiting import wait_until


@pytest.fixture
def run(tmp_path):
    (tmp_path / "sub").mkdir()
    operators = load({"source": str(tmp_path)})
    return lambda command, **more: operators.run("bash", {"command": command, **more})


def test_the_result_is_the_exit_code_and_the_last_line(run, capfd):
    assert run("echo one; echo; echo two words; echo oops >&2; echo") == {"exit_code": 0, "last_line": "two words"}
    assert tuple(capfd.readouterr()) == ("one\n\ntwo words\n\n", "oops\n")


def test_without_output_the_last_line_is_empty(run):
    assert run("true") == {"exit_code": 0, "last_line": ""}


def test_a_last_line_without_an_end_of_line_counts(run):
    assert run("printf 'a\\nb'")["last_line"] == "b"


def test_a_long_line_is_cut_and_bytes_that_are_no_text_are_replaced(run, capfd):
    assert len(run("head -c 3000000 /dev/zero | tr '\\0' x")["last_line"]) == 16 * 1024
    assert run("printf '\\xff\\n'")["last_line"] == "\N{REPLACEMENT CHARACTER}"
    assert len(capfd.readouterr().out) > 3_000_000


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("exit 3", "bash exited with code 3."),
        ("kill -9 $$", "bash was killed by SIGKILL."),
        ("kill -40 $$", "bash was killed by signal 40."),
    ],
)
def test_another_end_than_0_fails_with_a_sentence(run, command, sentence):
    with pytest.raises(OperatorFailed) as caught:
        run(command)
    assert (str(caught.value), caught.value.reason) == (sentence, "exception")


TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    run()\n'


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo fine; echo bad >&2; echo; echo ' ' >&2; exit 3", "; its last line on stderr: bad"),
        ("echo one; echo only words; exit 3", "; its last line on stdout: only words"),
        ("echo; echo ' ' >&2; exit 3", "."),
        ("printf 'half a line' >&2; exit 3", "; its last line on stderr: half a line"),
        (
            "printf '\\e[1;31mred\\e[0m\\a \\0 \\xff\\n' >&2; exit 3",
            "; its last line on stderr: red    \N{REPLACEMENT CHARACTER}",
        ),
        ("printf '10%%\\r20%%\\r' >&2; exit 3", "; its last line on stderr: 20%"),
        ("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 3", f"; its last line on stderr: {'x' * 399}…"),
        ("seq 100000 >&2; exit 3", "; its last line on stderr: 100000"),
        ("echo bad >&2; kill -9 $$", "; its last line on stderr: bad"),
        (f"cat >&2 <<'E'\n{TRACEBACK}ValueError: bad\nE\nexit 3", "; its last line on stderr: ValueError: bad"),
        (
            f"cat >&2 <<'E'\n{TRACEBACK}KeyError: 1\n\nDuring that:\n\n{TRACEBACK}db.Error: no\n  of it\n(More)\nE\nexit 3",
            "; its last line on stderr: db.Error: no … (More)",
        ),
        (f"cat >&2 <<'E'\n{TRACEBACK}ValueError: old\nE\nseq 30 >&2; exit 3", "; its last line on stderr: 30"),
        ("no-such-command-here; exit 3", "; its last line on stderr: bash: line 1: no-such-command-here: command not found"),
    ],
)
def test_the_last_words_of_a_program_that_fails_stand_in_the_error(run, command, words):
    with pytest.raises(OperatorFailed) as caught:
        run(command)
    assert str(caught.value) == ("bash was killed by SIGKILL" if "kill -9" in command else "bash exited with code 3") + words


def test_it_runs_in_the_source_folder_or_below(run, tmp_path):
    assert run("pwd -P")["last_line"] == str(tmp_path.resolve())
    assert run("pwd -P", cwd="sub")["last_line"] == str(tmp_path.resolve() / "sub")


def test_without_a_source_folder_it_runs_where_the_worker_does():
    assert load({}).run("bash", {"command": "pwd -P"})["last_line"] == os.getcwd()
    with pytest.raises(InvalidTask, match="this worker has no source folder; start it with --source DIR"):
        load({}).run("bash", {"command": "pwd", "cwd": "sub"})


def test_without_a_source_folder_it_runs_where_the_worker_does_wherever_a_body_went(tmp_path, monkeypatch):
    operators, folder = load({}), os.getcwd()
    monkeypatch.chdir(tmp_path)
    assert operators.run("bash", {"command": "pwd -P"})["last_line"] == folder


def test_a_folder_that_is_gone_is_named(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    operators = load({})
    (tmp_path / "gone").rmdir()
    with pytest.raises(OperatorFailed, match=rf"could not be started in the folder {tmp_path}/gone: No such file or directory\."):
        operators.run("bash", {"command": "true"})


def test_a_working_directory_outside_is_refused(run, tmp_path):
    (tmp_path / "link").symlink_to("/tmp")
    with pytest.raises(InvalidTask, match="leads out of the source folder through a link"):
        run("pwd", cwd="link")
    with pytest.raises(InvalidTask, match="There is no folder 'none' in the source folder"):
        run("pwd", cwd="none")


def test_it_has_the_given_variables_and_knows_its_task(run):
    context.enter(task_id=12, attempt=3, deadline_seconds=None, link=None)
    try:
        assert run("echo $HALFSTEP_TASK_ID $HALFSTEP_ATTEMPT $MORE", env={"MORE": "x y"})["last_line"] == "12 3 x y"
    finally:
        context.leave()


def test_it_reads_nothing_from_the_workers_input(run):
    assert run("cat; echo end")["last_line"] == "end"


@pytest.mark.parametrize(("command", "sentence"), [("echo a\0b", "holds a NUL"), ("#" * 200_000, "longer than the system takes")])
def test_a_command_that_the_system_cannot_take_is_refused(run, command, sentence):
    with pytest.raises(InvalidTask, match=sentence):
        run(command)


def test_what_it_leaves_in_the_background_does_not_hold_it(run):
    run("sleep 60 & echo $! > pid; echo done")
    left = int((run("cat pid"))["last_line"])
    os.kill(left, signal.SIGKILL)


def test_it_stays_in_our_process_group(run):
    assert run("ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat")["last_line"].strip() == str(os.getpgid(0))


def test_output_passes_on_while_it_runs(run, tmp_path, capfd):
    os.mkfifo(tmp_path / "gate")
    seen: list[str] = []

    def watch() -> None:
        seen.append(wait_until(lambda: capfd.readouterr().out, what="the first line"))
        (tmp_path / "gate").write_text("go")

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert run("echo first; cat gate")["last_line"] == "go"
    watcher.join()
    assert seen == ["first\n"]


def test_what_it_leaves_writing_does_not_hold_it_either(run):
    with pytest.raises(OperatorFailed, match="bash exited with code 3"):
        run("yes & yes >&2 & exit 3")


IN_A_PROCESS_OF_ITS_OWN = "import sys; from halfstep_worker.operators import load; load({}).run('bash', {'command': sys.argv[1]})"


@pytest.fixture
def start():
    """Runs a command by the operator in a process of its own; its two streams are the same pipe unless told otherwise."""

    def run(command: str, **streams: int) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))}
        argv = [sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN, command]
        return subprocess.Popen(
            argv, env=env, text=True, bufsize=1, **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | streams
        )

    return run


def test_unfinished_lines_of_both_streams_pass_on_in_turn(start, tmp_path):
    words = ["out ", "err ", "out again ", "err again "]
    gates = [tmp_path / f"gate {n}" for n in range(len(words))]  # one each: a reader that is late would take the next one's word
    for gate in gates:
        os.mkfifo(gate)
    pairs = list(zip(words, gates, strict=True))
    steps = [f"printf '{word}' {'>&2' if 'err' in word else ''}; read < '{gate}'" for word, gate in pairs]
    with start("; ".join(steps)) as process:
        for word, gate in pairs:
            assert process.stdout.read(len(word)) == word
            gate.write_text("\n")


def test_what_waits_in_both_streams_passes_on_in_the_order_in_which_it_came(start, tmp_path):
    os.mkfifo(tmp_path / "gate")
    command = f"echo begun; read < {tmp_path}/gate; kill -STOP $PPID; echo first >&2; echo second; kill -CONT $PPID"
    with start(command) as process:
        assert process.stdout.readline() == "begun\n"
        (tmp_path / "gate").write_text("\n")
        assert process.stdout.read() == "first\nsecond\n"


def test_much_on_both_streams_arrives_whole(start):
    command = "for n in {1..40}; do head -c 100000 /dev/zero; head -c 100000 /dev/zero >&2; done"
    with start(command, stderr=subprocess.PIPE) as process:
        assert [len(text) for text in process.communicate(timeout=60)] == [4_000_000, 4_000_000]


def test_a_log_that_takes_nothing_holds_the_program_and_loses_nothing(start, tmp_path):
    with start(f"head -c 1000000 /dev/zero >&2; echo end; touch {tmp_path}/ended") as process:
        assert process.stdout.read(1) == "\0"
        assert not (tmp_path / "ended").exists()
        assert process.stdout.read() == "\0" * 999_999 + "end\n"


def test_a_log_that_is_gone_is_a_failure_that_says_so(start):
    with start("while echo more; do :; done", stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert "The program's output could not be passed on to the task's log: Broken pipe." in process.stderr.read()


def test_a_stop_ends_it_by_term_and_its_last_words_are_kept(run, capfd):
    def stop(*_: object) -> None:
        raise Stopped("timeout")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Stopped):
            run("trap 'echo cleaned up; exit 1' TERM; kill -TERM $PPID; sleep 60 & wait")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "cleaned up" in capfd.readouterr().out


def test_it_dies_with_its_parent(tmp_path):
    code = "from halfstep_worker.operators import load; load({}).run('bash', {'command': 'echo $$; while :; do sleep 60; done'})"
    env = {"PYTHONPATH": ":".join(sys.path), "PATH": os.environ["PATH"]}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) as parent:
        bash = int(parent.stdout.readline())
        parent.kill()
    wait_until(lambda: not _alive(bash), what="the end of bash")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False

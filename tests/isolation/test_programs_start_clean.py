"""Whatever bodies have made of their process, a program that it starts finds what it would find in a new one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from isolation.polluted_process import POLLUTIONS

BASH = r"""
env | sort
umask; pwd -P; ulimit -S -a; ulimit -H -a; nice
grep -E '^(Sig(Blk|Ign|Cgt)|ShdPnd|Cpus_allowed|Uid|Gid|Groups|NoNewPrivs):' /proc/self/status
for n in {0..300}; do [ -e /proc/$$/fd/$n ] && echo "descriptor $n"; done
readlink /proc/$$/fd/0
[ "$(cut -d' ' -f5 /proc/$$/stat)" = $PPID ] && echo "in its parent's group"
echo seen >&2
"""
PYTHON = """
import json, os, resource, sys
names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
status = [line.split() for line in open("/proc/self/status")]
print(json.dumps({
    "environment": dict(os.environ), "umask": os.umask(0), "folder": os.getcwd(), "nice": os.nice(0),
    "scheduler": os.sched_getscheduler(0),
    "limits": {name: resource.getrlimit(getattr(resource, name)) for name in names},
    "status": [words for words in status if words[0][:3] in ("Sig", "Shd", "Uid", "Gid", "Gro", "Cpu") and words[0] != "SigQ:"],
    "descriptors": [fd for fd in range(1000) if os.path.exists(f"/proc/self/fd/{fd}")], "input": os.readlink("/proc/self/fd/0"),
    "group": os.getpgid(0) == os.getppid(),
}))
print("seen", file=sys.stderr)
"""
RIGHT: dict[str, Any] = {
    "exit 0": {"exit_code": 0, "last_line": ""},
    "exit 3": "bash exited with code 3.",
    "exit 3 of .sh": "bash exited with code 3.",
    "exit 3 of .py": "python exited with code 3.",
}
TABLE = list(POLLUTIONS)[1 : list(POLLUTIONS).index("a_thread_left_running") + 1]


@dataclass(frozen=True)
class Seen:
    """What the witnesses saw, and how each ended."""

    out: str
    err: str
    ended: dict[str, Any]


@pytest.fixture(scope="module")
def source() -> Iterator[Path]:
    """The folder of the witnesses, which everybody can read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="module")
def after(source: Path) -> Iterator[Callable[[str], Seen]]:
    """Runs the witnesses in a process of its own, after a pollution. It leads its group, as a child of the worker does."""
    for name, text in {"witness.sh": BASH, "witness.py": PYTHON, "fails.sh": "exit 3", "fails.py": "raise SystemExit(3)"}.items():
        (source / name).write_text(text)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    near, far = socket.socketpair()
    with (
        near,
        subprocess.Popen(
            [sys.executable, "-m", "isolation.polluted_process", str(source), str(far.fileno())],
            env=environment,
            cwd=source.parent,
            pass_fds=(far.fileno(),),
            process_group=0,
            stdin=subprocess.DEVNULL,
        ),
    ):
        far.close()
        yield lambda pollution: _seen(near, pollution)
        near.close()


def _seen(requests: socket.socket, pollution: str) -> Seen:
    pipes = [os.pipe() for _ in range(3)]
    socket.send_fds(requests, [pollution.encode()], [far for _, far in pipes])
    for _, far in pipes:
        os.close(far)
    out, err, report = (_read(near) for near, _ in pipes)
    return Seen(out, err, json.loads(report or "{}"))


def _read(descriptor: int) -> str:
    with open(descriptor) as file:
        return file.read()


@pytest.fixture(scope="module")
def clean(after: Callable[[str], Seen]) -> Seen:
    return after("nothing")


def test_in_a_clean_process_the_witnesses_see_what_they_look_for(clean: Seen) -> None:
    assert clean.err == "seen\n" * 3
    assert clean.out.count("SigBlk:\t0000000000000000") == clean.out.count("in its parent's group") == 2
    assert {word for word in ("PATH=", "OWN=1", "nofile", "open files", "descriptor 0") if word in clean.out} >= {
        "PATH=",
        "OWN=1",
    }
    assert "descriptor 3" not in clean.out
    assert "HALFSTEP_TEST" not in clean.out
    assert RIGHT.items() <= clean.ended.items()


def test_the_table_is_no_small_one() -> None:
    assert len(TABLE) >= 40


@pytest.mark.parametrize("pollution", TABLE)
def test_after_a_body_like_this_a_program_starts_as_in_a_new_process(
    pollution: str, after: Callable[[str], Seen], clean: Seen
) -> None:
    seen = after(pollution)
    assert seen.out == clean.out
    assert seen.err == clean.err
    assert seen.ended == clean.ended


LOST = "bash has ended, but how it ended is not known: other code in its process collected its exit code."


def test_an_exit_code_that_nobody_knows_is_a_failure(after: Callable[[str], Seen]) -> None:
    assert after("a_thread_keeps_child_signal_ignored").ended["lost"] == LOST


def test_an_exit_code_that_a_thread_may_have_collected_is_never_a_wrong_one(after: Callable[[str], Seen]) -> None:
    ended = after("a_thread_collects_whatever_ends").ended
    assert all(ended[title] in (RIGHT[title], LOST.replace("bash", RIGHT[title].split()[0])) for title in list(RIGHT)[1:])
    assert ended["exit 0"] in (RIGHT["exit 0"], LOST)


@pytest.mark.parametrize("pollution", ["output_closed", "error_output_closed"])
def test_output_that_nobody_takes_is_a_failure_that_says_so(pollution: str, after: Callable[[str], Seen]) -> None:
    ended = after(pollution).ended
    assert str(ended["bash"]).startswith("The program's output could not be passed on to the task's log: ")
    assert {title: ended[title] for title in RIGHT} == RIGHT


def test_a_hard_limit_that_can_not_be_raised_again_stops_no_program(after: Callable[[str], Seen]) -> None:
    assert RIGHT.items() <= after("hard_limit_lowered").ended.items()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_no_program_runs_as_another_user_than_the_worker(after: Callable[[str], Seen]) -> None:
    ended = after("another_user_for_good").ended
    assert ended.keys() >= RIGHT.keys()
    gave_up = "could not be started as the worker's user: an earlier body in its process gave that up for good."
    assert {str(how).partition(" ")[2] for how in ended.values()} == {gave_up}

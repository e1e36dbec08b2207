"""Programs of a worker's real children, and of the body in a pod, after bodies and imports that change their process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from halfstep.outcomes import Failed, Succeeded
from worker.children_support import Work, at_work  # noqa: TID251

MEMORY = 2**30
USERS = """
import contextlib, os, resource, signal
from halfstep import task

os.environ["LATE"] = "x"
os.umask(0o077)
os.chdir("/")
signal.signal(signal.SIGHUP, signal.SIG_IGN)

@task
def raise_limits():
    resource.setrlimit(resource.RLIMIT_DATA, (resource.getrlimit(resource.RLIMIT_DATA)[1],) * 2)

@task
def lower_limits():
    resource.setrlimit(resource.RLIMIT_DATA, (2**29, resource.getrlimit(resource.RLIMIT_DATA)[1]))

@task
def leave_group():
    with contextlib.suppress(PermissionError):
        os.setpgid(0, os.getppid())

@task
def ignore_children():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)

@task
def change_variables():
    os.environ |= {"PATH": "/nowhere", "HALFSTEP_DATABASE_URL": "postgresql://here"}
"""
LOOK = r"""
[ "$(cut -d' ' -f5 /proc/$$/stat)" = $PPID ] && group="in the child's group"
echo "${LATE-nothing} ${HALFSTEP_DATABASE_URL-no url} $(umask) $(pwd) $(ulimit -d) $group"
grep SigIgn /proc/self/status >&2
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = (tmp_path / "source").resolve()
    folder.mkdir()
    (folder / "users.py").write_text(USERS)
    return folder


@pytest.fixture
def children(source: Path) -> Callable[[], AbstractContextManager[Work]]:
    """One child with user code that was imported before it was forked."""
    settings = {"source": str(source), "imports": ["users"]}
    return partial(at_work, loader="halfstep_worker.operators:load", loader_settings=settings, memory_bytes=MEMORY)


def _ignored(line: str) -> int:
    """The mask of ignored signals but 32 and 33: those are the C library's own, and make ignores them for all that it starts."""
    return int(line.split()[1], 16) & ~(0b11 << 31)


def look(work: Work) -> Any:
    """What a program sees, and that it is told of no ignored signal."""
    key = object()
    work.send(key, "bash", command=LOOK)
    (outcome,) = work.ends(key)
    (ignored,) = work.lines(key, "stderr")
    assert _ignored(ignored) == 0
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.result or "null")["last_line"]


def seen(source: Path) -> str:
    """What a program of a new child sees."""
    return f"nothing no url {_umask():04o} {source} {MEMORY // 1024} in the child's group"


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def test_what_user_code_changes_when_it_is_imported_reaches_no_program(
    children: Callable[[], AbstractContextManager[Work]], source: Path
) -> None:
    with children() as work:
        assert look(work) == seen(source)


@pytest.mark.parametrize("body", ["raise_limits", "lower_limits", "leave_group", "ignore_children", "change_variables"])
def test_what_a_body_changes_reaches_no_program(
    body: str, children: Callable[[], AbstractContextManager[Work]], source: Path
) -> None:
    with children() as work:
        assert isinstance(work.run("python", function=f"users:{body}"), Succeeded)
        assert look(work) == seen(source)
        assert work.run("bash", command="echo why >&2; exit 3") == Failed(
            "bash exited with code 3; its last line on stderr: why", reason="exception"
        )


def test_in_a_pod_a_program_starts_as_the_pod_did(source: Path, tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text(
        json.dumps(
            {"protocol": 1, "task_id": 42, "attempt": 3, "operator": "bash", "args": {"command": f"{LOOK}\nenv >&2"}}
            | {"timeout": 60.0, "source": str(source), "imports": ["users"]}
        )
    )
    ours = {"HALFSTEP_CONNECTION_SHOP": "postgresql://shop", "HALFSTEP_TERMINATION_LOG": str(tmp_path / "end")}
    ran = subprocess.run(
        [sys.executable, "-m", "halfstep_worker.kubernetes.body", str(tmp_path / "task.json")],
        env={**os.environ, **ours, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=tmp_path,
        process_group=0,
        capture_output=True,
        text=True,
        timeout=60,
    )
    first, *variables = ran.stderr.splitlines()
    assert (ran.returncode, _ignored(first)) == (0, 0)
    assert ran.stdout.startswith(f"nothing no url {_umask():04o} {source} ")
    assert ran.stdout.endswith(" in the child's group\n")
    assert {line for line in variables if line.startswith("HALFSTEP_")} == {"HALFSTEP_TASK_ID=42", "HALFSTEP_ATTEMPT=3"}

"""What the tests of the embedded server look at and use."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from halfstep_cli.embedded.folder import Folder
from halfstep_cli.embedded.leftovers import processes_in
from halfstep_cli.embedded.locks import is_free
from waiting import PATIENCE, wait_until

USER_PROGRAM = Path(__file__).with_name("server_user.py")
needs_root = "only root has to become somebody else to run PostgreSQL"


def ask(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of one statement on a connection of its own."""
    with closing(psycopg2.connect(url, connect_timeout=int(PATIENCE))) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def remember(url: str) -> int:
    """Commit a number of which nobody knows, to be recalled later."""
    number = secrets.randbelow(2**31)
    ask(url, "CREATE TABLE IF NOT EXISTS remembered (number int)")
    ask(url, "INSERT INTO remembered VALUES (%s)", number)
    return number


def recalls(url: str, number: int) -> bool:
    """Whether the database still has it."""
    return ask(url, "SELECT count(*) FROM remembered WHERE number = %s", number) == [(1,)]


def data_of(data_dir: Path) -> Path:
    """Where the server's own folder lies."""
    location = Folder(data_dir).location
    return Path(location.read_text().strip()) / "postgres" if location.exists() else data_dir / "postgres"


def server_processes(data_dir: Path) -> list[int]:
    """The PIDs of postgres for this folder."""
    data = data_of(data_dir)
    return processes_in(data) if data.exists() else []


def supervisors(data_dir: Path) -> list[int]:
    """The PIDs of supervisors for this folder; zombies do not count."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _supervises(pid, data_dir)]


def postmaster(data_dir: Path) -> int:
    """The PID of the server's main process, a child of the supervisor."""
    (boss,) = supervisors(data_dir)
    (child,) = [pid for pid in server_processes(data_dir) if parent(pid) == boss]
    return child


def parent(pid: int) -> int:
    """The PID of the parent, or 0 if the process has just ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def nothing_runs(data_dir: Path) -> bool:
    """Neither a supervisor nor a server; also none that is just going."""
    lock = Folder(data_dir).supervisor_lock
    return not supervisors(data_dir) and not server_processes(data_dir) and (not lock.exists() or is_free(lock))


def wait_until_nothing_runs(data_dir: Path) -> None:
    wait_until(lambda: nothing_runs(data_dir), what=f"the end of the server of {data_dir}")


@contextmanager
def user(data_dir: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the server; killed in the end if it still runs."""
    program = start_user(data_dir, *arguments)
    try:
        yield program
    finally:
        program.kill()
        program.communicate(timeout=PATIENCE)


def start_user(data_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(USER_PROGRAM), str(data_dir), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def line_of(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


def leave(program: subprocess.Popen[str]) -> None:
    """Let the user's `with` end, and wait for its exit."""
    program.communicate(timeout=PATIENCE)
    assert program.returncode == 0


def refused(attempt: Callable[[], object]) -> str:
    """The sentence with which PostgreSQL refuses a login."""
    try:
        attempt()
    except psycopg2.OperationalError as error:
        return str(error)
    raise AssertionError("the login was accepted")


def _supervises(pid: int, data_dir: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"halfstep_cli.embedded.supervisor" in words and os.fsencode(data_dir.resolve()) in words

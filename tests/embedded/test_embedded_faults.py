"""What is killed or broken in the embedded server, and that the next start mends it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embedded.observation import (
    ask,
    data_of,
    line_of,
    postmaster,
    recalls,
    remember,
    server_processes,
    supervisors,
    user,
    wait_until_nothing_runs,
)
from halfstep.errors import DatabaseUnavailable
from halfstep_cli.embedded import EmbeddedServer
from halfstep_cli.embedded.accounts import Account, server_account, spawn
from halfstep_cli.embedded.folder import Folder
from halfstep_cli.embedded.locks import is_free
from waiting import PATIENCE, wait_until


def test_the_server_of_a_killed_user_stops_and_starts_again(open_folder: Path) -> None:
    with user(open_folder) as program:
        number = remember(line_of(program))
        program.kill()
        wait_until_nothing_runs(open_folder)
    assert not (open_folder / "url").exists()
    with EmbeddedServer(open_folder) as server:
        assert recalls(server.url, number)


def test_a_killed_supervisor_takes_the_server_along_and_the_next_start_mends_it(any_folder: Path) -> None:
    with EmbeddedServer(any_folder) as first:
        number = remember(first.url)
        kill_supervisor(any_folder)
        with EmbeddedServer(any_folder) as second:
            assert recalls(second.url, number)
            assert recalls(first.url, number)


def test_a_server_whose_supervisor_was_killed_stops_without_help(open_folder: Path) -> None:
    with EmbeddedServer(open_folder):
        kill_supervisor(open_folder)
        wait_until_nothing_runs(open_folder)


def test_a_killed_postmaster_ends_the_supervisor_and_the_next_start_mends_it(open_folder: Path) -> None:
    with EmbeddedServer(open_folder) as first:
        number = remember(first.url)
        os.kill(postmaster(open_folder), signal.SIGKILL)
        wait_until(lambda: not supervisors(open_folder) or not (open_folder / "url").exists(), what="the end of the supervisor")
        with EmbeddedServer(open_folder) as second:
            assert recalls(second.url, number)


def test_a_server_that_was_killed_with_its_supervisor_is_recovered(open_folder: Path) -> None:
    with user(open_folder) as program:
        number = remember(line_of(program))
        server = postmaster(open_folder)
        kill_supervisor(open_folder)
        os.kill(server, signal.SIGKILL)
        program.kill()
    assert (open_folder / "url").exists()
    with EmbeddedServer(open_folder) as server:
        assert recalls(server.url, number)


def test_a_server_that_outlived_its_supervisor_is_ended_first(open_folder: Path) -> None:
    """As if the kernel had not told it: here it is stopped while the supervisor dies, and goes on later."""
    with EmbeddedServer(open_folder) as first:
        old = postmaster(open_folder)
        os.kill(old, signal.SIGSTOP)
        kill_supervisor(open_folder)
        os.kill(old, signal.SIGCONT)
        first.stop()
        with EmbeddedServer(open_folder) as second:
            assert ask(second.url, "SELECT 1") == [(1,)]
            assert old not in server_processes(open_folder)


@pytest.mark.parametrize("text", ["{stranger}", "", "rubbish"], ids=["a stranger's pid", "empty", "rubbish"])
def test_a_stale_pid_file_confuses_nobody(open_folder: Path, text: str) -> None:
    with EmbeddedServer(open_folder):
        pid_file = data_of(open_folder) / "postmaster.pid"
        rest = pid_file.read_text().splitlines()[1:]
    account = server_account(data_of(open_folder))
    with stranger(account) as program:
        first_line = text.format(stranger=program.pid)
        pid_file.write_text("\n".join([first_line, *rest, ""]) if first_line else "")
        os.chown(pid_file, account.uid, account.gid)
        with EmbeddedServer(open_folder) as server:
            assert ask(server.url, "SELECT 1") == [(1,)]
        assert program.poll() is None


def test_a_supervisor_that_is_told_to_stop_stops_the_server_cleanly(open_folder: Path) -> None:
    with EmbeddedServer(open_folder):
        os.kill(supervisors(open_folder)[0], signal.SIGTERM)
        wait_until_nothing_runs(open_folder)
    assert "database system is shut down" in (open_folder / "postgres.log").read_text()


def test_a_start_that_fails_says_why_and_can_be_repeated(open_folder: Path) -> None:
    with EmbeddedServer(open_folder):
        settings = data_of(open_folder) / "postgresql.conf"
    good = settings.read_text()
    settings.write_text(good + "\nwal_level = rubbish\n")
    with pytest.raises(DatabaseUnavailable, match=r"FATAL: .*contains errors"):
        EmbeddedServer(open_folder).start()
    wait_until_nothing_runs(open_folder)
    settings.write_text(good)
    with EmbeddedServer(open_folder) as server:
        assert ask(server.url, "SELECT 1") == [(1,)]


def test_an_unfinished_database_is_made_anew(new_folder: Path) -> None:
    (new_folder / "postgres.new-0123").mkdir(parents=True)
    (new_folder / "postgres.new-0123" / "PG_VERSION").write_text("18\n")
    new_folder.chmod(0o711)
    with EmbeddedServer(new_folder) as server:
        assert ask(server.url, "SELECT 1") == [(1,)]
    assert not list(new_folder.glob("postgres.new-*"))


def test_data_whose_passwords_are_lost_is_not_replaced(open_folder: Path) -> None:
    with EmbeddedServer(open_folder):
        pass
    kept = (open_folder / "access.json").rename(open_folder / "hidden")
    with pytest.raises(DatabaseUnavailable, match=r"access\.json.* is missing; restore it"):
        EmbeddedServer(open_folder).start()
    kept.rename(open_folder / "access.json")
    with EmbeddedServer(open_folder) as server:
        assert ask(server.url, "SELECT 1") == [(1,)]


def test_a_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseUnavailable, match=r"file cannot be used: File exists"):
        EmbeddedServer(tmp_path / "file").start()


def test_a_log_that_grew_large_starts_anew(open_folder: Path) -> None:
    with (open_folder / "postgres.log").open("wb") as log:
        log.truncate(9 * 1024 * 1024)
    with EmbeddedServer(open_folder):
        assert (open_folder / "postgres.log").stat().st_size < 1024 * 1024


def kill_supervisor(data_dir: Path) -> None:
    """Kill it and wait until the kernel has given back its lock: until then it counts as alive to everybody."""
    os.kill(supervisors(data_dir)[0], signal.SIGKILL)
    wait_until(lambda: is_free(Folder(data_dir).supervisor_lock), what="the end of the supervisor")


@contextmanager
def stranger(account: Account) -> Iterator[subprocess.Popen[bytes]]:
    """A living process of the server's user that is no server."""
    program = spawn(account, ["tail", "-f", "/dev/null"], output=subprocess.DEVNULL)
    try:
        yield program
    finally:
        program.kill()
        program.wait(PATIENCE)

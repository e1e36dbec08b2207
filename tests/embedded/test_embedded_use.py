"""What a user of the embedded server may rely on while nothing goes wrong."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest

from embedded.observation import (
    ask,
    data_of,
    leave,
    line_of,
    nothing_runs,
    parent,
    postmaster,
    recalls,
    refused,
    remember,
    start_user,
    supervisors,
    user,
    wait_until_nothing_runs,
)
from halfstep.errors import DatabaseUnavailable
from halfstep_cli.embedded import EmbeddedServer, discard
from waiting import PATIENCE


@pytest.fixture(scope="module")
def server(ready_made: Path) -> Iterator[EmbeddedServer]:
    """For tests that only look; in a folder of its own, as the others wait for an end."""
    with EmbeddedServer(ready_made.with_name("looked-at")) as running:
        yield running
    discard(ready_made.with_name("looked-at"))


def test_data_and_url_are_kept_between_runs(any_folder: Path) -> None:
    with EmbeddedServer(any_folder) as server:
        number = remember(server.url)
        first = server.url
    with EmbeddedServer(any_folder) as server:
        assert recalls(server.url, number)
        assert server.url == first


def test_stop_returns_when_the_server_is_gone_and_may_be_repeated(open_folder: Path) -> None:
    server = EmbeddedServer(open_folder)
    server.stop()
    server.start()
    server.start()
    url = server.url
    children = [pid for pid in supervisors(open_folder) if parent(pid) == os.getpid()]
    server.stop()
    assert nothing_runs(open_folder)
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)  # not even as a zombie
    assert "refused" in refused(lambda: ask(url, "SELECT 1"))
    server.stop()
    with pytest.raises(DatabaseUnavailable, match="not started"):
        _ = server.url


def test_the_url_file_promises_a_login_and_is_private(open_folder: Path) -> None:
    with EmbeddedServer(open_folder) as server:
        promised = open_folder / "url"
        assert promised.read_text().strip() == server.url
        assert ask(promised.read_text().strip(), "SELECT 1") == [(1,)]
        for name in ("url", "access.json", "postgres.log"):
            assert stat.S_IMODE((open_folder / name).stat().st_mode) == 0o600
        assert stat.S_IMODE(data_of(open_folder).stat().st_mode) == 0o700
    assert not promised.exists()


def test_nobody_is_promised_what_is_not_prepared_yet(open_folder: Path) -> None:
    seen: list[object] = []

    def prepare(url: str) -> None:
        seen.append((open_folder / "url").exists())
        seen.append(ask(url, "SELECT 1"))

    with EmbeddedServer(open_folder, prepare=prepare) as server:
        assert seen == [False, [(1,)]]
        assert (open_folder / "url").read_text().strip() == server.url
        with EmbeddedServer(open_folder, prepare=prepare):
            assert seen[2:] == [True, [(1,)]], "of the first user's"


def test_what_cannot_be_prepared_is_never_promised_and_leaves_nothing_running(open_folder: Path) -> None:
    def prepare(_: str) -> None:
        raise DatabaseUnavailable("It is of no use.")

    with pytest.raises(DatabaseUnavailable, match="of no use"):
        EmbeddedServer(open_folder, prepare=prepare).start()
    assert not (open_folder / "url").exists()
    assert nothing_runs(open_folder)


def test_a_stale_url_is_replaced_by_one_that_works(open_folder: Path) -> None:
    (open_folder / "url").write_text("postgresql://halfstep:old@127.0.0.1:1/halfstep\n")
    with EmbeddedServer(open_folder) as server:
        assert (open_folder / "url").read_text().strip() == server.url
        assert ask(server.url, "SELECT 1") == [(1,)]


def test_another_port_is_found_when_the_last_one_is_taken(open_folder: Path) -> None:
    with EmbeddedServer(open_folder) as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        with EmbeddedServer(open_folder) as server:
            assert f":{port}/" not in server.url
            assert ask(server.url, "SELECT 1") == [(1,)]


def test_nobody_gets_in_without_the_right_password(server: EmbeddedServer) -> None:
    for role in ("halfstep", "postgres"):
        wrong = psycopg2.extensions.make_dsn(server.url, user=role, password="wrong")
        assert "password authentication failed" in refused(lambda wrong=wrong: ask(wrong, "SELECT 1"))
    assert ask(server.admin_url, "SELECT DISTINCT auth_method FROM pg_hba_file_rules") == [("scram-sha-256",)]
    assert ask(server.url, "SHOW listen_addresses") == [("127.0.0.1",)]
    assert ask(server.admin_url, "SHOW unix_socket_directories") == [("",)]


def test_the_role_of_the_url_owns_its_database_and_is_no_superuser(server: EmbeddedServer) -> None:
    owner = "SELECT rolsuper, datname FROM pg_roles JOIN pg_database ON datdba = pg_roles.oid WHERE rolname = current_user"
    assert ask(server.url, owner) == [(False, "halfstep")]
    assert ask(server.admin_url, "SHOW is_superuser") == [("on",)]


def test_the_server_is_set_up_for_durable_writes(server: EmbeddedServer) -> None:
    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "autovacuum": "on",
        "jit": "off",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
        "data_checksums": "on",
    }
    assert {name: ask(server.url, f"SHOW {name}")[0][0] for name in expected} == expected


def test_the_server_sees_nothing_of_our_environment(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFSTEP_CONNECTION_BANK", "secret")
    with EmbeddedServer(open_folder):
        for pid in (postmaster(open_folder), *supervisors(open_folder)):
            with suppress(PermissionError):  # the supervisor shows its environment to nobody but root
                assert b"HALFSTEP" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_settings_for_other_servers_do_not_matter(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "require")
    assert ask(server.url, "SELECT 1") == [(1,)]


def test_users_that_start_at_once_share_one_server_until_the_last_has_left(any_folder: Path) -> None:
    users = [start_user(any_folder) for _ in range(4)]
    urls = [line_of(program) for program in users]
    assert len(set(urls)) == 1
    assert len(supervisors(any_folder)) == 1
    for program in users[:3]:
        leave(program)
        assert ask(urls[0], "SELECT 1") == [(1,)]
    leave(users[3])
    assert nothing_runs(any_folder)


def test_users_that_come_and_go_always_find_a_server(open_folder: Path) -> None:
    """The last one leaves while the next one comes, again and again."""
    for _ in range(4):
        users = [start_user(open_folder) for _ in range(2)]
        for program in users:
            with EmbeddedServer(open_folder) as server:
                assert ask(server.url, "SELECT 1") == [(1,)]
            assert line_of(program).startswith("postgresql://")
        for program in users:
            assert program.stdin is not None
            program.stdin.close()  # both leave at once; nobody waits for them here
        with EmbeddedServer(open_folder) as server:
            assert ask(server.url, "SELECT 1") == [(1,)]
        assert [program.wait(PATIENCE) for program in users] == [0, 0]


def test_a_forked_child_does_not_keep_the_server_alive(open_folder: Path) -> None:
    with user(open_folder, "fork") as program:
        line_of(program)
        child = int(line_of(program))
        program.kill()
        program.wait(PATIENCE)
        wait_until_nothing_runs(open_folder)
        os.kill(child, 0)  # still there


def test_discard_deletes_the_database_wherever_it_lies_but_not_a_running_one(any_folder: Path) -> None:
    with EmbeddedServer(any_folder):
        data = data_of(any_folder)
        with pytest.raises(DatabaseUnavailable, match="stop it first"):
            discard(any_folder)
    discard(any_folder)
    assert not data.exists()
    assert not any_folder.exists()

"""One PostgreSQL server as our child: made, started, asked whether it answers, stopped."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from halfstep.errors import DatabaseUnavailable
from halfstep_cli.embedded.accounts import Account, spawn
from halfstep_cli.embedded.binaries import Binaries
from halfstep_cli.embedded.folder import DATABASE, HOST, OWNER, SUPERUSER, Access
from halfstep_cli.embedded.leftovers import STAGES

LOG_LIMIT = 8 * 1024 * 1024
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "autovacuum": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] ",
    "cluster_name": "halfstep",
}


@dataclass(frozen=True, slots=True)
class Site:
    """What a server is made of."""

    binaries: Binaries
    data: Path
    account: Account
    log: Path


@dataclass(slots=True)
class Postgres:
    """A running server: our own child in the foreground, so that it is ours to reap."""

    site: Site
    child: subprocess.Popen[bytes]
    log_start: int

    @property
    def has_ended(self) -> bool:
        """Whether it is gone (and reaped)."""
        return self.child.poll() is not None

    @property
    def port_was_taken(self) -> bool:
        """Whether it ended because somebody else listens on its port."""
        return self.has_ended and "could not bind IPv4 address" in _text(self.site.log, self.log_start)

    @property
    def last_words(self) -> str:
        """The line of the log that most likely says why it ended."""
        return _reason(_text(self.site.log, self.log_start))

    def stop(self) -> None:
        """End it and wait: cleanly if it can in 10 s, else without a checkpoint (the next start recovers), else by force."""
        for sign, patience in STAGES:
            if self.has_ended:
                return
            self.child.send_signal(sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(patience)


def initialise(site: Site, access: Access) -> None:
    """Make an empty database cluster with the superuser's password; all of it or nothing. Raises DatabaseUnavailable."""
    for leftover in site.data.parent.glob("postgres.new-*"):
        shutil.rmtree(leftover)
    draft = site.data.with_name(f"postgres.new-{secrets.token_hex(4)}")
    draft.mkdir(0o700)
    password_file = draft.with_name(f"{draft.name}.password")
    try:
        for path in (draft, _password_file(password_file, access.superuser_password)):
            os.chown(path, site.account.uid, site.account.gid, follow_symlinks=False)
        _run_initdb(site, draft, password_file)
    finally:
        password_file.unlink()
    draft.rename(site.data)


def start(site: Site, port: int) -> Postgres:
    """Start the server on that port; it may take a while until it answers."""
    settings: list[str] = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    command: list[str | Path] = [site.binaries.postgres, "-D", site.data, "-p", str(port), *settings]
    with open_log(site.log) as log:
        start_of_log = os.fstat(log.fileno()).st_size
        child = spawn(site.account, command, output=log.fileno(), death=signal.SIGINT)
    return Postgres(site, child, start_of_log)


def answers(url: str) -> bool:
    """Whether one can log in and run a statement."""
    try:
        with contextlib.closing(psycopg2.connect(url, connect_timeout=5)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.OperationalError:
        return False
    return True


def settle(access: Access) -> None:
    """See to it that the owner's role and database exist, with the password we know. As the superuser; may be repeated."""
    owner, database = sql.Identifier(OWNER), sql.Identifier(DATABASE)
    with contextlib.closing(psycopg2.connect(access.admin_url, connect_timeout=5)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = %s", (OWNER,))
        if not cursor.fetchone():
            # CREATEROLE for `halfstep grant`: since PostgreSQL 16 it reaches only the roles it made.
            create = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER CREATEROLE PASSWORD %s").format(owner)
            # The password itself is never told: a statement's text stays in the server's memory, and may be logged.
            told = encrypt_password(access.owner_password, OWNER, scope=connection, algorithm="scram-sha-256")
            cursor.execute(create, (told,))
        cursor.execute("SELECT datname FROM pg_database WHERE datname = %s", (DATABASE,))
        if not cursor.fetchone():
            cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))


def open_log(path: Path) -> BinaryIO:
    """The log, to append to; emptied first when it has grown over 8 MiB."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.fstat(descriptor).st_size > LOG_LIMIT:
        os.ftruncate(descriptor, 0)
    return open(descriptor, "ab")


def _run_initdb(site: Site, target: Path, password_file: Path) -> None:
    command: list[str | Path] = [
        site.binaries.initdb,
        "-D",
        target,
        f"--username={SUPERUSER}",
        "--auth=scram-sha-256",
        f"--pwfile={password_file}",
        "--encoding=UTF8",
        "--locale=C",
        "--data-checksums",
    ]
    with open_log(site.log) as log:
        begin = os.fstat(log.fileno()).st_size
        status = spawn(site.account, command, output=log.fileno()).wait()
    if status != 0:
        shutil.rmtree(target, ignore_errors=True)
        raise DatabaseUnavailable(f"A new database could not be made: {_reason(_text(site.log, begin))} (more in {site.log})")


def _password_file(path: Path, password: str) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w") as file:
        file.write(password + "\n")
    return path


def _text(log: Path, begin: int) -> str:
    with log.open("rb") as file:
        file.seek(begin)
        return file.read().decode(errors="replace")


def _reason(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "error:", "could not"))]
    return (telling or lines or ["it said nothing"])[-1]

"""PgBouncer in transaction mode in front of a server, set up as our component sets it up: for tests, on loopback."""

from __future__ import annotations

import atexit
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg2

from halfstep.database import Database
from halfstep.errors import DatabaseUnavailable, LoginRefused
from ports import free_port
from waiting import PATIENCE, wait_until

SETTINGS = """
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
logfile = {folder}/pgbouncer.log
pidfile =
pool_mode = transaction
max_client_conn = 1000
default_pool_size = {size}
reserve_pool_size = 5
query_wait_timeout = 15
server_login_retry = 1
server_tls_sslmode = disable
admin_users = operator
"""
MISSING = "PgBouncer is not installed; on Debian: apt-get install pgbouncer"


def program() -> str | None:
    """Where PgBouncer is, if it is."""
    return shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


_running: list[PgBouncer] = []
_shared: dict[int, PgBouncer] = {}  # by the port of the server; ended with this process


def pooled(database_url: str) -> str:
    """The same database through a pooler, which all tests of this process share. A URL of a pooler stays what it is."""
    port = urlsplit(database_url).port or 5432
    if any(pooler.port == port for pooler in _running):
        return database_url
    if port not in _shared:
        _shared[port] = PgBouncer(database_url).__enter__()
        atexit.register(_shared[port].__exit__, None, None, None)
    return _shared[port].url(database_url)


def reconnect(database_url: str) -> None:
    """Tells the pooler that tests share, if they use one, what its operator has to tell it after a failover."""
    pooler = _shared.get(urlsplit(database_url).port or 5432)
    if pooler is not None:
        pooler.reconnect()


class PgBouncer:
    """A pooler in front of the server of a URL, for all its databases and the roles that are let in. Usable as a context.

    size: its connections to the server for each database and role.
    """

    def __init__(self, server_url: str, *, size: int = 20) -> None:
        self._server = urlsplit(server_url)
        self._size = size
        self._folder = Path(tempfile.mkdtemp(prefix="halfstep-pgbouncer-"))
        self._child: subprocess.Popen[bytes] | None = None
        self._users = {"operator": secrets.token_hex(12)}
        self.port = 0

    @property
    def log(self) -> str:
        """What it says."""
        file = self._folder / "pgbouncer.log"
        return file.read_text() if file.exists() else ""

    def __enter__(self) -> PgBouncer:
        os.chmod(self._folder, 0o700)
        if os.geteuid() == 0:  # it refuses to be root
            os.chown(self._folder, self._account.pw_uid, self._account.pw_gid)
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Starts it, on the same port as before; returns when it takes connections."""
        self.port = self.port or free_port()
        place = {"host": self._server.hostname or "127.0.0.1", "port": self._server.port or 5432, "own_port": self.port}
        self._write("pgbouncer.ini", SETTINGS.format(folder=self._folder, size=self._size, **place))
        self._write_users()
        user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        self._child = subprocess.Popen(
            [str(program()), "-q", str(self._folder / "pgbouncer.ini")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **user,
        )  # fmt: skip
        wait_until(self._listens, what="PgBouncer to take connections")
        _running.append(self)

    def stop(self) -> None:
        """Ends it at once, and all connections through it."""
        child, self._child = self._child, None
        if self in _running:
            _running.remove(self)
        if child is not None and child.poll() is None:
            child.kill()
            child.wait(timeout=PATIENCE)

    def reconnect(self) -> None:
        """Its connections to the server are made anew, each when it is free."""
        with closing(self._console("operator")) as console:
            console.autocommit = True
            console.cursor().execute("RECONNECT")

    def url(self, database_url: str) -> str:
        """The same database as the same role, through the pooler. The role's settings take the place of start-up options.

        The pooler is told of no password that its server refuses. One that can't be asked now is believed.
        """
        parts = urlsplit(database_url)
        role, password = unquote(parts.username or ""), unquote(parts.password or "")
        if role not in self._users and _set_role(parts._replace(path="/postgres").geturl(), role):
            self._users[role] = password
            self._write_users()
            self._reload()
        return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{self.port}").geturl()

    @property
    def _account(self) -> pwd.struct_passwd:
        return pwd.getpwnam("nobody")

    def _write(self, name: str, text: str) -> None:
        file = self._folder / name
        file.write_text(text)
        if os.geteuid() == 0:
            os.chown(file, self._account.pw_uid, self._account.pw_gid)
        file.chmod(0o600)

    def _write_users(self) -> None:
        quoted = ('"{}" "{}"\n'.format(*(part.replace('"', '""') for part in user)) for user in self._users.items())
        self._write("users.txt", "".join(quoted))

    def _reload(self) -> None:
        if self._child is not None:
            self._child.send_signal(signal.SIGHUP)
            wait_until(self._lets_in, what="PgBouncer to let the role in")

    def _lets_in(self) -> bool:
        try:
            with closing(self._console(list(self._users)[-1])):
                return True
        except psycopg2.OperationalError as error:
            return "not allowed" in str(error)  # which it says only to those that it knows

    def _console(self, role: str) -> psycopg2.extensions.connection:
        login = {"user": role, "password": self._users[role]}
        return psycopg2.connect(host="127.0.0.1", port=self.port, dbname="pgbouncer", **login)

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


def _set_role(url: str, role: str) -> bool:
    """As documented for a pooler in transaction mode, where start-up options are refused. False: the login was refused."""
    settings = ("jit = off", "timezone = 'UTC'", "statement_timeout = '15s'", "lock_timeout = '5s'")
    try:
        with closing(Database(url)) as database:
            for setting in settings:
                database.execute(f'ALTER ROLE "{role}" SET {setting}')
    except LoginRefused:
        return False
    except DatabaseUnavailable:
        pass  # the test is about that
    return True

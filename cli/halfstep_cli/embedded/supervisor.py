"""The supervisor: a small detached program that runs one server for as long as anybody uses it.

`python -m halfstep_cli.embedded.supervisor DIR LOCK REPORT`: LOCK is the descriptor that holds DIR/supervisor.lock already,
REPORT one to which it writes `ready` or the sentence that says why not. SIGTERM stops the server, too. When the supervisor is
killed, the kernel tells `postgres` to stop; when `postgres` ends, so does the supervisor.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import psycopg2

from halfstep.errors import DatabaseUnavailable
from halfstep.shield import shield
from halfstep_cli.embedded import binaries, leftovers, locks, postgres
from halfstep_cli.embedded.folder import (
    READY,
    Access,
    Folder,
    keep_access,
    new_access,
    read_access,
    with_free_port,
    write_private,
)
from halfstep_cli.embedded.places import find_data
from halfstep_cli.embedded.postgres import Postgres, Site

# How soon a leaving last user, and a server's end, are noticed: seconds. (The end wakes us at once.)
GLANCE = 0.1
# Until a server that does not answer is given up: seconds. Recovery after a crash can take this long on slow disks.
PATIENCE = 60.0
PORT_ATTEMPTS = 5
_STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class StopAsked(Exception):
    """Somebody sent us a signal to stop."""


def main() -> int:
    """Run until the last user has left. Exit code 1 if the server could not be started."""
    shield()  # it knows both passwords
    folder, report = Folder(Path(sys.argv[1])), int(sys.argv[3])
    # Waited for, never interrupting: SIGCHLD says that the server ended.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, *_STOP_SIGNALS})
    try:
        server = bring_up(folder)
    except StopAsked:
        return 0
    except (DatabaseUnavailable, OSError, psycopg2.Error) as error:
        _tell(report, str(error))
        return 1
    _tell(report, READY)
    supervise(folder, server)
    return 0


def bring_up(folder: Folder) -> Postgres:
    """A server that accepts the login which `folder.promise` says. Raises DatabaseUnavailable, StopAsked."""
    site = prepare(folder)
    access = _known_access(folder, site)
    for _ in range(PORT_ATTEMPTS):
        access = with_free_port(access)
        keep_access(folder, access)
        if not site.data.exists():
            postgres.initialise(site, access)
        if server := _serve(folder, site, access):
            return server
    raise DatabaseUnavailable(f"No free port was found for PostgreSQL in {PORT_ATTEMPTS} attempts; start it again.")


def prepare(folder: Folder) -> Site:
    """Find programs, data and user, and see to it that nobody else is at the data."""
    data, account = find_data(folder)
    chosen = binaries.choose(binaries.data_major(data))
    if data.exists():
        leftovers.end_leftovers(data, pause=pause)
        leftovers.disown_pid_file(data)
    return Site(binaries.runnable_by(account, chosen), data, account, folder.log)


def wait_until_answering(server: Postgres, access: Access) -> bool:
    """True once the superuser can log in; False if the port was taken meanwhile. Raises DatabaseUnavailable, StopAsked."""
    deadline = time.monotonic() + PATIENCE
    while not postgres.answers(access.admin_url):
        if server.port_was_taken:
            return False
        if server.has_ended or time.monotonic() > deadline:
            raise DatabaseUnavailable(f"PostgreSQL does not start: {server.last_words} (more in {server.site.log})")
        pause(0.02)
    return True


def supervise(folder: Folder, server: Postgres) -> None:
    """Stop the server once `folder` has no user; while it stops, nobody can become one."""
    try:
        while not server.has_ended and locks.exclusive(folder.users_lock) is None:
            pause(GLANCE)
    except StopAsked:
        pass
    finally:
        for name in (folder.url, folder.promise):
            with contextlib.suppress(OSError):  # the folder may have been deleted
                name.unlink()
        server.stop()


def pause(seconds: float) -> None:
    """Wait that long, or less if a child ends. Raises StopAsked."""
    woken = signal.sigtimedwait({signal.SIGCHLD, *_STOP_SIGNALS}, seconds)
    if woken and woken.si_signo in _STOP_SIGNALS:
        raise StopAsked


def _serve(folder: Folder, site: Site, access: Access) -> Postgres | None:
    server = postgres.start(site, access.port)
    try:
        if not wait_until_answering(server, access):
            return None
        postgres.settle(access)
        # Only now, as others take the file for a promise.
        write_private(folder.promise, access.url + "\n")
    except BaseException:
        server.stop()
        raise
    return server


def _known_access(folder: Folder, site: Site) -> Access:
    access = read_access(folder)
    if access is None and site.data.exists():
        raise DatabaseUnavailable(f"{folder.access}, which holds the passwords of {site.data}, is missing; restore it.")
    return access or new_access()


def _tell(report: int, text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # who started us may be dead
        os.write(report, text.encode())
    os.close(report)


if __name__ == "__main__":
    sys.exit(main())

"""A PostgreSQL of one test's own, to be stopped, crashed and started again as the test likes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from halfstep.database import Database
from halfstep.migrate import migrate
from halfstep_cli.embedded import binaries, postgres
from halfstep_cli.embedded.accounts import server_account
from halfstep_cli.embedded.folder import Access, new_access
from halfstep_cli.embedded.postgres import Site, answers
from ports import free_port
from waiting import PATIENCE, wait_until


class OwnServer:
    """One server on loopback. Its URLs stay the same over all restarts. Usable as a context: it ends with it.

    folder: the server's user has to be able to pass through it. settings: as in postgresql.conf; None: not ours to set,
    so that ALTER SYSTEM can. environment: of the server process, beside a bare one. log: where it says what happens; there,
    unlike in a folder on a disk that gets full, it always can.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str | None] | None = None,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.access: Access = replace(new_access(), port=free_port())
        self.data = folder / "postgres"
        self.log = log or folder / "postgres.log"
        account = server_account(self.data)
        self._site = Site(binaries.runnable_by(account, binaries.choose(None)), self.data, account, self.log)
        self._settings = {**postgres.SETTINGS, "port": str(self.access.port), **(settings or {})}
        self._environment = {"PATH": "/usr/bin:/bin", "LANG": "C", "TZ": "UTC"} | dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The migrated database, as the role that owns it (no superuser)."""
        return self.access.url

    @property
    def admin_url(self) -> str:
        """The superuser's, in the database `postgres`."""
        return self.access.admin_url

    def __enter__(self) -> OwnServer:
        postgres.initialise(self._site, self.access)
        self.start()
        postgres.settle(self.access)
        with closing(Database(self.url)) as database:
            migrate(database)
        return self

    def __exit__(self, *error: object) -> None:
        self._end(signal.SIGQUIT)

    def start(self, *, wait: bool = True) -> None:
        """Starts it; recovers first if it crashed. Returns when one can log in, or at once."""
        settings = [part for name, value in self._settings.items() if value is not None for part in ("-c", f"{name}={value}")]
        with postgres.open_log(self.log) as log:
            self._child = subprocess.Popen(
                [str(self._site.binaries.postgres), "-D", str(self.data), *settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=self._environment, **self._user(),
            )  # fmt: skip
        if wait:
            self.wait_until_up()

    def wait_until_up(self, *, seconds: float = PATIENCE) -> None:
        """Returns when one can log in."""
        wait_until(lambda: answers(self.admin_url), seconds=seconds, what=f"PostgreSQL to answer (see {self.log})")

    def stop(self) -> None:
        """A fast shutdown: connections are ended, everything is on disk."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """An immediate stop: the next start recovers from the log, as after a power cut of the process."""
        self._end(signal.SIGQUIT)

    def restart(self, *, crash: bool = False) -> None:
        """Stops or crashes it, and starts it again."""
        self._end(signal.SIGQUIT if crash else signal.SIGINT)
        self.start()

    def standby(self, folder: Path) -> OwnServer:
        """A hot standby with the same passwords, which follows this server once it is started. folder: as for any server."""
        twin = OwnServer(folder)
        twin.access = replace(self.access, port=twin.access.port)
        program = binaries.choose(None).bin / "pg_basebackup"
        words = [
            str(program),
            f"--pgdata={twin.data}",
            f"--dbname={self.admin_url}",
            "--write-recovery-conf",
            "--checkpoint=fast",
        ]
        subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE)
        for path in (twin.data, *twin.data.rglob("*")):
            os.chown(path, self._site.account.uid, self._site.account.gid, follow_symlinks=False)
        return twin

    def promote(self) -> None:
        """A standby becomes a server that can be written to; returns when it is one."""
        self.admin("SELECT pg_promote(true, 30)")

    def admin(self, statement: str) -> Sequence[Mapping[str, object]]:
        """Runs a statement as the superuser, in the migrated database."""
        address = self.admin_url.replace("/postgres?", "/halfstep?")
        with closing(Database(address)) as database:
            return database.execute(statement)

    def _end(self, number: signal.Signals) -> None:
        child, self._child = self._child, None
        if child is None or child.poll() is not None:
            return
        child.send_signal(number)
        try:
            child.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(timeout=PATIENCE)

    def _user(self) -> dict[str, Any]:
        account = self._site.account
        return {"user": account.uid, "group": account.gid, "extra_groups": []} if account.is_other else {}


@contextmanager
def own_server(
    *, settings: Mapping[str, str | None] | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[OwnServer]:
    """A server in a folder of its own, which is removed with it."""
    folder = Path(tempfile.mkdtemp(prefix="halfstep-server-"))
    os.chmod(folder, 0o711)  # as root the server runs as another user
    try:
        with OwnServer(folder, settings=settings, environment=environment) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)

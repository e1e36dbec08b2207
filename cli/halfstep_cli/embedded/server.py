"""The embedded server as its users see it: open it, log in, leave."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from halfstep.errors import DatabaseUnavailable
from halfstep_cli.embedded import locks
from halfstep_cli.embedded.folder import READY, Access, Folder, make_folder, read_access, write_private
from halfstep_cli.embedded.postgres import answers, open_log

GLANCE = 0.02


class EmbeddedServer:
    """The PostgreSQL of one data folder, shared with whoever else has opened it. Usable with `with`.

    prepare: is given the URL before it is written to DIR/url, where others look for it; each user does that.
    Not for several threads at once. A forked child is no user: it may use the URL, but does not keep the server alive.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        prepare: Callable[[str], None] | None = None,
        start_seconds: float = 75.0,
        stop_seconds: float = 20.0,
    ) -> None:
        self._data_dir = data_dir
        self._prepare = prepare
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._folder = Folder(data_dir)
        self._access: Access | None = None
        self._use: int | None = None
        _opened.add(self)

    @property
    def url(self) -> str:
        """`postgresql://halfstep:…@127.0.0.1:…/halfstep`: the role that owns the database and is no superuser."""
        return self._started().url

    @property
    def admin_url(self) -> str:
        """The same server as its superuser, in the database `postgres`."""
        return self._started().admin_url

    def start(self) -> EmbeddedServer:
        """Return when one can log in and it is prepared, whoever started it. A second call changes nothing.

        Raises DatabaseUnavailable, and what `prepare` raises.
        """
        if self._use is None:
            deadline = time.monotonic() + self._start_seconds
            try:
                self._folder = make_folder(self._data_dir)
                self._use = self._become_user(deadline)
                self._access = self._join_or_launch(deadline)
                self._make_ready(self._access.url)
            except OSError as error:
                self._leave()
                raise DatabaseUnavailable(f"The data folder {self._data_dir} cannot be used: {error}.") from error
            except BaseException:
                self._leave()
                raise
        return self

    def revive(self) -> bool:
        """Start the server again if it has ended; whether it had. The URL is another one if its port was taken meanwhile.

        Raises DatabaseUnavailable if it does not start. We stay its user either way, so it may be tried again.
        """
        if self._use is None or not locks.is_free(self._folder.supervisor_lock):
            return False
        _reap(self._folder)
        try:
            self._access = self._join_or_launch(time.monotonic() + self._start_seconds)
            self._publish()
        except OSError as error:
            raise DatabaseUnavailable(f"The data folder {self._data_dir} cannot be used: {error}.") from error
        return True

    def stop(self) -> None:
        """Leave. The last user waits until the server is gone. Before a start, or a second time, nothing happens."""
        if self._use is None:
            return
        self._leave()
        deadline = time.monotonic() + self._stop_seconds
        while not locks.is_free(self._folder.supervisor_lock):
            if self._has_other_users():
                return
            _wait(deadline, f"PostgreSQL in {self._folder.path} did not stop; look at {self._folder.log}.")
        _reap(self._folder)

    def close_copy(self) -> None:
        """In a forked child: be no user. The parent still is, and the URL may still be used."""
        if self._use is not None:
            os.close(self._use)
            self._use = None

    def __enter__(self) -> EmbeddedServer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _make_ready(self, url: str) -> None:
        try:
            if self._prepare:
                self._prepare(url)
            self._publish()
        except BaseException:
            self.stop()
            raise

    def _publish(self) -> None:
        if _read(self._folder.url) == self.url:
            return
        write_private(self._folder.url, self.url + "\n")
        if not _read(self._folder.promise):  # the server ends already: what it has removed must not come again
            self._folder.url.unlink(missing_ok=True)

    def _started(self) -> Access:
        if self._access is None:
            raise DatabaseUnavailable("The embedded server is not started; call start() first.")
        return self._access

    def _leave(self) -> None:
        lock, self._use, self._access = self._use, None, None
        if lock is not None:
            locks.release(lock)

    def _become_user(self, deadline: float) -> int:
        # Refused only while a supervisor stops the server because nobody was there.
        while (lock := locks.shared(self._folder.users_lock)) is None:
            _wait(deadline, f"PostgreSQL in {self._folder.path} is still stopping; look at {self._folder.log}.")
        return lock

    def _join_or_launch(self, deadline: float) -> Access:
        """As users we keep any supervisor from stopping, so either one runs, or its lock is ours to hand to a new one."""
        while True:
            lock = locks.exclusive(self._folder.supervisor_lock)
            if lock is not None:
                _launch(self._folder, lock)
            elif access := self._answering():
                return access
            _wait(deadline, f"PostgreSQL in {self._folder.path} does not answer; look at {self._folder.log}.")

    def _answering(self) -> Access | None:
        promised = _read(self._folder.promise) or _read(self._folder.url)  # a supervisor of an earlier release makes the latter
        access = read_access(self._folder) if promised else None
        if access is None or access.url != promised or not answers(access.url):
            return None
        # A server that died just now leaves its promise until the next starter removes it: first thing, before starting.
        return access if promised in (_read(self._folder.promise), _read(self._folder.url)) else None

    def _has_other_users(self) -> bool:
        """Whether somebody uses the server; False also while it stops. One leaver looks at a time."""
        looking = locks.exclusive(self._folder.leaving_lock)
        if looking is None:
            return False
        try:
            alone = locks.exclusive(self._folder.users_lock)
            if alone is not None:
                locks.release(alone)
                return False
            return locks.is_free(self._folder.users_lock)  # not if the supervisor holds it to stop
        finally:
            locks.release(looking)


def _launch(folder: Folder, lock: int) -> None:
    """Start a supervisor that holds `lock`, and hear what it says. DatabaseUnavailable if that is not that it is ready."""
    for promised in (folder.url, folder.promise):
        promised.unlink(missing_ok=True)
    report, report_end = os.pipe()
    try:
        _children[folder.path] = _supervisor(folder, lock, report_end)
    finally:
        os.close(lock)  # not unlocked: the supervisor has it
        os.close(report_end)
    with open(report) as pipe:
        said = pipe.read() or f"The supervisor of PostgreSQL ended without a word; look at {folder.log}."
    if said != READY:
        _reap(folder)  # so that its lock is free when the error is told
        raise DatabaseUnavailable(said)


def _supervisor(folder: Folder, lock: int, report: int) -> subprocess.Popen[bytes]:
    module = "halfstep_cli.embedded.supervisor"
    with open_log(folder.log) as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(folder.path), str(lock), str(report)],
            cwd="/",
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(lock, report),
        )


def _environment() -> dict[str, str]:
    """No secrets of ours. The import path as it is here, since checkouts extend it by other means than the environment."""
    path = [os.path.abspath(entry) for entry in sys.path if entry]
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join(path)}


def _read(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    return ""


def _wait(deadline: float, otherwise: str) -> None:
    if time.monotonic() > deadline:
        raise DatabaseUnavailable(otherwise)
    threading.Event().wait(GLANCE)


def _reap(folder: Folder) -> None:
    """The supervisor has given back its lock or is about to: no zombie of it stays."""
    child = _children.pop(folder.path, None)
    if child:
        child.wait()


def _leave_children_out() -> None:
    for server in _opened:
        server.close_copy()


# Supervisors that this process started. They may outlive it.
_children: dict[Path, subprocess.Popen[bytes]] = {}
_opened: weakref.WeakSet[EmbeddedServer] = weakref.WeakSet()
os.register_at_fork(after_in_child=_leave_children_out)

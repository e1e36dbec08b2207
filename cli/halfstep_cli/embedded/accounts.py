"""Whom the server runs as, and programs run as that user.

Called in single-threaded processes only (the supervisor): it forks.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from halfstep.errors import DatabaseUnavailable

PREFERRED = ("halfstep", "postgres", "nobody")
_SET_PARENT_DEATH_SIGNAL = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the machine."""

    name: str
    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        """Whether one has to become somebody else to act as this user."""
        return self.uid != os.geteuid()


def server_account(data: Path) -> Account:
    """Whoever owns `data`; for new data ourselves, or as root the first preferred user there is."""
    if os.geteuid() != 0:
        return _account(os.geteuid())
    if data.exists() and data.stat().st_uid != 0:
        return _account(data.stat().st_uid)
    for entry in map(_entry, PREFERRED):
        if entry and entry.pw_uid != 0:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise DatabaseUnavailable("PostgreSQL refuses to run as root and there is no user `nobody` here; add a user `halfstep`.")


def can_enter(account: Account, folder: Path) -> bool:
    """Whether that user can reach what lies in `folder`: tried in a forked child, not guessed from modes and paths."""
    if not account.is_other:
        return os.access(folder, os.X_OK)
    child = os.fork()
    if child == 0:
        _try_to_enter(account, folder)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def spawn(
    account: Account, command: Sequence[str | Path], *, output: int, death: signal.Signals = signal.SIGKILL
) -> subprocess.Popen[bytes]:
    """Run `command` as that user with a bare environment; it gets the signal `death` when we die. Raises OSError."""
    other = account.is_other
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C", "LC_ALL": "C", "TZ": "UTC"},
        user=account.uid if other else None,
        group=account.gid if other else None,
        extra_groups=[] if other else None,
        umask=0o077,
        preexec_fn=_dies_with(os.getpid(), death),
    )


def _dies_with(parent: int, death: signal.Signals) -> Callable[[], None]:
    def prepare() -> None:
        # After the change of user: that change would clear it.
        _libc.prctl(_SET_PARENT_DEATH_SIGNAL, int(death), 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def _try_to_enter(account: Account, folder: Path) -> None:
    status = 1
    try:
        os.setgroups([])
        os.setgid(account.gid)
        os.setuid(account.uid)
        status = 0 if os.access(folder, os.X_OK) else 1
    finally:
        os._exit(status)


def _account(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # as in containers with an arbitrary user; postgres can live with it, initdb cannot and says so
        return Account(str(uid), uid, os.getegid())
    return Account(entry.pw_name, uid, entry.pw_gid)


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None

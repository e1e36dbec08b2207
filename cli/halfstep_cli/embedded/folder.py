"""The files of a data folder, and how one logs in to its server."""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from halfstep.errors import DatabaseUnavailable

OWNER = "halfstep"
DATABASE = "halfstep"
SUPERUSER = "postgres"
# What a supervisor reports to who started it, once the server can be used; anything else is the reason why not.
READY = "ready"
HOST = "127.0.0.1"
# The package's server knows no TLS, and a PGSSLMODE=require in somebody's environment means other servers.
_OPTIONS = "sslmode=disable"


@dataclass(frozen=True, slots=True)
class Folder:
    """Where everything lies in one data folder (DIR)."""

    path: Path

    @property
    def url(self) -> Path:
        """The URL of the running server, once it is prepared for whoever reads it; removed when it stops."""
        return self.path / "url"

    @property
    def promise(self) -> Path:
        """The same URL as soon as one can log in, for those who share the server; removed when it stops."""
        return self.path / "server"

    @property
    def access(self) -> Path:
        """Passwords and port, kept between runs."""
        return self.path / "access.json"

    @property
    def log(self) -> Path:
        """What postgres and initdb print."""
        return self.path / "postgres.log"

    @property
    def data(self) -> Path:
        """The server's own folder, where the server's user can reach it."""
        return self.path / "postgres"

    @property
    def location(self) -> Path:
        """Names the place that holds the data when the server's user cannot reach DIR."""
        return self.path / "location"

    @property
    def users_lock(self) -> Path:
        """Shared by all users; the supervisor takes it alone before it stops the server."""
        return self.path / "users.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor, and by who starts it until it is there."""
        return self.path / "supervisor.lock"

    @property
    def leaving_lock(self) -> Path:
        """Held while a leaving user looks whether there are others, so that two leavers never take each other for users."""
        return self.path / "leaving.lock"


@dataclass(frozen=True, slots=True)
class Access:
    """What it takes to log in."""

    port: int
    owner_password: str
    superuser_password: str

    @property
    def url(self) -> str:
        """For everybody: the role that owns the database and is no superuser."""
        return f"postgresql://{OWNER}:{self.owner_password}@{HOST}:{self.port}/{DATABASE}?{_OPTIONS}"

    @property
    def admin_url(self) -> str:
        """For maintenance: the superuser, in the database `postgres`."""
        return f"postgresql://{SUPERUSER}:{self.superuser_password}@{HOST}:{self.port}/postgres?{_OPTIONS}"


def make_folder(path: Path) -> Folder:
    """The data folder at `path`, made if it is not there. As root others may pass through it, else the server could not."""
    try:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o711 if os.geteuid() == 0 else 0o700)  # whatever the umask
    except OSError as error:
        raise DatabaseUnavailable(f"The data folder {path} cannot be used: {error.strerror}; choose another.") from error
    return Folder(path.resolve())


def new_access() -> Access:
    """Fresh passwords (192 bits each) and a free port."""
    return Access(free_port(), secrets.token_urlsafe(24), secrets.token_urlsafe(24))


def read_access(folder: Folder) -> Access | None:
    """The kept passwords and port; None in a new folder."""
    try:
        return Access(**json.loads(folder.access.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise DatabaseUnavailable(f"{folder.access} is damaged ({error}); restore it or use another data folder.") from error


def keep_access(folder: Folder, access: Access) -> None:
    """Write passwords and port for this and later runs."""
    write_private(folder.access, json.dumps(asdict(access)) + "\n")


def with_free_port(access: Access) -> Access:
    """The same port as last time if it is free, so that URLs stay valid; else another."""
    return access if _can_listen(access.port) else replace(access, port=free_port())


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now (somebody may in a moment: who uses it tries again)."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def write_private(path: Path, text: str) -> None:
    """Put `text` at `path`, mode 0600: whole or not at all, whoever reads meanwhile."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)


def _can_listen(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as postgres does
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True

"""Where the data lies: in the data folder, or, if the server's user can't reach it there, in a place of root's."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from halfstep.errors import DatabaseUnavailable
from halfstep_cli.embedded import locks
from halfstep_cli.embedded.accounts import Account, can_enter, server_account
from halfstep_cli.embedded.folder import Folder, write_private
from halfstep_cli.embedded.leftovers import processes_in

# The second for read-only system folders. Both are taken only if root owns them and nobody else can write them.
ROOT_FOLDERS = (Path("/var/lib/halfstep"), Path("/var/tmp/halfstep-root"))


def find_data(folder: Folder) -> tuple[Path, Account]:
    """The server's folder (it may not exist yet) and the user to run it as. Existing data is never left behind."""
    if os.geteuid() == 0 and (place := _recorded(folder)):
        return place / "postgres", server_account(place / "postgres")
    account = server_account(folder.data)
    if can_enter(account, folder.path):
        return folder.data, account
    if folder.data.exists():
        raise DatabaseUnavailable(
            f"User {account.name}, whom PostgreSQL runs as, cannot reach the data in {folder.data}; "
            f"let it pass through the folders above (chmod o+x)."
        )
    return _new_place(folder, account) / "postgres", account


def discard(data_dir: Path) -> None:
    """Delete a data folder and its database, wherever that lies. DatabaseUnavailable while the server runs."""
    folder = Folder(data_dir.resolve())
    if not folder.path.exists():
        return
    lock = locks.exclusive(folder.supervisor_lock)
    if lock is None:
        raise DatabaseUnavailable(f"The server of {folder.path} is running; stop it first.")
    if os.geteuid() == 0 and (place := _recorded(folder)):
        shutil.rmtree(place)
    shutil.rmtree(folder.path)
    locks.release(lock)


def root_folder(name: str, *, account: Account) -> Path:
    """A folder for the data or the binaries that `account` may enter and only root may write. Root only."""
    for base in ROOT_FOLDERS:
        with contextlib.suppress(OSError):
            folder = base / name
            if _is_roots(_made(base)) and _is_roots(_made(folder)) and can_enter(account, folder):
                return folder
    tried = " nor ".join(map(str, ROOT_FOLDERS))
    raise DatabaseUnavailable(f"Neither {tried} can be used: make one a folder of root's that nobody else may write.")


@contextlib.contextmanager
def private_draft(target: Path) -> Iterator[Path]:
    """A new folder that becomes `target`, readable by all, if the block ends well; who comes second throws its own away."""
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        yield draft
        _open_to_readers(draft)
        with contextlib.suppress(OSError):
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if not target.exists():
        raise DatabaseUnavailable(f"{target} could not be written; is the disk full?")


def _recorded(folder: Folder) -> Path | None:
    """The place that DIR/location names. Believed only if root wrote it, and only for our own kind of place."""
    try:
        descriptor = os.open(folder.location, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with open(descriptor) as file:
        place = Path(file.read().strip())
        written_by_root = os.fstat(descriptor).st_uid == 0
    if not written_by_root or place.parent not in [base / "data" for base in ROOT_FOLDERS] or place.name.startswith("."):
        raise DatabaseUnavailable(f"{folder.location} is not one that halfstep wrote; remove it to start with an empty database.")
    if not place.is_dir():
        raise DatabaseUnavailable(
            f"The data of {folder.path} was kept in {place}, which is gone; restore it, or remove "
            f"{folder.location} to start with an empty database."
        )
    return place


def _new_place(folder: Folder, account: Account) -> Path:
    """The random part keeps a wiped DIR from meeting its former self."""
    base = root_folder("data", account=account)
    _remove_abandoned(base)
    place = base / f"{hashlib.sha256(bytes(folder.path)).hexdigest()[:16]}-{secrets.token_hex(4)}"
    _made(place)
    write_private(folder.location, f"{place}\n")
    write_private(place / "origin", f"{folder.path}\n")  # second: an origin without its location marks an abandoned place
    return place


def _remove_abandoned(base: Path) -> None:
    """Remove the places of temporary folders that were deleted; other folders may be on a disk that is not mounted now."""
    for origin in base.glob("*/origin"):
        location = Folder(Path(origin.read_text().strip())).location
        temporary = any(location.is_relative_to(root) for root in ("/tmp", "/var/tmp", tempfile.gettempdir()))
        claimed = location.is_file() and location.read_bytes().strip() == bytes(origin.parent)
        if temporary and not claimed and not processes_in(origin.with_name("postgres")):
            shutil.rmtree(origin.parent, ignore_errors=True)


def _made(path: Path) -> Path:
    with contextlib.suppress(FileExistsError):
        path.mkdir(0o755)
        path.chmod(0o755)  # whatever the umask
    return path


def _is_roots(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and not status.st_mode & 0o022


def _open_to_readers(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)

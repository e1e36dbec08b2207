"""Paths in the source folder, and nowhere else."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from halfstep.errors import InvalidTask, Missing


def check_relative(path: str) -> None:
    """InvalidTask for a path that can be seen to lead out of the source folder: absolute, with `..`, or with a NUL."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\0" in path:
        raise InvalidTask(f"Path {path!r} must be relative to the source folder and stay inside it.")


def locate(source: Path | None, path: str, *, folder: bool = False) -> Path:
    """The real path of a file (or folder) in the source folder, links resolved.

    Open what is returned, not `path`: a link may change meanwhile. InvalidTask: it leads out. Missing: it is not there.
    """
    check_relative(path)
    if source is None:
        raise InvalidTask(f"Path {path!r} can't be found: this worker has no source folder; start it with --source DIR.")
    try:
        real = (source / path).resolve()
        exists = real.is_dir() if folder else real.is_file()
    except (OSError, RuntimeError):  # a loop of links, a name that is too long
        raise InvalidTask(f"Path {path!r} can't be resolved in the source folder.") from None
    if not real.is_relative_to(source):
        raise InvalidTask(f"Path {path!r} leads out of the source folder through a link.")
    if not exists:
        raise Missing(f"There is no {'folder' if folder else 'file'} {path!r} in the source folder.")
    return real

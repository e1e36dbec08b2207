"""The SQL of every verb stands in one file, `sql/<verb>.sql`; its first line is its promise.

Parameters are written `%(name)s`. `{task_columns}` stands for the columns that a task takes with it from table to table.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def statement(name: str) -> str:
    """The text of `sql/<name>.sql`, its columns filled in."""
    return _read("sql", f"{name}.sql").replace("{task_columns}", task_columns())


@cache
def task_columns() -> str:
    """The columns that a task takes with it, separated by commas."""
    return ", ".join(_read("sql", "task_columns.txt").split())


def migrations() -> list[tuple[int, str, str]]:
    """(version, name, SQL text) of every migration, in order."""
    found = sorted(entry.name for entry in files("halfstep").joinpath("migrations").iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), name.removesuffix(".sql"), _read("migrations", name)) for name in found]


def _read(folder: str, name: str) -> str:
    return files("halfstep").joinpath(folder, name).read_text(encoding="utf-8")

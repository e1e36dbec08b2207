"""What the command prints: JSON, tables on a terminal, plain aligned lines elsewhere; notes go to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

Report = Mapping[str, Any]

_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), " ")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its heading, the key of its values, and whether they are numbers or times."""

    heading: str
    key: str
    right: bool = False
    time: bool = False

    def text(self, row: Report) -> str:
        """The value for people; nothing that would move a terminal's cursor."""
        value = row.get(self.key)
        return when(value) if self.time else plain(value)


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody looks at it: a terminal, and NO_COLOR is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def note(text: str) -> None:
    """Something for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def show_json(value: Any) -> None:
    """A value as indented JSON."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def show_json_line(value: Any) -> None:
    """A value as one line of JSON, at once."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def show_table(columns: Sequence[Column], rows: Iterable[Report], *, empty: str) -> None:
    """A table; without rows only the sentence `empty`, on stderr."""
    cells = [[column.text(row) for column in columns] for row in rows]
    if not cells:
        note(empty)
    elif is_terminal(sys.stdout):
        _show_rich(columns, cells)
    else:
        _show_aligned(columns, cells)


def show_fields(fields: Mapping[str, str]) -> None:
    """Names and values, one a line; empty values are left out."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if value:
            print(f"{name.ljust(width)}  {value}")


def plain(value: Any) -> str:
    """A value for people, on one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value)).translate(_CONTROLS)
    return str(value).translate(_CONTROLS)


def compact(value: Any) -> str:
    """A JSON value on one line; nothing for null."""
    return "" if value is None else json.dumps(value, ensure_ascii=False).translate(_CONTROLS)


def when(moment: str | None) -> str:
    """An ISO 8601 time in the reader's time zone, to the second."""
    if moment is None:
        return ""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _show_aligned(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    lines = [[column.heading.upper() for column in columns], *cells]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    for line in lines:
        fields = [_padded(text, width, column.right) for text, width, column in zip(line, widths, columns, strict=True)]
        print("  ".join(fields).rstrip())


def _padded(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _show_rich(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    from rich import box  # here, as it takes long to import and only terminals need it
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.heading, justify="right" if column.right else "left", overflow="fold")
    for line in cells:
        table.add_row(*(Text(text, style=STYLES.get(text, "")) for text in line))
    Console().print(table)


STYLES = {
    "succeeded": "green",
    "running": "cyan",
    "ready": "blue",
    "scheduled": "magenta",
    "draining": "yellow",
    "cancelled": "yellow",
    "failed": "red",
    "dead": "red",
}

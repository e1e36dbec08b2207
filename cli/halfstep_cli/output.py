"""What the command prints: JSON, tables on a terminal, plain aligned lines elsewhere; notes go to stderr.

Whatever comes from a task, a body, a worker or a server is shown by `halfstep.visible`: it can't steer the terminal.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from json import dumps
from typing import Any, TextIO

from halfstep.visible import visible_line

Report = Mapping[str, Any]

FRAGMENT_CHARACTERS = 12
"""So much of a word is left out rather than shown without its end."""
DEEPEST = 100
"""Levels of a value that can't be shown whole."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its heading, the key of its values, and whether they are numbers or times."""

    heading: str
    key: str
    right: bool = False
    time: bool = False

    def text(self, row: Report) -> str:
        """The value for people; nothing that would move a terminal's cursor."""
        return readable(lambda: when(row.get(self.key)) if self.time else plain(row.get(self.key)))


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody looks at it: a terminal, and NO_COLOR is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def note(text: str) -> None:
    """Something for people, on stderr; one line, so that nobody's text looks like a note of its own."""
    print(visible_line(text), file=sys.stderr, flush=True)


def say(text: str) -> None:
    """A line on stdout, at once."""
    print(visible_line(text), flush=True)


def show_json(value: Any) -> None:
    """A value as indented JSON."""
    print(json_text(value, indent=2))


def show_json_line(value: Any) -> None:
    """A value as one line of JSON, at once."""
    print(json_text(value), flush=True)


def json_text(value: Any, *, indent: int | None = None, ascii_only: bool = True) -> str:
    """JSON of any value. What JSON can't take, as a number beyond measure or too many levels, is told in words in its place."""
    try:
        return dumps(value, ensure_ascii=ascii_only, indent=indent, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return dumps(_writable(value, DEEPEST), ensure_ascii=ascii_only, indent=indent)


def show_table(columns: Sequence[Column], rows: Iterable[Report], *, empty: str) -> None:
    """A table; without rows only the sentence `empty`, on stderr."""
    cells = [[column.text(row) for column in columns] for row in rows]
    if not cells:
        note(empty)
    elif is_terminal(sys.stdout):
        _show_rich(columns, cells)
    else:
        _show_aligned(columns, cells)


def show_narrow_table(columns: Sequence[Column], rows: Iterable[Report], *, width: int, empty: str) -> None:
    """The same in aligned lines of at most `width` characters, as far as the last column can be cut for it."""
    cells = [[column.text(row) for column in columns] for row in rows]
    if not cells:
        note(empty)
        return
    taken = sum(max(map(_width, column)) + 2 for column in zip(*[[each.heading for each in columns], *cells], strict=True))
    taken -= max(map(_width, [columns[-1].heading, *(line[-1] for line in cells)])) + 2
    room = max(len(columns[-1].heading), width - taken)
    _show_aligned(columns, [[*line[:-1], shortened(line[-1], room)] for line in cells])


def terminal_width() -> int | None:
    """Characters in a line of the terminal that stdout is, or as COLUMNS says; None: there is none, any length will do."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size((80, 24)).columns
    return None


def shortened(text: str, width: int) -> str:
    """At most so many columns of a terminal: cut between words where one ends not far before, with an ellipsis."""
    if _width(text) <= width:
        return text
    kept = text[: max(0, width - 1)]
    while kept and _width(kept) > width - 1:
        kept = kept[:-1]
    whole, _, rest = kept.rpartition(" ")
    broken = text[len(kept)] != " " and whole and len(rest) <= FRAGMENT_CHARACTERS
    return (whole if broken else kept).rstrip(" ,:;(") + "…"


def age(seconds: Any) -> str:
    """How long ago, in one or two units as `kubectl` writes it: 45s, 3m12s, 17m, 5h2m, 30h, 3d4h."""
    if type(seconds) not in (int, float) or not 0 <= seconds < 1e12:
        return ""
    whole = int(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if whole < 120:
        return f"{whole}s"
    if minutes < 180:
        return _two(f"{minutes}m", whole % 60, "s") if minutes < 10 else f"{minutes}m"
    if hours < 48:
        return _two(f"{hours}h", minutes % 60, "m") if hours < 8 else f"{hours}h"
    return _two(f"{days}d", hours % 24, "h") if days < 8 else f"{days}d"


def _two(large: str, rest: int, unit: str) -> str:
    return f"{large}{rest}{unit}" if rest else large


def show_fields(fields: Mapping[str, str]) -> None:
    """Names and values, one a line; empty values are left out."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if value:
            print(f"{name.ljust(width)}  {visible_line(value)}")


def readable(read: Callable[[], str]) -> str:
    """What `read` returns; if it can't, as the value is of a kind that nobody expected, that it can't and why."""
    try:
        return read()
    except Exception as error:
        return f"(can't be read: {type(error).__name__}: {plain(error)})"


def plain(value: Any) -> str:
    """A value for people, on one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return visible_line(",".join(map(str, value)))
    return visible_line(str(value))


def compact(value: Any) -> str:
    """A JSON value on one line; nothing for null."""
    return "" if value is None else visible_line(json_text(value, ascii_only=False))


def when(moment: Any) -> str:
    """An ISO 8601 time in the reader's time zone, to the second; what is no time, or out of its calendar, as it is."""
    if moment is None:
        return ""
    try:
        return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (TypeError, ValueError, OverflowError, OSError):
        return plain(moment)


def _writable(value: Any, depth: int) -> Any:
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if value.bit_length() <= 10_000 else f"(a number of {value.bit_length()} bits)"
        case float():
            return value if math.isfinite(value) else f"({value})"
        case Mapping() | list() | tuple() if not depth:
            return f"(more than {DEEPEST} levels)"
        case Mapping():
            return {str(key): _writable(item, depth - 1) for key, item in value.items()}
        case list() | tuple():
            return [_writable(item, depth - 1) for item in value]
        case _:
            return str(value)


def _show_aligned(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    lines = [[column.heading.upper() for column in columns], *cells]
    widths = [max(_width(line[n]) for line in lines) for n in range(len(columns))]
    for line in lines:
        fields = [_padded(text, width, column.right) for text, width, column in zip(line, widths, columns, strict=True)]
        print("  ".join(fields).rstrip())


def _padded(text: str, width: int, right: bool) -> str:
    gap = " " * (width - _width(text))
    return gap + text if right else text + gap


def _width(text: str) -> int:
    """Columns of a terminal: some characters take two, some none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # here, as it takes long to import and few texts need it

    return cell_len(text)


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

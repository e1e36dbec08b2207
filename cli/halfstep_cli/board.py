"""What `halfstep up` shows: one live line on a terminal, a line for every change otherwise, JSON objects on request."""

from __future__ import annotations

import json
import shlex
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

from halfstep.visible import visible_line
from halfstep_cli.controller import Status
from halfstep_cli.station import Station

_ERASE = "\r\x1b[2K"


@dataclass(slots=True)
class Board:
    """Shows what is news. `as_json`: every line is a JSON object with its `event`."""

    as_json: bool = False
    out: TextIO = field(default_factory=lambda: sys.stdout)
    _last: str = ""

    def started(self, station: Station) -> None:
        """Where the database is, and what to type next."""
        file = station.folder / "url"
        if self.as_json:
            self._json("started", database=station.shown_url, url_file=str(file) if station.embedded else None)
            return
        place = f" in {station.folder}" if station.embedded else ""
        self._line(visible_line(f"Database: {station.shown_url}{place}"))
        source = f'"$(cat {shlex.quote(str(file))})"' if station.embedded else "the same URL"
        self._line("Enqueue from another terminal:")
        self._line(visible_line(f"  export HALFSTEP_DATABASE_URL={source}"))
        self._line("""  halfstep enqueue bash '{"command": "echo hello"}' --wait""")
        self._line("Ctrl-C drains the workers and stops.")

    def status(self, status: Status) -> None:
        """The numbers, if they changed."""
        words = f"{status.waiting} waiting, {status.running} running; {counted(status.workers, 'worker')}"
        words += f", {status.draining} draining" if status.draining else ""
        if words == self._last:
            return
        self._last = words
        if self.as_json:
            self._json("status", **asdict(status))
        elif self.out.isatty():
            self._write(_ERASE + words)
        else:
            self._line(f"{time.strftime('%H:%M:%S')} {words}")

    def says(self, event: str, words: str) -> None:
        """A sentence, once in a row."""
        if words == self._last:
            return
        self._last = words
        if self.as_json:
            self._json(event, message=words)
        else:
            self._line((_ERASE if self.out.isatty() else "") + visible_line(words))

    def _json(self, event: str, **facts: Any) -> None:
        self._line(json.dumps({"event": event} | facts))

    def _line(self, words: str) -> None:
        self._write(words + "\n")

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


def counted(number: int, thing: str) -> str:
    """`1 worker`, `2 workers`, `no workers`."""
    return f"{number or 'no'} {thing}{'' if number == 1 else 's'}"

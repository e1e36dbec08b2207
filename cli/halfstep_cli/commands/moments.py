"""Points in time as people write them: ISO 8601, or from now on."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from halfstep.errors import InvalidTask

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AHEAD = re.compile(r"\+(\d+(?:\.\d+)?)([smhd])")


def read_delay(text: str) -> timedelta | None:
    """How far ahead `+90s`, `+10m`, `+2h` or `+1d` is; None for anything else. Raises InvalidTask if it is too far."""
    found = _AHEAD.fullmatch(text.strip())
    if found is None:
        return None
    try:
        return timedelta(**{_UNITS[found[2]]: float(found[1])})
    except OverflowError:
        raise _bad(text) from None


def read_moment(text: str, *, now: datetime) -> datetime:
    """The point in time that `text` names. Without a zone it is meant in this machine's time zone.

    now: what a delay counts from. Raises InvalidTask.
    """
    delay = read_delay(text)
    try:
        if delay is not None:
            return now + delay
        named = datetime.fromisoformat(text.strip())
        return named if named.tzinfo else _here(named)
    except (ValueError, OverflowError, OSError):
        raise _bad(text) from None


def _here(named: datetime) -> datetime:
    """In this machine's time zone. A time that the clocks leave out is as long after the gap as it is behind its beginning."""
    moment = named.astimezone()
    return moment if moment.replace(tzinfo=None) == named else max(moment, named.replace(fold=1).astimezone())


def _bad(text: str) -> InvalidTask:
    return InvalidTask(
        f"'{text}' is no time; write 2030-05-01T09:00, 2030-05-01T09:00:00+02:00, or +90s, +10m, +2h, +1d from now."
    )

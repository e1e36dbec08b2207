"""What a body returned, made storable before it leaves the child: one bad value never poisons a batch of others."""

from __future__ import annotations

import json
import re

from halfstep.limits import ERROR_BYTES, LONGEST_SECONDS
from halfstep.outcomes import Cancelled, Failed, Lost, Outcome, Retry, Succeeded

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
# An escaped NUL, not a backslash followed by the letters u0000.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
UNCOUNTED_SECONDS = 1.0
"""A body that asks to run again, and that it shall not count, could do so for ever: not more often than this."""
_OUTCOMES = (Succeeded, Failed, Retry, Cancelled, Lost)


_NOTHING = Succeeded()


class Unstorable(Exception):
    """The result can't be stored."""


def outcome_of(value: object, limit: int) -> Outcome:
    """What a body returned, as an outcome whose texts the database can store; `limit`: bytes of JSON of a result."""
    try:
        if isinstance(value, _OUTCOMES):
            return _checked(value, limit)
        return Succeeded(json_text(value, limit))
    except Unstorable as error:
        return Failed(str(error), reason="result", final=True)


def outcome_of_body(value: object, limit: int) -> Outcome:
    """The same of what a body says itself: that it is lost is not its to say, nor that it shall run again at once, uncounted."""
    if value is None:
        return _NOTHING
    match outcome_of(value, limit):
        case Lost(reason, error):
            return Failed(plain(f"The body said that it was lost ({reason}): {error}"))
        case Retry(error, delay, reason, counts=False):
            return Retry(error, max(UNCOUNTED_SECONDS, delay), reason, counts=False)
        case outcome:
            return outcome


def json_text(value: object, limit: int) -> str:
    """The value as JSON text. Raises Unstorable with one sentence that says what is wrong with it."""
    if value is None:
        return "null"
    try:
        text = _encode(value)
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise Unstorable("The result holds half of a surrogate pair, which is no text; decode it properly first.") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise Unstorable(f"The result is not JSON: {plain(str(error), 500)}; return plain values.") from None
    if size > limit:
        raise Unstorable(f"The result is {size} bytes of JSON, the limit is {limit}; store it elsewhere and return where.")
    if "\\u0000" in text and _NUL.search(text):
        raise Unstorable("The result holds a NUL character, which the database can't store; remove or encode it.")
    return text


def plain(text: str, limit: int = ERROR_BYTES) -> str:
    """The text without what the database refuses (NUL, lone surrogates), cut to `limit` bytes of UTF-8."""
    data = text.replace("\0", "\ufffd").encode("utf-8", errors="replace")
    return data[:limit].decode("utf-8", errors="ignore")


def _checked(outcome: Outcome, limit: int) -> Outcome:
    """An outcome that the body made itself; its fields are as untrusted as any result."""
    match outcome:
        case Succeeded(result):
            return Succeeded(_rewritten(result, limit))
        case Failed(error, reason, final):
            return Failed(plain(str(error)), plain(str(reason), 40), bool(final))
        case Retry(error, delay, reason, counts):
            return Retry(plain(str(error)), _seconds(delay), plain(str(reason), 40), bool(counts))
        case Cancelled(error):
            return Cancelled(plain(str(error)))
        case Lost(reason, error):
            return Lost(plain(str(reason), 40), plain(str(error)))


def _rewritten(result: object, limit: int) -> str:
    try:
        value = json.loads(str(result))
    except (ValueError, RecursionError) as error:
        raise Unstorable(f"The result is not JSON: {plain(str(error), 500)}; return plain values.") from None
    return json_text(value, limit)


def _seconds(delay: object) -> float:
    if isinstance(delay, (int, float)) and 0 <= delay <= LONGEST_SECONDS:
        return float(delay)
    asked = f"The body asked for a retry after {_shown(delay)} seconds"
    raise Unstorable(f"{asked}; give a number of 0 to {LONGEST_SECONDS:.0f}, which is a year.")


def _shown(value: object) -> str:
    try:
        return plain(repr(value), 100)
    except ValueError:  # an int of more digits than Python writes down
        return "far too many"

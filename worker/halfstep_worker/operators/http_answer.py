"""What an answer of HTTP says: its body as JSON or text, its beginning for an error, and when to come again."""

from __future__ import annotations

import codecs
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

from halfstep.visible import visible_line

SHOWN_CHARACTERS = 1_000
"""Most of an unexpected answer's body that its error holds."""
SHOWN_BYTES = 16 * 1024
"""Read of an unexpected answer: more than is shown, so that a secret is whole where it is blotted out."""
SHORTEST_DELAY, LONGEST_DELAY = 1.0, 86_400.0
"""Seconds between which a `Retry-After` is kept."""
DEEPEST = 100
"""Levels of a JSON body; one with more comes as text."""
_ASKED_TO_WAIT = (429, 503)
_HALVES = re.compile("[\ud800-\udfff]")
"""Of surrogate pairs: some charsets, as UTF-7, give one alone, which nothing can store."""
_SAYS_NOTHING = ("{}", "[]", "null", '""')
# Python's own, slow or of no meaning in an answer.
_NO_CHARSETS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"})


def decoded(content: bytes, content_type: str) -> object:
    """JSON where the answer says so and is, else text; None where it is empty or no text."""
    charset = _charset(content_type)
    if _is_json(content_type):
        text = _text(content, _known(charset) or _json_charset(content))
        return text if text is None else _json(text)
    return _text(content, charset or "utf-8")


def beginning(content: bytes, content_type: str, *, blot: Callable[[str], str]) -> str:
    """The first words of a body on one line, harmless and without what `blot` takes out; empty where it says nothing."""
    known = _known(_charset(content_type)) or (_json_charset(content) if _is_json(content_type) else "utf-8")
    text = content.decode(known, errors="replace").lstrip("\ufeff")
    if "\0" in text or text.count("\ufffd") > len(text) / 10:
        return ""
    words = " ".join(visible_line(" ".join(blot(text).split())).split())
    if words in _SAYS_NOTHING:
        return ""
    return words if len(words) <= SHOWN_CHARACTERS else words[:SHOWN_CHARACTERS] + "…"


def header_text(value: str) -> str:
    """A header as people meant it: HTTP's Latin-1 is mostly UTF-8 today."""
    with suppress(UnicodeError):
        value = value.encode("latin-1").decode("utf-8")
    return visible_line(value)


def location_of(values: Sequence[str]) -> str:
    """The place that an answer names, as a URL: UTF-8 is read, any other byte and blanks are percent-encoded."""
    raw = values[0].strip().encode("latin-1", errors="replace").decode("utf-8", errors="surrogateescape")
    return re.sub("[\udc80-\udcff\x00-\x20\x7f]", lambda found: f"%{ord(found[0]) & 0xFF:02X}", raw)


def delay_asked(status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` of 429, 503 or a redirect asks to wait, within a second and a day; None: nothing of sense."""
    if status not in _ASKED_TO_WAIT and not 300 <= status <= 399:
        return None
    said = headers.get("retry-after", "").strip()
    seconds = float(said) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", said) else _until(said, headers.get("date", ""))
    return None if seconds is None else min(max(seconds, SHORTEST_DELAY), LONGEST_DELAY)


def _until(moment: str, now: str) -> float | None:
    """By the server's own clock where it tells. A moment that has passed is none."""
    then = _seconds(moment)
    here = _seconds(now)
    if then is None:
        return None
    ahead = then - (time.time() if here is None else here)
    return ahead if ahead >= 0 else None


def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _charset(content_type: str) -> str:
    _, _, charset = content_type.lower().partition("charset=")
    return charset.split(";")[0].strip(" \"'")


def _json_charset(content: bytes) -> str:
    """JSON needs none: its first bytes tell."""
    return json.detect_encoding(content)


def _known(charset: str) -> str | None:
    """The charset if it is one that text comes in."""
    try:
        name = codecs.lookup(charset).name
        "".encode(name)  # LookupError: it is no encoding of text, as rot13
    except (LookupError, ValueError):
        return None
    return None if name in _NO_CHARSETS else name


def _text(content: bytes, charset: str) -> str | None:
    """None: empty, or no text."""
    known = _known(charset)
    if known is None:
        return None
    try:
        text = content.decode(known).removeprefix("\ufeff")
    except UnicodeError:
        return None
    return _HALVES.sub("\ufffd", text) if text and "\0" not in text else None


def _json(text: str) -> object:
    """The value, or the text itself where it is no JSON, or holds what no result can: NUL, half a pair, too many levels."""
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError):
        return text
    return value if _can_be_kept(value) else text


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is beyond all numbers")
    return value


def _can_be_kept(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        texts = [item for item in level if isinstance(item, str)]
        texts += [key for item in level if isinstance(item, dict) for key in item]
        if not all(map(_is_storable, texts)):
            return False
        within = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list))]
        level = [item for items in within for item in items]
        if not level:
            return True
    return False


def _is_storable(text: str) -> bool:
    return "\0" not in text and (text.isascii() or not _HALVES.search(text))

"""Whether a path stays below a connection's base, however a server may read it."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote_to_bytes

_ROUNDS = 8
# What lenient servers have taken for `.`, `/` and `\`.
_OVERLONG = {b"\xc0\xae": b".", b"\xc0\xaf": b"/", b"\xc1\x9c": b"\\", b"\xe0\x80\xae": b".", b"\xe0\x80\xaf": b"/"}
_WIDE_ESCAPE = re.compile(rb"%u00([0-9a-fA-F]{2})")


def climbs(path: str) -> bool:
    """Whether a part of the path may be read as `..`: encoded, twice too, behind a backslash, before a `;`, in wide letters."""
    return any(_is_up(part) for reading in _readings(path) for part in re.split(r"[/\\]", reading))


def is_below(base: str, path: str) -> bool:
    """Whether the path is the base, which has no slash at its end, or lies below it for every reader."""
    return path == base or (path.startswith(f"{base}/") and not climbs(path[len(base) :]))


def _readings(path: str) -> list[str]:
    """The path as it stands, and decoded again and again."""
    data = path.encode("utf-8", errors="surrogatepass")
    found = [data]
    for _ in range(_ROUNDS):
        data = unquote_to_bytes(_WIDE_ESCAPE.sub(rb"%\1", data))
        if data == found[-1]:
            break
        found.append(data)
    else:
        found.append(b"..")  # nobody encodes so often without a purpose
    return [_plain(reading) for reading in found]


def _plain(data: bytes) -> str:
    for overlong, meant in _OVERLONG.items():
        data = data.replace(overlong, meant)
    return unicodedata.normalize("NFKC", data.decode("utf-8", errors="replace"))


def _is_up(part: str) -> bool:
    """Two dots or more and nothing else, but blanks and control characters, and parameters behind a `;`."""
    name = re.sub(r"[\x00-\x20\x7f]", "", part).partition(";")[0]
    return len(name) > 1 and not name.strip(".")

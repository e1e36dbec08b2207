"""Whether a path stays below a connection's base, however a server may read it."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote_to_bytes

_ROUNDS = 8
# An ASCII character in more bytes than it needs, which lenient servers have taken for it; with a `.` or slash unmarked, too.
_OVERLONG = re.compile(rb"(?:[\xc0\xc1]|(?:\xe0|\xf0\x80|\xf8\x80\x80|\xfc\x80\x80\x80)[\x80\x81])[\x80-\xbf]|\xc0[./\\]")
_BYTE_ESCAPE = re.compile(rb"%u00([0-9a-fA-F]{2})")
_WIDE_ESCAPE = re.compile(rb"%u([0-9a-fA-F]{4})")


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
        data = _OVERLONG.sub(_shortest, unquote_to_bytes(_WIDE_ESCAPE.sub(_character, _BYTE_ESCAPE.sub(rb"%\1", data))))
        if data == found[-1]:
            break
        found.append(data)
    else:
        found.append(b"..")  # nobody encodes so often without a purpose
    return [_plain(reading) for reading in found]


def _shortest(found: re.Match[bytes]) -> bytes:
    last = found[0][-1]
    return bytes([last if last < 0x80 else (found[0][-2] & 1) << 6 | last & 0x3F])


def _character(found: re.Match[bytes]) -> bytes:
    return chr(int(found[1], 16)).encode("utf-8", errors="surrogatepass")


def _plain(data: bytes) -> str:
    """Each character by itself: what makes a dot or slash is one, and a long row of accents would take its square in time."""
    text = data.decode("utf-8", errors="replace")
    return re.sub(r"[^\x00-\x7f]", lambda found: unicodedata.normalize("NFKC", found[0]), text)


def _is_up(part: str) -> bool:
    """Two dots or more and nothing else, but blanks and control characters, and what stands behind an end of names: a `;`, a
    `?` or `#`; a NUL or an end of line, for some.
    """
    return any(_is_dots(re.split(ends, part, maxsplit=1)[0]) for ends in ("[;?#]", r"[;?#\x00\r\n]"))


def _is_dots(name: str) -> bool:
    name = re.sub(r"[\x00-\x20\x7f]", "", name)
    return len(name) > 1 and not name.strip(".")

"""Text of others made safe to look at: what would steer a terminal, or can't be seen there, is shown as its number."""

from __future__ import annotations

import re

# C0, DEL and C1 controls; soft hyphen; bidirectional and zero-width characters; separators of lines and paragraphs;
# invisible operators, fillers and joiners; variation selectors but those of emoji; interlinear, musical and shorthand
# controls; tags; halves of surrogate pairs.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ud800-\udfff]"
)


def visible(text: str, *, keep: str = "") -> str:
    """The text with `\\x1b` for an escape, `\\u202e` for a character that turns the line round, and so on.

    keep: characters that are left as they are, say the ends of lines.
    """
    return _UNSEEN.sub(lambda found: found[0] if found[0] in keep else _number(found[0]), text)


def visible_line(text: str) -> str:
    """The same on one line: tabs and ends of lines become spaces."""
    return visible(text.replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def _number(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

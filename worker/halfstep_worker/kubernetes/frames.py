"""What a body's pod tells its launcher: the outcome in the termination message, or, if it is too large, in lines of the log.

A line is `\\x1fhalfstep WORD N/M CHUNK`: part N of M of a text in base64; WORD is `outcome` or `progress`. The termination
message then holds the digest of the text, so that lines which the body's own code printed are taken for nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import NamedTuple

from halfstep.context import PROGRESS_BYTES
from halfstep.limits import ERROR_BYTES, RESULT_BYTES
from halfstep.outcomes import Outcome, Succeeded
from halfstep_worker.children.messages import NAMES, unpack
from halfstep_worker.children.storable import Unstorable, json_text, outcome_of

VERSION = 1
MESSAGE_BYTES = 4096
"""What a kubelet takes of a container's termination message. With more than three containers in a pod it takes less."""
POD_MESSAGE_BYTES = 12 * 1024
"""What it takes of all containers of a pod together, in equal parts."""
LINE_BYTES = 4096
"""A line is written by one system call, and up to this size (PIPE_BUF) nobody else's output comes in between."""
TEXT_BYTES = 2 * RESULT_BYTES + 4 * ERROR_BYTES
"""The longest text that is put together again, unless more is allowed; quoting makes a result at most twice as long."""

_encode = json.JSONEncoder(ensure_ascii=False).encode
"""Bound now: a body may change the module `json` for its own ends."""
_MARK = "\x1fhalfstep "
_CHUNK_BYTES = (LINE_BYTES - 64) // 4 * 3
_LINE = re.compile(r"\x1fhalfstep (outcome|progress) (\d{1,6})/(\d{1,6}) ([A-Za-z0-9+/=]*)$")


class Sealed(NamedTuple):
    """The termination message, and lines for the log that must be written before it."""

    message: str
    lines: list[str]


class Elsewhere(NamedTuple):
    """The outcome stands in the log, as the text of this SHA-256."""

    digest: str


def message_limit(containers: int) -> int:
    """Bytes of a termination message in a pod of so many containers, init containers included."""
    return min(MESSAGE_BYTES, POD_MESSAGE_BYTES // max(1, containers))


def seal(outcome: Outcome, *, limit: int = MESSAGE_BYTES) -> Sealed:
    """What a body's program writes when it ends; `limit`: bytes of the termination message."""
    kind, body = "succeeded", getattr(outcome, "result", "")
    if not isinstance(outcome, Succeeded):
        kind, body = NAMES[type(outcome)], _encode([getattr(outcome, name) for name in outcome.__slots__])
    text = _encode({"halfstep": VERSION, "kind": kind, "body": body})
    if len(text.encode()) <= limit:
        return Sealed(text, [])
    return Sealed(_encode({"halfstep": VERSION, "digest": _digest(text)}), frame("outcome", text))


def opened(message: str | None, *, limit: int = RESULT_BYTES) -> Outcome | Elsewhere | None:
    """What a termination message says; None: no program of ours wrote it. `limit`: bytes of a result.

    User code may have written it, with any content: its outcome is checked like any other, and what can't be is none of ours.
    """
    try:
        read = json.loads(message or "")
        if read["halfstep"] != VERSION:
            return None
        return Elsewhere(str(read["digest"])) if "digest" in read else outcome_of(unpack(read["kind"], read["body"]), limit)
    except Exception:
        return None


def frame(word: str, text: str) -> list[str]:
    """The lines that carry a text."""
    data = text.encode()
    chunks = [data[at : at + _CHUNK_BYTES] for at in range(0, len(data), _CHUNK_BYTES)] or [b""]
    return [f"{_MARK}{word} {n}/{len(chunks)} {base64.b64encode(chunk).decode()}" for n, chunk in enumerate(chunks, 1)]


class Frames:
    """Puts together what stands in the lines of one pod's log. Lines may come twice, as when the log is read again."""

    def __init__(self, *, limit: int = TEXT_BYTES) -> None:
        self._most = limit // _CHUNK_BYTES + 1
        self._parts: dict[str, list[bytes]] = {}
        self._texts: dict[str, str] = {}

    def take(self, line: str) -> str | None:
        """What of a line is the log's own: all of it, or what stood before a frame, or None for nothing."""
        start = line.find(_MARK)
        if start < 0:
            return line
        found = _LINE.match(line, start)
        if found is None:
            return line
        self._add(found[1], int(found[2]), int(found[3]), found[4])
        return line[:start] or None

    @property
    def progress(self) -> str | None:
        """The last progress, as JSON text."""
        return self._texts.get("progress")

    def outcome(self, digest: str, *, limit: int = RESULT_BYTES) -> Outcome | None:
        """The outcome of that digest; None: its lines are not all there. `limit`: bytes of a result."""
        text = self._texts.get("outcome")
        if text is None or _digest(text) != digest:
            return None
        found = opened(text, limit=limit)
        return None if isinstance(found, Elsewhere) else found

    def _add(self, word: str, number: int, count: int, chunk: str) -> None:
        parts = self._parts.setdefault(word, [])
        if number == 1:
            parts.clear()
        if number != len(parts) + 1 or not number <= count <= self._most:
            return
        try:
            parts.append(base64.b64decode(chunk, validate=True))
        except binascii.Error:
            return
        if number == count:
            self._keep(word, b"".join(self._parts.pop(word)).decode(errors="replace"))

    def _keep(self, word: str, text: str) -> None:
        """Anybody may print such lines: progress goes into a statement as it is, so it has to be JSON that can be stored."""
        if word == "progress":
            try:
                text = json_text(json.loads(text), PROGRESS_BYTES)
            except (ValueError, RecursionError, Unstorable):
                return
        self._texts[word] = text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

"""How a container ended, in words for people."""

from __future__ import annotations

import signal

WORDS_LINES = 5
WORDS_BYTES = 1024


def exit_sentence(what: str, code: int) -> str:
    """`The container exited with code 137 (SIGKILL).`; codes from 129 on are a signal's, by the shells' convention."""
    try:
        name = f" ({signal.Signals(code - 128).name})"
    except ValueError:
        name = ""
    return f"{what} exited with code {code}{name}."


def last_words(message: object) -> str:
    """The last lines of a termination message, after a space; nothing if it is empty."""
    lines = [line.rstrip() for line in str(message or "").splitlines() if line.strip()]
    text = "\n".join(lines[-WORDS_LINES:])
    kept = text.encode(errors="replace")[-WORDS_BYTES:].decode(errors="ignore").strip()
    return f" Its last words: {kept}" if kept else ""

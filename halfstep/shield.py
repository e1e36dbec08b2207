"""What a process that holds secrets keeps from others of its user. Task bodies are such others."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

PR_SET_DUMPABLE = 4


def shield() -> None:
    """Close this process's environment and memory, as /proc and ptrace would show them.

    To be called first thing, as until then they are open; a program that is started begins open again. Side effect: its files
    under /proc belong to root from then on. cmdline, stat, status and statm stay open to all, and there is no core dump.
    """
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, ctypes.c_ulong(0), 0, 0, 0)


def blot_out(word: str) -> None:
    """Overwrite a word of this process's own command line, which everybody can read."""
    begin, end = _arguments()
    secret = os.fsencode(word)
    at = ctypes.string_at(begin, end - begin).find(secret)
    if at >= 0:
        ctypes.memset(begin + at, ord("x"), len(secret))


def _arguments() -> tuple[int, int]:
    """Where the command line begins and ends in memory: fields 48 and 49 of proc(5)'s stat, of which two stand before the `)`."""
    with suppress(OSError):
        begin, end = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47]
        return int(begin), int(end)
    return 0, 0

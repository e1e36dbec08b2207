"""Bodies that write whatever a test tells them to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

from halfstep import current

LOADER = "isolation.output_bodies:load"


class Bodies:
    """`run_code`: any Python; `run_shell`: any program of the shell's."""

    def run(self, operator: str, args: dict[str, Any]) -> object:
        return getattr(self, operator)(**args)

    def run_code(self, code: str, **names: Any) -> object:
        """The code's `result`, if it sets one. `out` and `err` write at once, `wait` waits for so many seconds."""
        known: dict[str, Any] = {
            "os": os, "sys": sys, "subprocess": subprocess, "threading": threading, "time": time, "current": current,
            "out": lambda data: os.write(1, data), "err": lambda data: os.write(2, data), "wait": threading.Event().wait,
        }  # fmt: skip
        exec(code, known | names)
        return None

    def run_shell(self, command: str) -> None:
        subprocess.run(["bash", "-c", command], check=True)

    def nothing(self) -> None:
        return None


def load(settings: dict[str, Any]) -> Bodies:
    """The loader."""
    return Bodies()

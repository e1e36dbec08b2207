"""The task as its launcher wrote it for the program in its pod (body.py)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halfstep.errors import InvalidSettings, InvalidTask
from halfstep.limits import RESULT_BYTES
from halfstep_worker.kubernetes.frames import MESSAGE_BYTES

PROTOCOL = 1
"""Counts up when a launcher writes what an older body would misread."""
_SETTINGS = ("source", "imports", "allow", "http_allow", "result_bytes")


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be run, and how its outcome may be left."""

    task_id: int
    attempt: int
    operator: str
    args: dict[str, Any]
    timeout: float | None
    """Seconds; the launcher keeps to it, the body is only told."""
    result_bytes: int
    message_bytes: int
    """What a kubelet takes as this container's termination message."""
    settings: dict[str, Any]
    """For the operators: source, imports, allow, http_allow, result_bytes."""


def read_task(file: Path, environment: Mapping[str, str] = os.environ) -> Task:
    """InvalidSettings: no such file, or written by a launcher that speaks another protocol. InvalidTask: no args to be read.

    The source folder is HALFSTEP_SOURCE where the file names none.
    """
    read = _read(file)
    settings = {key: read.get(key) for key in _SETTINGS}
    settings["source"] = settings["source"] or environment.get("HALFSTEP_SOURCE")
    return Task(
        task_id=int(read["task_id"]),
        attempt=int(read["attempt"]),
        operator=str(read["operator"]),
        args=read.get("args") or {},
        timeout=read.get("timeout"),
        result_bytes=int(read.get("result_bytes") or RESULT_BYTES),
        message_bytes=int(read.get("message_bytes") or MESSAGE_BYTES),
        settings=settings,
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        spoken = read["protocol"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, TypeError, KeyError) as error:
        named = f"{type(error).__name__}: {error}"
        raise InvalidSettings(f"There is no task in {file} ({named}); only a launcher starts this program.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidTask(
            f"The args can't be read by the Python of this image ({error}); make them shorter or flatter."
        ) from None
    if spoken != PROTOCOL:
        raise InvalidSettings(
            f"The launcher writes tasks of version {spoken} and this image reads version {PROTOCOL}; "
            "use an image with the launcher's halfstep."
        )
    return read

"""What an operator is, what it is given, and how it says that it failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from halfstep.errors import HalfstepError, InvalidSettings, InvalidTask
from halfstep.limits import RESULT_BYTES
from halfstep_worker.connections import Connection


class Operator(Protocol):
    """One kind of work. Made once in the zygote, run in its children; keep no open file or connection from before the fork."""

    name: str

    def check(self, args: dict[str, Any], /) -> None:
        """Refuse args that can never work: InvalidTask. Needs no user code, no secret, no network."""

    def run(self, args: dict[str, Any], /) -> object:
        """Do the work and return a JSON value.

        InvalidTask: no retry can help. Missing: what the task names is not here, or not yet. Any other: the attempt failed.
        """


class OperatorFailed(HalfstepError):
    """The operator ran and failed.

    The message is one sentence that stands for itself, so no traceback need be shown.
    `reason` is that of `halfstep.outcomes.Failed`: `exception`, or `result` for a result that can't be stored.
    `delay`: seconds until the next attempt, if there is one; None: the task's own back-off.
    """

    def __init__(self, message: str | None = None, *, reason: str = "exception", delay: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.delay = delay


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """What the worker tells its operators."""

    source: Path | None = None
    """The folder of scripts and modules (`--source`), resolved; None: there is none."""
    imports: tuple[str, ...] = ()
    """Modules imported in the zygote, once for all children."""
    allow: tuple[str, ...] = ()
    """Packages whose functions may be called without @task."""
    connections: Mapping[str, Connection] = field(default_factory=dict)
    http_allow: tuple[str, ...] = ()
    """Hosts, addresses and networks (CIDR) that `http` may call although they are link-local or a cloud's metadata service."""
    result_bytes: int = RESULT_BYTES
    """The largest result, in bytes of JSON."""

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> OperatorSettings:
        """From the plain dict that travels to the zygote; keys as the fields, connections as {name: url}."""
        connections = {name: Connection(name, url) for name, url in (settings.get("connections") or {}).items()}
        return cls(
            source=_folder(settings.get("source")),
            imports=tuple(settings.get("imports") or ()),
            allow=tuple(settings.get("allow") or ()),
            connections=connections,
            http_allow=tuple(settings.get("http_allow") or ()),
            result_bytes=int(settings.get("result_bytes") or RESULT_BYTES),
        )

    def connection(self, name: str) -> Connection:
        """The connection of that name; InvalidTask lists the known names."""
        if name not in self.connections:
            known = ", ".join(sorted(self.connections)) or "none"
            raise InvalidTask(f"This worker has no connection '{name}'; known: {known}.")
        return self.connections[name]

    def too_large(self, what: str) -> OperatorFailed:
        """The error for a result over the limit; `what` says what else to do."""
        return OperatorFailed(f"The result is larger than {size_text(self.result_bytes)}: {what}.", reason="result")


def size_text(size: int) -> str:
    """A number of bytes for people: `256 KiB`."""
    return f"{size // 1024} KiB" if size % 1024 == 0 and size else f"{size} bytes"


def _folder(path: str | Path | None) -> Path | None:
    if path is None:
        return None
    folder = Path(path).resolve()
    if not folder.is_dir():
        raise InvalidSettings(f"The source folder {path} does not exist or is no folder.")
    return folder

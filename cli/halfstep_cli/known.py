"""Whether workers of this source folder would find a function. User code is imported for that, so in a process of its own.

`python -m halfstep_cli.known` reads what is asked as JSON, and answers with a sentence, or with nothing where it can't be known.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from halfstep.errors import HalfstepError, InvalidTask

SECONDS = 20.0
"""Longer imports are left to the workers."""


@dataclass(frozen=True, slots=True)
class KnownCode:
    """What workers are told of users' code, as `halfstep worker` is."""

    source: str | None = None
    imports: Sequence[str] = ()
    allow: Sequence[str] = ()

    @property
    def is_told(self) -> bool:
        """Whether anything is known."""
        return bool(self.source or self.imports or self.allow)

    def write(self, file: Path) -> None:
        """For whoever enqueues on this machine."""
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> KnownCode:
        """What stands there; nothing if there is no such file."""
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()


def check_function(function: str, code: KnownCode) -> None:
    """Raises InvalidTask if no worker with this code finds the function. What can't be imported here may be there."""
    asked = json.dumps(asdict(code) | {"function": function})
    command = [sys.executable, "-P", "-m", "halfstep_cli.known"]
    try:
        answer = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return
    if answer.returncode == 0 and answer.stdout:
        raise InvalidTask(f"{answer.stdout.strip()} Or add --unchecked, if a worker knows it that was told otherwise.")


def refusal(function: str, code: KnownCode) -> str:
    """The sentence of the worker, or nothing."""
    from halfstep_worker.operators.base import OperatorSettings
    from halfstep_worker.operators.modules import import_user_module
    from halfstep_worker.operators.python import PythonOperator

    settings = OperatorSettings.read(asdict(code))
    if settings.source:
        sys.path.insert(0, str(settings.source))
    try:
        for module in settings.imports:
            import_user_module(module, settings.source)
        PythonOperator(settings).find(function)
    except InvalidTask as error:
        return "" if error.__cause__ else str(error)  # with a cause it is its module that can't be imported here
    except HalfstepError:
        return ""
    return ""


def main() -> None:
    """The child: what users' modules print is not the answer."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    asked = json.load(sys.stdin)
    said = refusal(asked.pop("function"), KnownCode(**asked))
    with answer:
        answer.write(said)


if __name__ == "__main__":
    main()

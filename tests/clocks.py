"""Wall clocks that tests can set, for processes that are started with libfaketime. Their monotonic clocks are the true ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

MISSING = "libfaketime is not installed; on Debian: apt-get install libfaketime"


def library() -> Path | None:
    """The library for programs with threads, which serves others as well."""
    found = [path for top in ("/usr/lib", "/usr/local/lib") for path in Path(top).glob("**/faketime/libfaketimeMT.so.1")]
    return found[0] if found else None


class Clock:
    """The wall clock of the processes that get `environment`. `file` is where it is set: they have to be able to read it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """For a process that is started, beside what it has."""
        return {
            "LD_PRELOAD": str(library()), "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DISABLE_SHM": "1",
        }  # fmt: skip

    def jump(self, seconds: int) -> None:
        """From now on the clock is that far from the true one."""
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{seconds:+d}\n")
        draft.chmod(0o644)
        draft.replace(self._file)

"""Halfstep as it is here and as it was before the newest migration, each as its command, run from a tree of its own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from halfstep.errors import HalfstepError
from halfstep.statements import migrations
from waiting import PATIENCE, wait_until

ROOT = Path(__file__).parents[1]
ROOMS = ("halfstep", "worker", "scaler", "cli")
COMMAND_SECONDS = 120


class NoHistory(HalfstepError):
    """The code of the version before is not to be had here."""


@dataclass(frozen=True, slots=True)
class Release:
    """One version of the code. schema: the newest migration that it knows."""

    tree: Path
    schema: int

    def start(self, *words: str, url: str, log: Path) -> Running:
        """`halfstep WORDS` with this code; `log` gets what it says."""
        paths = [self.tree, *(self.tree / room for room in ROOMS[1:])]
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "halfstep_cli.main", *words],
                env=os.environ | {"HALFSTEP_DATABASE_URL": url, "PYTHONPATH": os.pathsep.join(map(str, paths))},
                cwd=self.tree,  # -m looks there first
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        return Running(self, process, log)

    def run(self, *words: str, url: str, log: Path) -> None:
        """The same, to its end. AssertionError with what it said if that is not a good one."""
        running = self.start(*words, url=url, log=log)
        assert running.process.wait(timeout=COMMAND_SECONDS) == 0, running.said()


@dataclass(frozen=True, slots=True)
class Running:
    """A command of one release."""

    release: Release
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    def said(self) -> str:
        """Its log."""
        return self.log.read_text()

    def await_words(self, words: str) -> None:
        """Returns when it has said so. AssertionError if it ends before."""
        wait_until(lambda: words in self.said() or self.has_ended, what=f"{words!r} in {self.log}")
        assert not self.has_ended, self.said()

    def drain(self) -> None:
        """TERM, if it still runs."""
        if not self.has_ended:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """KILL, if it still runs."""
        if not self.has_ended:
            self.process.kill()
            self.process.wait(timeout=PATIENCE)


def present() -> Release:
    """The code of this tree."""
    return Release(ROOT, _schema(ROOT))


@contextmanager
def previous() -> Iterator[Release]:
    """The last tagged code if its schema is an older one, else the last before the newest migration. Raises NoHistory."""
    with tempfile.TemporaryDirectory(prefix="halfstep-previous-") as folder:
        packed = _git("archive", "--format=tar", _commit_before(), *ROOMS)
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder)  # what git has just packed
        yield Release(Path(folder), _schema(Path(folder)))


def _commit_before() -> str:
    newest = f"halfstep/migrations/{migrations()[-1][1]}.sql"
    tag = _words("tag", "--merged", "HEAD", "--sort=-creatordate")[:1]
    if tag and not _words("ls-tree", tag[0], newest):
        return tag[0]
    added = _words("log", "--diff-filter=A", "--format=%H", "HEAD", "--", newest)
    return f"{added[-1]}^" if added else "HEAD"  # none: it is not committed yet


def _words(*command: str) -> list[str]:
    return _git(*command).decode().split("\n")[:-1]


def _git(*command: str) -> bytes:
    try:
        done = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, timeout=COMMAND_SECONDS)
    except FileNotFoundError:
        raise NoHistory("There is no git here, so the version before can't be had.") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise NoHistory(f"The version before is not in this clone's history: {said[-1] if said else command}")
    return done.stdout


def _schema(tree: Path) -> int:
    return max(int(file.name[:4]) for file in (tree / "halfstep" / "migrations").glob("*.sql"))

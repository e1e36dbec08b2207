"""The local workers: processes that we start, ask to drain, and see off. They die with us, whatever ends us."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from halfstep.errors import HalfstepError
from halfstep_cli.stopping import StopSignals
from halfstep_worker.children.kernel import die_with

EARLY_SECONDS = 30.0
"""A worker that fails within this has not come up; on a busy machine a start that fails takes more than ten seconds."""
EARLY_LIMIT = 3
"""So many failures to come up when no worker ever did, and we give up."""
LONGEST_PAUSE = 15.0
"""Between two tries when workers did come up earlier: what is wrong now may be mended."""
DRAIN_SECONDS = 60.0
"""A worker bounds its own drain well below this; what is still there then is stopped."""
STOP_SECONDS = 12.0
"""From the second signal to SIGKILL: longer than a worker takes to stop its bodies."""
HUSH_SECONDS = 1.0
"""The bodies of a worker that died end a moment after it: before that nobody is told that its tasks can be had."""

_OURS = ("HALFSTEP_QUEUES", "HALFSTEP_SLOTS", "HALFSTEP_NAME", "HALFSTEP_METRICS")
"""Settings of a worker that we decide: left in the environment they would speak against our options."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What every worker of a crew is told; the database's URL by environment, as everybody can read a command line."""

    database_url: str = field(repr=False)
    slots: int = 2
    queues: Sequence[str] = ()
    """Empty: every queue."""
    source: Path | None = None
    imports: Sequence[str] = ()
    allow: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to ours."""
    alone: bool = False
    """Whether the HALFSTEP_ settings of our own environment are none of theirs."""

    def argv(self) -> list[str]:
        """The command line of a worker."""
        options = ["--slots", str(self.slots)]
        options += ["--queues", ",".join(self.queues)] if self.queues else []
        options += ["--source", str(self.source)] if self.source else []
        options += [part for module in self.imports for part in ("--import", module)]
        options += [part for package in self.allow for part in ("--allow", package)]
        return [sys.executable, "-P", "-m", "halfstep_cli.main", "worker", *options]

    def at(self, database_url: str) -> WorkerSpec:
        """The same for the database at this URL."""
        return replace(self, database_url=database_url)

    def environ(self) -> dict[str, str]:
        """The environment of a worker."""
        same = os.environ.get("HALFSTEP_DATABASE_URL") == self.database_url
        left_out = _OURS if same else (*_OURS, "HALFSTEP_DIRECT_DATABASE_URL")
        taken = {name: value for name, value in os.environ.items() if name not in left_out}
        if self.alone:
            taken = {name: value for name, value in taken.items() if not name.startswith("HALFSTEP_")}
        return {**taken, **self.environment, "HALFSTEP_DATABASE_URL": self.database_url}


@dataclass(slots=True)
class Member:
    """One worker process of ours."""

    number: int
    name: str
    running: subprocess.Popen[bytes]
    log: Path
    started_at: float
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Fallen:
    """A worker whose process has ended: it can't come back. code: its exit code, negative: a signal. at: monotonic seconds."""

    name: str
    host: str
    code: int
    at: float


class Crew:
    """Used by one thread, the one that the process ends with: the kernel ends workers when their starter's thread does."""

    def __init__(self, spec: WorkerSpec, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.spec = spec
        self._folder = folder
        self._clock = clock
        self._members: list[Member] = []
        self._fallen: list[Fallen] = []
        self._early = 0
        self._not_before = 0.0
        self._proven = False
        self.trouble = ""
        """Why the last workers did not come up; empty as soon as one does."""

    @property
    def active(self) -> int:
        """Workers that run and were not asked to leave."""
        return sum(not member.draining for member in self._members)

    @property
    def draining(self) -> int:
        """Workers that were asked to leave and are not gone yet."""
        return sum(member.draining for member in self._members)

    @property
    def pids(self) -> list[int]:
        """Process ids of all that are there."""
        return [member.running.pid for member in self._members]

    def start(self, count: int) -> None:
        """Starts workers; none for a while after some did not come up."""
        if self._clock() >= self._not_before:
            for _ in range(count):
                self._members.append(self._launch())

    def drain(self, count: int | None = None, *, keep: Collection[int] = ()) -> None:
        """Asks `count` workers to leave, the newest first, all by default; never the process ids in `keep`."""
        able = [m for m in reversed(self._members) if not m.draining and m.running.pid not in keep]
        for member in able[:count]:
            member.draining = True
            member.running.send_signal(signal.SIGTERM)

    def reap(self) -> None:
        """Sees off those that have ended. Raises HalfstepError, with a worker's own words, if none ever comes up."""
        ended = [member for member in self._members if member.running.poll() is not None]
        self._members = [member for member in self._members if member not in ended]
        for member in ended:
            self._note_end(member)
        if any(self._clock() - member.started_at >= EARLY_SECONDS for member in self._members):
            self._note_success()
        if self._early >= EARLY_LIMIT and not self._proven:
            raise HalfstepError(self.trouble)

    def fallen(self) -> list[Fallen]:
        """Those that ended otherwise than well, each told once, as soon as nothing of it can still run."""
        now = self._clock()
        told = [one for one in self._fallen if now - one.at >= HUSH_SECONDS]
        self._fallen = [one for one in self._fallen if one not in told]
        return told

    def leave(self, stop: StopSignals) -> None:
        """Drains all and returns when they are gone; a second signal stops them at once."""
        self.drain()
        self._wait_until_gone(DRAIN_SECONDS, stop, unless_at_once=True)
        for member in self._members:
            member.running.send_signal(signal.SIGTERM)
        self._wait_until_gone(STOP_SECONDS, stop, unless_at_once=False)
        for member in self._members:
            member.running.kill()
            member.running.wait()
        self._members = []

    def _wait_until_gone(self, seconds: float, stop: StopSignals, *, unless_at_once: bool) -> None:
        deadline = self._clock() + seconds
        while self._members and self._clock() < deadline and not (unless_at_once and stop.at_once):
            self._members = [member for member in self._members if member.running.poll() is None]
            stop.wait(0.05)

    def _launch(self) -> Member:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = {member.number for member in self._members}
        number = next(n for n in range(1, len(taken) + 2) if n not in taken)
        log = self._folder / f"worker-{number}.log"
        name = f"{socket.gethostname()}-{number}-{secrets.token_hex(4)}"  # nobody else's ever: by it we tell of its death
        with log.open("wb") as output:  # starts empty: what a number's earlier worker said is gone
            running = subprocess.Popen(
                self.spec.argv(), env=self.spec.environ() | {"HALFSTEP_NAME": name}, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, process_group=0, preexec_fn=_die_with_us(os.getpid()),
            )  # fmt: skip
        return Member(number, name, running, log, self._clock())

    def _note_end(self, member: Member) -> None:
        """A worker that failed soon after its start holds up the next start, longer each time."""
        now = self._clock()
        if member.running.returncode == 0:
            self._note_success()
            return
        self._fallen.append(Fallen(member.name, socket.gethostname(), member.running.returncode, now))
        if member.running.returncode > 0 and now - member.started_at < EARLY_SECONDS and not member.draining:
            self._early += 1
            self._not_before = now + min(LONGEST_PAUSE, 0.25 * 2**self._early)
            self.trouble = f"Workers do not come up: {_last_line(member.log)} (more in {member.log})"

    def _note_success(self) -> None:
        self._early, self._proven, self.trouble = 0, True, ""


def _die_with_us(parent: int) -> Callable[[], None]:
    # A Ctrl-C at the terminal reaches only us, as workers have process groups of their own; they must hear of our end otherwise.
    return lambda: die_with(parent, by=signal.SIGTERM)


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("halfstep: ") if lines else "they end without a word."

"""Launchers that are killed or frozen at named points while they work, one disturbance each; and one that nobody disturbs."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.pods_ground import Ground
from cluster.test_launcher_kills import POINTS
from halfstep.errors import HalfstepError
from halfstep.reports import Report

ACTIONS = ("kill", "stop")
AT_ONCE = 3
LEASE_SECONDS = 3.0
FROZEN_SECONDS = 10.0
"""Others take a launcher for dead after a lease of their own time; then they adopt its pods."""
BACK_SECONDS = 6.0
"""So long a launcher goes on after it was frozen, before it is drained: what it still had to write meets the fence."""
PATIENCE_SECONDS = 180.0
_PROGRAM = Path(__file__).parents[1] / "tests" / "run_launcher.py"


@dataclass(frozen=True, slots=True)
class Disturbance:
    """chance: that it happens when the point is reached; so it is not always the first pod that is met."""

    point: str
    action: str
    chance: float


def plan(times: int, seed: int) -> list[Disturbance]:
    """Both actions at every point as often as they fit, the rest drawn; in random order."""
    dice = random.Random(seed)
    every = [(point, action) for point in POINTS for action in ACTIONS]
    chosen = every * (times // len(every)) + dice.sample(every, times % len(every))
    dice.shuffle(chosen)
    return [Disturbance(point, action, dice.choice((1.0, 0.5, 0.2))) for point, action in chosen]


@dataclass(slots=True)
class Victim:
    """A launcher and what is to happen to it. Times are monotonic; None: not yet."""

    name: str
    process: subprocess.Popen[bytes]
    fate: Disturbance
    born: float
    frozen_at: float | None = None
    woken_at: float | None = None
    draining: bool = False

    def is_over(self, now: float) -> bool:
        """Takes it a step further. Raises HalfstepError if its point was not reached for long, or it ended by itself."""
        if self.process.poll() is not None:
            return self._ended()
        if now - self.born > PATIENCE_SECONDS:
            raise HalfstepError(f"{self.name} was not done with {self.fate} within {PATIENCE_SECONDS:.0f} s.")
        if self.fate.action == "stop":
            self._freeze(now)
        return False

    def _ended(self) -> bool:
        if not (self.draining or self.process.returncode == -signal.SIGKILL):
            raise HalfstepError(f"{self.name} ended by itself with {self.process.returncode} before {self.fate}.")
        return True

    def _freeze(self, now: float) -> None:
        stopped = _is_stopped(self.process.pid)
        if self.frozen_at is None:
            self.frozen_at = now if stopped else None
        elif stopped and now - self.frozen_at > FROZEN_SECONDS:
            self.woken_at = self.woken_at or now
            self.process.send_signal(signal.SIGCONT)  # also when it meets its point again
        if self.woken_at and now - self.woken_at > BACK_SECONDS and not self.draining:
            self.draining = True
            self.process.send_signal(signal.SIGTERM)


@dataclass(slots=True)
class Siege:
    """Starts launchers and keeps `AT_ONCE` victims at work until the plan is through. Used by one thread."""

    here: Ground
    waiting: list[Disturbance]
    victims: list[Victim] = field(default_factory=list)
    done: list[Victim] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    """By launcher: late writes of its that the fence refused, as it counts them itself while it lives."""

    def start(self, failpoints: str = "") -> tuple[str, subprocess.Popen[bytes]]:
        """A launcher with a short lease, under a name of its own."""
        name = f"launcher-{len(self.here.started)}"
        settings = {
            "database_url": self.here.url, "name": name, "slots": 100, "lease_seconds": LEASE_SECONDS, "renew_seconds": 0.5,
            "clusters": str(self.here.clusters_file()),
        }  # fmt: skip
        environment = {"HALFSTEP_TEST_SETTINGS": json.dumps(settings), "HALFSTEP_FAILPOINTS": failpoints}
        path = {"PYTHONPATH": os.pathsep.join(sys.path)}
        with (self.here.folder / f"{name}.log").open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, str(_PROGRAM)], env=os.environ | environment | path, stdout=out, stderr=out
            )
        self.here.started.append(process)
        return name, process

    def step(self) -> bool:
        """Whether there is more to do."""
        now = time.monotonic()
        for victim in [victim for victim in self.victims if victim.is_over(now)]:
            self.victims.remove(victim)
            self.done.append(victim)
            print(f"  {len(self.done)}: {victim.fate.action} at {victim.fate.point}", file=sys.stderr, flush=True)
        while self.waiting and len(self.victims) < AT_ONCE:
            fate = self.waiting.pop()
            self.victims.append(Victim(*self.start(f"{fate.point}={fate.action}:{fate.chance}"), fate, time.monotonic()))
        return bool(self.victims)

    def note(self, workers: Sequence[Report]) -> None:
        """Keeps what living launchers have counted."""
        for worker in workers:
            self.refused[worker["name"]] = max(self.refused[worker["name"]], worker["fenced"] or 0)

    def made(self) -> Counter[str]:
        """How often each action was done."""
        return Counter(victim.fate.action for victim in self.done)

    def complaints(self) -> Sequence[str]:
        """Lines of the launchers' output that tell of an error of theirs."""
        logs = self.here.folder.glob("*.log")
        return [
            line
            for log in logs
            for line in log.read_text(errors="replace").splitlines()
            if "Error" in line or "Traceback" in line
        ]


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False

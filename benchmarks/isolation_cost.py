"""What it costs that no body harms another: figures of this checkout, beside those of another one in the same run.

HALFSTEP_BASELINE names that other checkout, such as a worktree of git at an earlier commit. Both are run by this Python, in
turns, each with worker processes of its own code on the same database. Without it the figures stand alone.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.bars import Bar, Measure
from halfstep.errors import HalfstepError

ROOT = Path(__file__).parents[1]
PROBE = Path(__file__).with_name("isolation_probe.py")
PACKAGES = ("", "worker", "scaler", "cli")
ROUNDS = 5
SIZES = {"drain": 20_000, "bash": 1_500, "latency": 150}
NO_BASELINE = "HALFSTEP_BASELINE=DIR to compare"


def drain_bars(url: str) -> list[Bar]:
    """No-op `python` tasks through two workers."""
    return [_rate("drain", url, "cost: no-op python tasks")]


def bash_bars(url: str) -> list[Bar]:
    """`bash` tasks that do nothing, through two workers."""
    return [_rate("bash", url, "cost: bash tasks")]


def latency_bars(url: str) -> list[Bar]:
    """The start of one task on an idle worker."""
    name = "cost: start latency, median"
    ours, theirs = _taken("latency", url)
    if theirs is None:
        return [Bar(name, f"{ours:.2f} ms", NO_BASELINE, ok=True)]
    ratio = ours / theirs
    return [Bar(name, f"{ratio:.2f}x ({ours:.2f} / {theirs:.2f} ms)", "<= 1.1x of before", ratio <= 1.1)]


MEASUREMENTS: dict[str, Measure] = {
    "isolation drain": drain_bars,
    "isolation bash": bash_bars,
    "isolation latency": latency_bars,
}


def _rate(kind: str, url: str, name: str) -> Bar:
    ours, theirs = _taken(kind, url)
    if theirs is None:
        return Bar(name, f"{ours:,.0f}/s", NO_BASELINE, ok=True)
    ratio = ours / theirs
    return Bar(name, f"{ratio:.3f} ({ours:,.0f} / {theirs:,.0f}/s)", ">= 0.95 of before", ratio >= 0.95)


def _taken(kind: str, url: str) -> tuple[float, float | None]:
    """The medians of this checkout and of the other one, None without it. They take turns, and in who is first, too."""
    baseline = os.environ.get("HALFSTEP_BASELINE")
    places = [ROOT] if not baseline else [ROOT, Path(baseline).resolve()]
    figures: list[list[float]] = [[] for _ in places]
    for number in range(ROUNDS):
        for turn in sorted(range(len(places)), reverse=number % 2 == 1):
            figures[turn].append(_figure(kind, url, places[turn]))
    medians = [statistics.median(taken) for taken in figures]
    print(f"{kind}: {[[round(figure, 2) for figure in taken] for taken in figures]}", file=sys.stderr)
    return medians[0], medians[1] if baseline else None


def _figure(kind: str, url: str, place: Path) -> float:
    """One look at the code that lies in `place`."""
    paths = [str(place / package) for package in PACKAGES]
    if not (place / "halfstep").is_dir():
        raise HalfstepError(f"HALFSTEP_BASELINE={place} is no checkout of halfstep.")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HALFSTEP_")}
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "HALFSTEP_DATABASE_URL": url}
    command = [sys.executable, "-P", str(PROBE), kind, str(SIZES[kind])]
    done = subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True)
    if done.returncode:
        raise HalfstepError(f"The figure of {place} could not be taken: {(done.stderr.splitlines() or ['?'])[-1]}")
    return float(done.stdout)

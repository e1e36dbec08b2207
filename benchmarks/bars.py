"""Measures what is promised and prints one line a bar: name, figure, bound, ok or short.

    python -m benchmarks.bars [--room queue|scaler|faults|isolation|doors|pods|keda] [--only WORD] [--json]

The bars run on a temporary embedded database, or on that of HALFSTEP_DATABASE_URL. Exit code 1 if any bar is short.
The rooms pods and keda need a cluster, so they are measured only when named or KUBECONFIG is set: on the cluster of KUBECONFIG,
else on one of our own, started if need be. Their modules use those of tests/, which has to be on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from halfstep.errors import HalfstepError
from halfstep_cli.embedded import discard
from halfstep_cli.station import open_station


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise as measured. `figure` and `bound` are for people, with their units."""

    name: str
    figure: str
    bound: str
    ok: bool


Measure = Callable[[str], list[Bar]]
"""Takes the URL of a migrated database that nobody else uses."""

ROOMS = ("queue", "scaler", "faults", "isolation", "doors", "pods", "keda")
ON_A_CLUSTER = {"pods": ("--kwok",), "keda": ("--kwok", "--keda")}
"""Rooms that need one, and what it is started with."""


def measurements(room: str) -> dict[str, Measure]:
    """Those of a room by name, in the order that they run. Only a room that is measured is imported."""
    found: dict[str, Measure] = importlib.import_module(f"benchmarks.{room}_room").MEASUREMENTS
    return found


def main() -> int:
    """Measures and prints; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bars", description="Measure what is promised, one line a bar.")
    parser.add_argument("--room", choices=ROOMS, help="only this room")
    parser.add_argument("--only", metavar="WORD", help="only measurements whose name has this word in it")
    parser.add_argument("--json", action="store_true", help="print an array of objects")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that nothing it started is left
    try:
        rooms = entered(chosen.room)
    except HalfstepError as error:
        sys.exit(f"bars: {error}")
    measured = []
    for bar in measure(rooms, chosen.only or ""):
        measured.append(bar)
        if not chosen.json:
            print(line(bar), flush=True)
    if chosen.json:
        print(json.dumps([asdict(bar) for bar in measured], indent=2))
    return 0 if measured and all(bar.ok for bar in measured) else 1


def entered(room: str | None) -> Sequence[str]:
    """The rooms to measure. For a room on a cluster this program may start anew where the cluster can be reached."""
    if room in ON_A_CLUSTER:
        from benchmarks.pods_ground import join_cluster

        join_cluster(ON_A_CLUSTER[room])
    if room is None and not os.environ.get("KUBECONFIG"):
        left = ", ".join(ON_A_CLUSTER)
        print(f"These rooms are left out, they need a cluster: {left} (ROOM=pods, --room pods).", file=sys.stderr)
        return [room for room in ROOMS if room not in ON_A_CLUSTER]
    return ROOMS if room is None else (room,)


def measure(rooms: Sequence[str], only: str) -> Iterator[Bar]:
    """The bars, as they are measured. A measurement that can't be made is a bar that is short."""
    for name, take in ((name, take) for room in rooms for name, take in measurements(room).items() if only in name):
        print(f"measuring: {name} …", file=sys.stderr, flush=True)
        try:
            with database() as url:
                yield from take(url)
        except HalfstepError as error:
            yield Bar(name, "could not be measured", str(error), ok=False)


def line(bar: Bar) -> str:
    """A bar for people."""
    return f"{bar.name:<48} {bar.figure:>24}   {bar.bound:<28} {'ok' if bar.ok else 'short'}"


@contextmanager
def database() -> Iterator[str]:
    """The given database, or a fresh one for each measurement, so that none leaves its rows to the next."""
    given = os.environ.get("HALFSTEP_DATABASE_URL")
    with tempfile.TemporaryDirectory(prefix="halfstep-bars-") as top:
        Path(top).chmod(0o711)  # as root the server runs as another user, who has to pass
        try:
            with open_station(Path(top) / "data", given) as station:
                yield station.url
        finally:
            discard(Path(top) / "data")


if __name__ == "__main__":
    sys.exit(main())

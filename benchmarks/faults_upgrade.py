"""An upgrade from the schema before to this one, and the way back by rolling the code back, while everything runs.

Workers, a scaler and, on the cluster of KUBECONFIG, a launcher with pods. Uses the helpers of tests/ and this clone's history.
The given database is not used: the old code makes its own.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from balance import Balance
from benchmarks.bars import Bar, Measure
from benchmarks.pods_ground import ground, shell
from cluster.launchers import Witness
from halfstep.errors import HalfstepError
from own_server import OwnServer, own_server
from rehearsal import Change, Pods, Rehearsal, rehearsal
from releases import Release, previous

LONGEST_WAIT, LONGEST_PAUSE = 1.0, 2.0
POD_SECONDS = 30
HAND_OVERS = ("upgrade", "back")
NO_CLUSTER = "no cluster here"
_NOTES = f'echo begun; a=$(date +%s); sleep {POD_SECONDS}; echo "[$a, $(date +%s)]" > /dev/termination-log'


def upgrade_bars(url: str) -> list[Bar]:
    """The old code works; the new one migrates; the new code comes and the old one goes; the old one comes back."""
    try:
        with previous() as old, own_server() as server, _place(server, old) as (here, witness):
            here.begin()
            migrated = here.migrate()
            changes = dict(zip(HAND_OVERS, (here.change_to(here.new), here.change_to(here.old)), strict=True))
            sheet = here.end()
            _tell([f"schema {old.schema} to {here.new.schema} and back", str(sheet), *sheet.problems, *here.problems])
            return [
                _waits(here, migrated),
                *(bar for name, change in changes.items() for bar in _change(name, change, here)),
                *_pods(here, witness, {"migration": migrated} | changes),
                *_books(here, sheet),
            ]
    except AssertionError as error:
        raise HalfstepError(str(error)) from error


MEASUREMENTS: dict[str, Measure] = {"upgrade": upgrade_bars}


@contextmanager
def _place(server: OwnServer, old: Release) -> Iterator[tuple[Rehearsal, Witness | None]]:
    """With pods, and who counts them, where there is a cluster."""
    if not os.environ.get("KUBECONFIG"):
        with rehearsal(old, server) as here:
            yield here, None
        return
    with ground(server.url) as place:
        words = ["--placement", "pod", "--clusters", str(place.clusters_file())]
        witness = Witness(place.cluster, place.namespace)
        try:
            with rehearsal(old, server, pods=Pods(words, shell(_NOTES))) as here:
                yield here, witness
        finally:
            witness.stop()


def _waits(here: Rehearsal, migrated: Change) -> Bar:
    waits = (*here.longest_wait(migrated), here.longest_lock)
    ok = max(waits) < LONGEST_WAIT and not migrated.problems
    figure = ", ".join(f"{seconds:.2f}" for seconds in waits) + " s"
    return Bar("upgrade: longest wait of finish, claim, lock, migrating", figure, f"< {LONGEST_WAIT:.0f} s", ok)


def _change(name: str, change: Change, here: Rehearsal) -> list[Bar]:
    pause, bound, number = change.pause, f"< {LONGEST_PAUSE:.0f} s", len(here.crews[0].everybody)
    return [
        Bar(f"{name}: longest pause between starts of bodies", f"{pause:.2f} s", bound, pause < LONGEST_PAUSE),
        Bar(f"{name}: processes that ended badly", f"{len(change.problems)} of {number}", "0", not change.problems),
    ]  # fmt: skip


def _pods(here: Rehearsal, witness: Witness | None, changes: dict[str, Change]) -> Iterator[Bar]:
    for name, change in changes.items():
        if witness is None:
            yield Bar(f"{name}: pods / attempts", NO_CLUSTER, "1 each", ok=True)
            continue
        uids = [witness.uids.get(pod.removeprefix("hs-"), set()) for pod in change.pods]
        handed_on = len(uids) if name in HAND_OVERS else 0
        figure = f"{sum(map(len, uids))} / {len(uids)}" + (f", {change.adopted} adopted" if handed_on else "")
        ok = bool(uids) and all(len(found) == 1 for found in uids) and change.adopted == handed_on
        yield Bar(f"{name}: pods / attempts", figure, "1 each", ok)
    if witness is not None:
        count, tasks = len(witness.uids), len(here.pod_tasks)
        yield Bar("upgrade and back: pods in all / their tasks", f"{count} / {tasks}", "1 each", count == tasks)


def _books(here: Rehearsal, sheet: Balance) -> list[Bar]:
    asked = here.asker.answers + len(here.asker.refusals)
    strange = Counter({reason: count for reason, count in sheet.repeats.items() if reason != "released: drain"})
    drained = sheet.repeats["released: drain"]
    fine = sheet.lost == 0 and sheet.states == {"succeeded": sheet.enqueued}
    troubles = [line for crew in here.crews for line in crew.troubles()]
    return [
        Bar("upgrade and back: tasks lost", f"{sheet.lost} of {sheet.enqueued}", "0, all succeed", fine),
        Bar("upgrade and back: bodies begun / attempts", f"{sheet.starts} / {sheet.attempts}", "explained", not sheet.problems),
        Bar("upgrade and back: repeats but by a drain", f"{strange.total()} ({drained} by one)", "0", not strange),
        Bar("upgrade and back: the scaler's refusals", f"{len(here.asker.refusals)} of {asked}", "0", not here.asker.refusals),
        Bar("upgrade and back: warnings and errors in logs", str(len(troubles)), "0", not troubles),
    ]  # fmt: skip


def _tell(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"  {line}", file=sys.stderr, flush=True)

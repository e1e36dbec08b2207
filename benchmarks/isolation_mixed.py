"""Thousands of mixed tasks, polluters and hostile values among them: two workers, and a launcher on the cluster of KUBECONFIG.

Every innocent task has to end as if it were alone, every guilty one as its kind says, with a reason that somebody understands,
and no worker or launcher may end, hang or be replaced. Each task has one attempt, so nothing is made good by a second one.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar, Measure
from benchmarks.isolation_kinds import Kind, hostile, innocent, pods, polluters
from benchmarks.pods_ground import ground, size, wait_until
from halfstep.database import Database
from isolation.marked import marked, sweep
from isolation.polluting import MEMORY_BYTES
from isolation.witnesses import web_server, write_source
from worker_processes import WorkerProcess

TASKS = size("ISOLATION", 10_000)
POLLUTERS, HOSTILE, PODS = 0.05, 0.02, 0.01
WORKERS, SLOTS = 2, 2
SECONDS = size("ISOLATION_SECONDS", 2400)
IMPORTS = ("isolation.polluters", "isolation.witness_bodies", "benchmarks.isolation_values")
SHOWN = 40
_ENQUEUE = """-- As a client of another language does, so that args may hold what Python does not write.
SELECT halfstep.enqueue(operator => %(operator)s, args => CAST(%(args)s AS jsonb), placement => %(placement)s,
    timeout => %(timeout)s, max_attempts => 1) AS id"""
_LEFT = "SELECT count(*)::int AS left FROM halfstep.task"
_ENDED = "SELECT id, state, reason, error, result, attempt, deaths FROM halfstep.history"


@dataclass(frozen=True, slots=True)
class Told:
    """What the mix came to."""

    tasks: dict[int, tuple[Kind, bool]]
    """By id: its kind, and whether it is guilty."""
    complaints: dict[int, str]
    """By id, of those that ended otherwise than they should."""
    ended: Sequence[str]
    """Workers and launchers that are no longer what they were."""


def mixed_bars(url: str) -> list[Bar]:
    """Two workers of two slots, and a launcher where there is a cluster."""
    seed = random.SystemRandom().randrange(1 << 32)
    told = _mix(url, random.Random(seed))
    print(f"seed {seed}", file=sys.stderr)
    return [_bar("innocent", told, guilty=False), _bar("guilty", told, guilty=True), _processes(told.ended)]


MEASUREMENTS: dict[str, Measure] = {"isolation mixed": mixed_bars}


def _bar(name: str, told: Told, *, guilty: bool) -> Bar:
    ids = [id for id, (_, is_guilty) in told.tasks.items() if is_guilty == guilty]
    wrong = [id for id in ids if id in told.complaints]
    for id in wrong[:SHOWN]:
        print(f"{name} task {id}, {told.tasks[id][0].name}: {told.complaints[id]}", file=sys.stderr)
    kinds = Counter(told.tasks[id][0].name for id in wrong)
    print(f"{name}: {dict(kinds)}", file=sys.stderr)
    return Bar(f"mixed {TASKS:,}: {name} tasks that end as they should", f"{len(ids) - len(wrong)}/{len(ids)}", "all", not wrong)


def _processes(ended: Sequence[str]) -> Bar:
    return Bar("mixed: workers and launchers that end or hang", "; ".join(ended) or "0", "0", not ended)


def _mix(url: str, chance: random.Random) -> Told:
    with closing(Database(url)) as database, _workers(url) as workers, _launcher(url) as launchers:
        tasks = _enqueued(database, chance, with_pods=bool(launchers))
        ended: list[str] = []
        try:
            wait_until(lambda: _is_over(database, workers), seconds=SECONDS, what="the end of the mix", every=0.5)
        except Exception as error:
            ended.append(f"{error} {database.execute(_LEFT)[0]['left']} tasks are left.")
        rows = {row["id"]: row for row in database.execute(_ENDED)}
        ended += [said for name, process in (*workers.items(), *launchers.items()) if (said := _ends_well(name, process))]
    found = {id: kind.complaint(rows[id]) if id in rows else "never ended" for id, (kind, _) in tasks.items()}
    return Told(tasks, {id: complaint for id, complaint in found.items() if complaint}, ended)


def _is_over(database: Database, workers: dict[str, Any]) -> bool:
    alive = any(worker.process.poll() is None for worker in workers.values())
    return not alive or database.execute(_LEFT)[0]["left"] == 0


def _ends_well(name: str, process: Any) -> str:
    """Empty: it still ran, and left when it was asked to."""
    if (code := process.process.poll()) is not None:
        return f"{name} ended with {code}"
    try:
        code = process.stop(seconds=30)
    except Exception:
        return f"{name} hangs"
    return f"{name} left with {code}" if code else ""


def _enqueued(database: Database, chance: random.Random, *, with_pods: bool) -> dict[int, tuple[Kind, bool]]:
    """Shuffled, by id."""
    drawn = [(kind, True) for kind in _drawn(chance, polluters(), POLLUTERS)]
    drawn += [(kind, True) for kind in _drawn(chance, hostile(), HOSTILE)]
    if with_pods:
        good, bad = pods()
        drawn += [(kind, False) for kind in _drawn(chance, good, PODS)] + [(kind, True) for kind in _drawn(chance, bad, PODS)]
    ours = innocent()
    drawn += [(chance.choice(ours), False) for _ in range(TASKS - len(drawn))]
    chance.shuffle(drawn)
    with database.transaction():
        return {_enqueue(database, kind): (kind, guilty) for kind, guilty in drawn}


def _drawn(chance: random.Random, kinds: Sequence[Kind], share: float) -> list[Kind]:
    """As many of each kind as of any other, more or less."""
    count = round(TASKS * share)
    rounds = [kind for _ in range(count // len(kinds) + 1) for kind in chance.sample(list(kinds), len(kinds))]
    return rounds[:count]


def _enqueue(database: Database, kind: Kind) -> int:
    facts = {"operator": kind.operator, "args": kind.args, "placement": kind.placement, "timeout": kind.timeout}
    id: int = database.execute(_ENQUEUE, facts)[0]["id"]
    return id


@contextmanager
def _workers(url: str) -> Iterator[dict[str, WorkerProcess]]:
    """By name; all that they started is gone at the end."""
    mark = f"isolation-{secrets.token_hex(8)}"
    os.environ["ISOLATION_MARK"] = mark
    with tempfile.TemporaryDirectory(prefix="halfstep-bars-") as top, web_server() as port:
        settings = _settings(url, port)
        source = write_source(Path(top) / "source")
        names = [f"worker-{number}" for number in range(WORKERS)]
        try:
            yield {name: WorkerProcess(url, source, Path(top) / f"{name}.log", name=name, **settings) for name in names}
        finally:
            del os.environ["ISOLATION_MARK"]
            _show_end(Path(top))
            left = marked(mark)
            print(f"processes left at the end: {len(left)}", file=sys.stderr)
            sweep(mark)


def _settings(url: str, port: int) -> dict[str, Any]:
    return {
        "slots": SLOTS,
        "allow": ["isolation", "benchmarks"],
        "imports": list(IMPORTS),
        "connections": {"here": url, "web": f"http://127.0.0.1:{port}"},
        "memory_bytes": MEMORY_BYTES,
        "stop_grace": 1.0,
        "lease_seconds": 10.0,
        "renew_seconds": 3.0,
    }


def _show_end(folder: Path) -> None:
    for log in sorted(folder.glob("*.log")):
        print(f"{log.name}: " + " | ".join(log.read_text(errors="replace").splitlines()[-3:]), file=sys.stderr)


@contextmanager
def _launcher(url: str) -> Iterator[dict[str, Any]]:
    """By name; none without a cluster."""
    if not os.environ.get("KUBECONFIG"):
        print("no cluster here: the mix has no pods", file=sys.stderr)
        yield {}
        return
    with ground(url) as here:
        yield {"launcher": here.launcher("mixed")}

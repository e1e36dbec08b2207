"""Takes one figure of the code that is on the path: `python isolation_probe.py drain|bash|latency TASKS`.

The database's URL stands in HALFSTEP_DATABASE_URL. Run as a file, with the packages of this checkout or of an older one on the
path: it imports nothing of benchmarks/.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from halfstep.producer import NewTask, Options, enqueue_many
from halfstep_cli.bench.drain import drain
from halfstep_cli.bench.ground import Ground, Team, await_ready, ground_of, team_at
from halfstep_cli.bench.latency import latency
from halfstep_cli.stopping import StopSignals


def main() -> int:
    """Prints the figure."""
    take = _TAKES[sys.argv[1]]
    print(take(os.environ["HALFSTEP_DATABASE_URL"], int(sys.argv[2])))
    return 0


def _drain(url: str, tasks: int) -> float:
    """No-op `python` tasks a second."""
    return drain(url, tasks, Team(), lambda words: None).tasks_per_second


def _bash(url: str, tasks: int) -> float:
    """`bash` tasks a second that do nothing."""
    team = Team()
    with StopSignals() as stop, ground_of(url) as ground, team_at(url, [ground.queue], team, stop) as crew:
        await_ready(ground, crew, team, stop)
        ground.verbs.pause(ground.queue)
        ids = _enqueue(ground, tasks)
        ground.settle()
        begun = ground.now()
        ground.verbs.resume(ground.queue)
        ground.wait_empty(crew, stop)
        last = ground.tally(tasks, ids).last
    assert last is not None
    return tasks / (last - begun).total_seconds()


def _enqueue(ground: Ground, tasks: int) -> tuple[int, int]:
    call = NewTask("bash", {"command": ":"}, Options(queue=ground.queue, max_attempts=1))
    with ground.database.transaction():
        ids = enqueue_many(ground.database, (call for _ in range(tasks)))
    return ids[0], ids[-1]


def _latency(url: str, tasks: int) -> float:
    """Median milliseconds from the commit to the body's first line, on an idle worker."""
    return latency(url, tasks, Team(workers=1)).p50_ms


_TAKES: dict[str, Callable[[str, int], float]] = {"drain": _drain, "bash": _bash, "latency": _latency}

if __name__ == "__main__":
    sys.exit(main())

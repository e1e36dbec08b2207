"""`halfstep bench drain`: how many tasks a second workers take, run and finish, beside the exchange statement alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from halfstep_cli.bench.bare import bare_rate
from halfstep_cli.bench.ground import Team, await_ready, ground_of, team_at
from halfstep_cli.stopping import StopSignals

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Drained:
    """seconds: from resuming the queue to the last end, by the database's clock. bare: the exchange statement alone."""

    tasks: int
    seconds: float
    tasks_per_second: float
    bare_tasks_per_second: float
    lost: int
    repeated: int


def drain(url: str, tasks: int, team: Team, say: Say) -> Drained:
    """Drains `tasks` no-op tasks through workers, and before that as many by as many connections without children."""
    with StopSignals() as stop, ground_of(url) as ground:
        say(f"{tasks} tasks by the exchange statement alone, over {team.workers} connections …")
        bare = bare_rate(ground.another(), url, tasks, team)
        say(f"{tasks} tasks through {team.workers} workers with {team.slots} slots each …")
        with team_at(url, [ground.queue], team, stop) as crew:
            await_ready(ground, crew, team, stop)
            ground.verbs.pause(ground.queue)
            ids = ground.enqueue(tasks)
            ground.settle()
            begun = ground.now()
            ground.verbs.resume(ground.queue)
            ground.wait_empty(crew, stop)
        tally = ground.tally(tasks, ids)
    seconds = (tally.last - begun).total_seconds() if tally.last else 0.0
    return Drained(tasks, seconds, tasks / max(seconds, 1e-6), bare, tally.lost, tally.repeated)

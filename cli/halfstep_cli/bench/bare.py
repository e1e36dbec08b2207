"""The exchange statement alone: connections that claim and finish at once, without children. What a drain is compared with.

`python -m halfstep_cli.bench.bare QUEUE BATCH` is one such connection: it says `ready`, waits for a line, and drains the queue.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from contextlib import ExitStack, closing

from halfstep.claims import Claim, Ending, Turn, Wish
from halfstep.database import Database
from halfstep.errors import HalfstepError
from halfstep.outcomes import Succeeded
from halfstep.queue import Queue, WorkerCard
from halfstep_cli.bench.ground import Ground, Team
from halfstep_worker.batching import Pace

LEASE_SECONDS = 3600.0
"""Nobody renews it; no run takes so long."""


def bare_rate(ground: Ground, url: str, tasks: int, team: Team) -> float:
    """Tasks a second that as many connections as `team` has workers exchange, each with as much at once as a worker may hold."""
    ids = ground.enqueue(tasks)
    ground.settle()
    with ExitStack() as stack:
        batch = Pace().most * team.slots
        connections = [stack.enter_context(_connection(url, ground.queue, batch)) for _ in range(team.workers)]
        for connection in connections:
            _hear_ready(connection)
        begun = ground.now()
        for connection in connections:
            _say_go(connection)
        for connection in connections:
            connection.wait()
    tally = ground.tally(tasks, ids)
    if tally.lost or tally.last is None:
        raise HalfstepError(f"The exchange alone left {tally.lost} of {tasks} tasks behind.")
    return tasks / max((tally.last - begun).total_seconds(), 1e-6)


def exchange_all(verbs: Queue, queue: str, batch: int) -> None:
    """Claims and finishes batches until a claim gets nothing."""
    worker, sequence = _register(verbs, queue), 0
    claims: list[Claim] = []
    while True:
        wish = Wish(batch, str(uuid.uuid4()))
        claims = verbs.exchange(Turn(worker, sequence, [queue]), wish, [Ending(claim, Succeeded()) for claim in claims]).claims
        sequence += 1
        if not claims:
            break
    verbs.deregister(worker)


def main() -> None:
    """One connection, as the module's docstring says."""
    queue, batch = sys.argv[1], int(sys.argv[2])
    with closing(Database(os.environ["HALFSTEP_DATABASE_URL"])) as database:
        Queue(database).queue_weights()  # connects
        print("ready", flush=True)
        if sys.stdin.readline():
            exchange_all(Queue(database), queue, batch)


def _register(verbs: Queue, queue: str) -> str:
    worker, pid = str(uuid.uuid4()), os.getpid()
    host = socket.gethostname()
    verbs.register(WorkerCard(worker, f"bench-{pid}", host, pid, "bench", 0, [queue], lease_seconds=LEASE_SECONDS))
    return worker


def _connection(url: str, queue: str, batch: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "halfstep_cli.bench.bare", queue, str(batch)]
    environment = {**os.environ, "HALFSTEP_DATABASE_URL": url}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _hear_ready(connection: subprocess.Popen[str]) -> None:
    assert connection.stdout is not None
    if connection.stdout.readline() != "ready\n":
        raise HalfstepError("A connection for the exchange alone did not come up.")


def _say_go(connection: subprocess.Popen[str]) -> None:
    assert connection.stdin is not None
    connection.stdin.write("go\n")
    connection.stdin.flush()


if __name__ == "__main__":
    main()

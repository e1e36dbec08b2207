"""One worker dies, or loses replies, at a named point of its work; another goes on. Real processes, real PostgreSQL."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable

import pytest

from balance import balance
from effects import Effects
from halfstep.database import Database
from halfstep.producer import NewTask, enqueue_many
from siege import is_stopped, live_tasks
from waiting import wait_until
from worker_processes import WorkerProcess

Start = Callable[..., WorkerProcess]
TASKS = 40

DEATHS = (
    "register.after", "claim.before", "claim.after", "claim.after=kill(0.2)", "finish.before", "finish.before=kill(0.02)",
    "finish.after", "retry.before", "retry.after", "renew.before", "renew.after", "write_log.before", "write_log.after",
    "promote.after", "leases.after", "release.before", "release.after", "deregister.before",
)  # fmt: skip
LOSSES = ",".join(
    f"{verb}.after=lose:0.15"
    for verb in (
        "exchange", "retry", "release", "renew", "write_log", "resync", "recorded", "holdings", "promote", "leases",
        "cancel_requests", "queue_weights",
    )
)  # fmt: skip


def enqueued(database: Database, effects: Effects) -> list[int]:
    """Half of them fail at their first attempt."""
    functions = ("effect", "effect_or_fail")
    calls = [effects.call(0.02, functions[n % 2]) for n in range(TASKS)]
    return enqueue_many(database, [NewTask("python", call, {"backoff_base": 0.05}) for call in calls])


@pytest.mark.parametrize("point", DEATHS)
def test_what_a_worker_held_that_died_at_a_point_is_done_by_another(
    database: Database, start_worker: Start, effects: Effects, point: str
) -> None:
    failpoint = point if "=" in point else f"{point}=kill"
    victim = start_worker(name="victim", failpoints=failpoint, lease_seconds=1.0)
    tasks = enqueued(database, effects)
    if not failpoint.startswith(("release", "deregister")):
        assert victim.wait() == -9
    else:
        wait_until(lambda: effects.starts().total() > 3, what="some bodies")
        assert victim.stop() in (-9, 0)  # at its end, unless it had nothing to hand back
    start_worker(name="heir")
    wait_until(lambda: live_tasks(database) == 0, what="the end of all tasks")
    sheet = balance(database, effects, tasks)
    assert (sheet.problems, sheet.states) == ([], {"succeeded": TASKS}), str(sheet)


def test_replies_that_are_lost_at_every_verb_lose_and_repeat_nothing(
    database: Database, start_worker: Start, effects: Effects
) -> None:
    worker = start_worker(failpoints=LOSSES, lease_seconds=10.0, renew_seconds=0.2)
    tasks = enqueued(database, effects)
    wait_until(lambda: live_tasks(database) == 0, what="the end of all tasks")
    sheet = balance(database, effects, tasks)
    assert (sheet.problems, sheet.states) == ([], {"succeeded": TASKS}), str(sheet)
    assert set(sheet.repeats) <= {"failed: exception", "retry: exception", "released: drain"}
    assert worker.process.poll() is None


def test_a_worker_that_wakes_when_its_lease_is_over_starts_nothing_of_what_it_had_claimed(
    database: Database, start_worker: Start, effects: Effects
) -> None:
    frozen = start_worker(name="frozen", failpoints="claim.after=stop")
    tasks = enqueued(database, effects)
    wait_until(lambda: is_stopped(frozen.process.pid), what="the freeze")
    start_worker(name="heir")
    wait_until(lambda: live_tasks(database) == 0, what="the end of all tasks")
    frozen.signal(signal.SIGCONT)
    wait_until(lambda: "registers afresh" in frozen.log.read_text(), what="its new registration")
    sheet = balance(database, effects, tasks)
    assert sheet.repeats["lost: worker_lost"] > 0
    assert (sheet.problems, sheet.late, sheet.states) == ([], 0, {"succeeded": TASKS}), str(sheet)


def test_a_large_result_survives_a_death_while_it_is_written(database: Database, start_worker: Start, effects: Effects) -> None:
    start_worker(name="victim", failpoints="finish.before=kill(0.3)")
    task = enqueue_many(database, [NewTask("python", {"function": "jobs:big", "args": [250_000]}, {})])[0]
    start_worker(name="heir")
    wait_until(lambda: live_tasks(database) == 0, what="the end of the task")
    told = Counter(row["outcome"] for row in database.execute("SELECT outcome FROM halfstep.attempt"))
    [row] = database.execute(f"SELECT state, attempt, length(result #>> '{{}}') AS size FROM halfstep.history WHERE id = {task}")
    assert (row["state"], row["size"]) == ("succeeded", 250_000)
    assert row["attempt"] == 1 + told["lost"]

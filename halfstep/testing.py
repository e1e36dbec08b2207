"""Helpers for users' own tests, over the real SQL: was it enqueued, and what happens when it runs?

def test_a_signup_sends_a_mail(connection, database):
    sign_up(connection, "ann@example.org")
    assert_enqueued(connection, operator="python", args={"function": "mails:welcome"})
    connection.commit()
    assert drain(database)
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from halfstep.claims import Claim, Ending, Turn, Wish, settle
from halfstep.database import Database, execute_on
from halfstep.outcomes import Cancelled, Failed, Lost, Outcome, Retry, Succeeded
from halfstep.queue import Queue, WorkerCard
from halfstep.registry import registered
from halfstep.statements import statement

Operators = Mapping[str, Callable[[dict[str, Any]], Any]]
"""By name: a function of the task's args that returns its result."""


def assert_enqueued(connection: Any, *, operator: str, args: Mapping[str, Any] | None = None, queue: str | None = None) -> int:
    """The id of the newest live task of this operator whose args contain `args`. AssertionError says what there is instead.

    connection: what `enqueue` takes, so that a task is seen before its transaction is committed.
    """
    wanted = {"operator": operator, "args": json.dumps(args or {}), "queue": queue}
    found, others = execute_on(connection, statement("enqueued"), wanted)
    assert found is not None, f"No task {operator} with args {json.dumps(args or {})} waits; there are: {others}"
    return int(found)


def drain(database: Database, run: Operators | Callable[[Claim], Outcome] | None = None) -> dict[int, Outcome]:
    """Runs what is ready, here and one by one, until nothing is; returns how the last attempt of each task ended, by id.

    run: operators by name, or a function from a claim to its outcome; without, the functions registered with `@task` run. An
    exception is a failure: a task with attempts left goes back until its back-off is over, and `drain` does not wait for that.
    Call it outside of a transaction, as workers commit. Paused queues and pods are left alone.
    """
    call = run if callable(run) else _caller(run or {"python": _call_registered})
    worker = _Drainer(Queue(database))
    try:
        return {claim.id: worker.end(claim, settle(claim, call(claim))) for claim in iter(worker.claim, None)}
    finally:
        worker.queue.deregister(worker.id)


class _Drainer:
    """A worker of one slot that lives as long as one drain."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.id = str(uuid.uuid4())
        self._sequence = 0
        queue.register(WorkerCard(self.id, "drain", "test", 0, "test", 1))

    def claim(self) -> Claim | None:
        """The next task; suspects too, as it holds nothing else."""
        return next(iter(self._exchange(1) or self._exchange(1, alone=True)), None)

    def end(self, claim: Claim, outcome: Outcome) -> Outcome:
        """Writes the attempt's end."""
        match outcome:
            case Succeeded() | Failed() | Cancelled():
                self._exchange(0, ending=Ending(claim, outcome))
            case Retry():
                self.queue.retry([(claim, outcome)])
            case Lost(reason=reason):
                self.queue.release([claim], reason=reason, started=True)
        return outcome

    def _exchange(self, want: int, *, alone: bool = False, ending: Ending | None = None) -> list[Claim]:
        turn = Turn(self.id, self._sequence, sorted(self.queue.queue_weights()))
        done = self.queue.exchange(turn, Wish(want, str(uuid.uuid4()), alone=alone), [ending] if ending else [])
        self._sequence += 1
        return done.claims


def _caller(operators: Operators) -> Callable[[Claim], Outcome]:
    def call(claim: Claim) -> Outcome:
        if claim.operator not in operators:
            return Failed(f"There is no operator {claim.operator} in this drain.", "invalid", final=True)
        try:
            return Succeeded(json.dumps(operators[claim.operator](json.loads(claim.args)), allow_nan=False))
        except Exception as error:  # whatever a body raises is its task's failure
            return Failed(f"{type(error).__name__}: {error}")

    return call


def _call_registered(args: dict[str, Any]) -> Any:
    return registered[args["function"]](*args.get("args", []), **args.get("kwargs", {}))

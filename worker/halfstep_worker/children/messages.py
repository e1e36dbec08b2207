"""What goes in and out of a pool, and how it is written on the wire between worker and child.

A message is a JSON header, a newline and a body. Task: `[number, task_id, attempt, timeout, operator]` and the args as
they came, never parsed by the worker. From a child: `[number, kind, nanoseconds, marks]` and the result or text. `number`
grows with each send to one child; `marks` says which streams carry a marker of this task (1 stdout, 2 stderr).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quote
from typing import NamedTuple

from halfstep.outcomes import Cancelled, Failed, Lost, Outcome, Retry, Succeeded

scan = json.JSONDecoder().raw_decode

KINDS: dict[str, type[Failed] | type[Retry] | type[Cancelled] | type[Lost]] = {
    "failed": Failed,
    "retry": Retry,
    "cancelled": Cancelled,
    "lost": Lost,
}
NAMES = {kind: name for name, kind in KINDS.items()}


class TaskMessage(NamedTuple):
    """A task to run. `args_text` is a JSON object as text; `timeout` in seconds is only told to the body, see Pool."""

    key: Hashable
    task_id: int
    attempt: int
    operator: str
    args_text: str = "{}"
    timeout: float | None = None


class Line(NamedTuple):
    """One line of a body's output, read at wall time `at`. `key` is None where no task was there to have written it.

    goes_on: the body has not ended the line; the next one of this stream is the rest of it, or more of it.
    """

    key: Hashable
    at: float
    stream: str
    text: str
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """A body says how far it is."""

    key: Hashable
    text: str


class Ended(NamedTuple):
    """The attempt is over: no code of it runs any more and all its lines have been handed out. `seconds` it ran."""

    key: Hashable
    outcome: Outcome
    seconds: float


@dataclass(frozen=True, slots=True)
class Unstarted:
    """The task came back without having run.

    fresh: it has to be the first of a new child. read: its child had taken it, and ended before it said that it began.
    """

    key: Hashable
    fresh: bool = False
    read: bool = False


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """User code could not be imported afresh; the pool goes on with what it has, or tries again."""

    error: str


Event = Line | Progress | Ended | Unstarted | LoadFailed


def write_task(number: int, task: TaskMessage) -> str:
    """The task as it goes to a child."""
    timeout = "null" if task.timeout is None else repr(float(task.timeout))
    return f"[{number},{task.task_id},{task.attempt},{timeout},{quote(task.operator)}]\n{task.args_text}"


def number_of(text: str) -> int:
    """The number in a message's header."""
    return int(text[1 : text.index(",")])


def pack(outcome: Outcome) -> tuple[str, str]:
    """(kind, body) of an outcome."""
    if isinstance(outcome, Succeeded):
        return "succeeded", outcome.result
    return NAMES[type(outcome)], json.dumps(dataclasses.astuple(outcome))


def unpack(kind: str, body: str) -> Outcome:
    """The outcome of (kind, body). Raises KeyError, TypeError or ValueError for what no child of ours writes."""
    if kind == "succeeded":
        return Succeeded(body)
    outcome = KINDS[kind](*json.loads(body))
    for field in dataclasses.fields(outcome):
        if type(getattr(outcome, field.name)).__name__ != field.type and field.type != "float":
            raise TypeError(f"'{field.name}' is no {field.type}.")
    return outcome


def stopped(reason: str, timeout: float | None = None) -> Outcome:
    """How an attempt ends whose body was told to stop; `timeout` in seconds, if it had one."""
    match reason:
        case "timeout":
            limit = f"its timeout of {timeout:g} s" if timeout is not None else "its timeout"
            return Failed(f"The body ran longer than {limit}.", reason="timeout")
        case "cancelled":
            return Cancelled()
        case "drain":
            return Lost("drain", "The worker was drained while the task ran.")
        case "lease":
            return Lost("lease", "The worker's lease was about to end while the task ran.")
    return Failed("Stopped: The body stopped itself.")

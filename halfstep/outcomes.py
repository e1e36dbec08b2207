"""How an attempt can end. Values, not exceptions: whoever writes them to the database does so by one `match`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The body returned. `result` is its value as JSON text, already checked for size and storability."""

    result: str = "null"


@dataclass(frozen=True, slots=True)
class Failed:
    """The body failed.

    `error` is one sentence for people. `reason` is one word for machines: `exception`, `timeout`, `crash`, `memory`,
    `invalid` (input that can never succeed), `result` (a result that can't be stored). `final`: no retry can help.
    """

    error: str
    reason: str = "exception"
    final: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """The attempt ended and the task runs again `delay` seconds from now. `counts`: it uses up one of max_attempts."""

    error: str
    delay: float
    reason: str = "exception"
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody cancelled the task, and its body has ended."""

    error: str = "The task was cancelled."


@dataclass(frozen=True, slots=True)
class Lost:
    """Nobody knows how the body ended. An at-least-once task runs again; an at-most-once task ends failed."""

    reason: str
    error: str = "The worker was lost while the task ran."


Outcome = Succeeded | Failed | Retry | Cancelled | Lost

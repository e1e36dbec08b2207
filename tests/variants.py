"""Deliberately broken variants of the product, for tests that show their teeth: a guard is taken out, and a check has to fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import halfstep.database
from halfstep.statements import statement, task_columns

_AGAIN = """UNION ALL
    SELECT {columns}, e.state, clock_timestamp(), e.reason, e.result, e.error, e.seconds
    FROM ended e JOIN halfstep.history h ON h.id = e.id
), freed""".format(columns=", ".join(f"h.{column}" for column in task_columns().split(", ")))

GUARDS = {
    # Whoever says that a task has ended is believed: of a task that another holds, and of one that has ended.
    "fence": ("exchange", {" AND t.claim_token = e.token": " AND t.state = 'running'", "), freed": _AGAIN}),
}
"""By name: the statement, and what stands in it instead of each guard."""


def break_guard(name: str) -> None:
    """Takes one guard out of this process; "" none."""
    if name:
        halfstep.database.statement = _without(*GUARDS[name])  # type: ignore[attr-defined]


def _without(verb: str, changes: Mapping[str, str]) -> Callable[[str], str]:
    broken = statement(verb)
    for guard, instead in changes.items():
        assert broken.count(guard) == 1, f"{verb}.sql has no such guard any more: {guard}"
        broken = broken.replace(guard, instead)
    return lambda name: broken if name == verb else statement(name)

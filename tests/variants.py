"""Deliberately broken variants of the product, for tests that show their teeth: a guard is taken out, and a check has to fail."""

from __future__ import annotations

from collections.abc import Callable

import halfstep.database
from halfstep.statements import statement

GUARDS = {
    "fence": ("exchange", " AND t.claim_token = e.token", " AND t.state = 'running'"),
    "lease": ("mark_dead", "counter = %(counter)s", "%(counter)s IS NOT NULL"),
}
"""By name: the statement, its guard, and what stands there instead."""


def break_guard(name: str) -> None:
    """Takes one guard out of this process; "" none."""
    if name:
        halfstep.database.statement = _without(*GUARDS[name])  # type: ignore[attr-defined]


def _without(verb: str, guard: str, instead: str) -> Callable[[str], str]:
    broken = statement(verb).replace(guard, instead)
    assert broken != statement(verb), f"{verb}.sql has no such guard any more: {guard}"
    return lambda name: broken if name == verb else statement(name)

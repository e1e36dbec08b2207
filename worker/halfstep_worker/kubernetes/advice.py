"""What to do about a refusal of an API server, where its own words don't say it."""

from __future__ import annotations

_GIVE_A_LIMIT = (
    "A container without a limit gets that of its namespace's LimitRange: give a limit, too, under 'limits' in 'resources'."
)
_ABOVE_ITS_LIMIT = "must be less than or equal to"


def advised(said: str) -> str:
    """The refusal, with advice where we have some."""
    if _ABOVE_ITS_LIMIT in said and "limit" in said:
        return f"{said}. {_GIVE_A_LIMIT}"
    return said

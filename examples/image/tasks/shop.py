"""Functions that tasks call by name: halfstep enqueue python '{"function": "shop:month_end", "args": ["2026-02-10"]}'"""

from __future__ import annotations

from datetime import date

from dateutil.relativedelta import relativedelta

from halfstep import task


@task
def month_end(day: str) -> str:
    """The last day of the month of `day`, both as YYYY-MM-DD."""
    return (date.fromisoformat(day) + relativedelta(day=31)).isoformat()

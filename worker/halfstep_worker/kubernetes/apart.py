"""Steps of a launcher's exchange that may be refused for good by the database, and that nothing else is to wait for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from halfstep.errors import RefusedValue
from halfstep.events import emit

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Refused:
    """since, again_at: monotonic."""

    error: str
    since: float
    pause: float
    again_at: float


@dataclass(slots=True)
class Apart:
    """Used by the exchange only. What is refused is told once, tried again later and later, and named by `refused` meanwhile."""

    _refused: dict[str, _Refused] = field(default_factory=dict)

    def go(self, part: str, step: Callable[[], None], now: float) -> None:
        """Takes the step, unless it was refused a moment ago. now: monotonic. Raises what is no refusal of a value."""
        before = self._refused.get(part)
        if before is not None and now < before.again_at:
            return
        try:
            step()
        except RefusedValue as error:
            pause = FIRST_SECONDS if before is None else min(LONGEST_SECONDS, before.pause * 2)
            self._refused[part] = _Refused(str(error), now if before is None else before.since, pause, now + pause)
            if before is None:
                emit("part.refused", part=part, error=error)
        else:
            self._refused.pop(part, None)

    def refused(self, now: float) -> list[tuple[str, str, float]]:
        """(part, sentence, seconds) of what does not get on."""
        return [
            (part, f"The database refuses what is to be said or asked there; its log says why: {one.error}", now - one.since)
            for part, one in self._refused.items()
        ]

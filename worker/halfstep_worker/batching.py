"""How many tasks a worker asks for: one a slot when tasks are long or unknown, hundreds when they take milliseconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """The usual length of a body, smoothed, and what follows from it.

    horizon: seconds of work to hold ahead of each slot, well below the second within which a claimed task must start.
    most: claims a slot may hold. window: seconds of work to lay on a child in advance.
    """

    horizon: float = 0.25
    most: int = 500
    window: float = 0.02
    seconds: float | None = None

    def note(self, seconds: float) -> None:
        """A body took this long. Longer ones count at once, shorter ones by and by: holding too little costs less."""
        if self.seconds is None or seconds > self.seconds * 4:
            self.seconds = seconds
        else:
            self.seconds += (seconds - self.seconds) * 0.05

    def ahead(self) -> int:
        """Claims to hold for each slot, the running one included."""
        return 1 if self.seconds is None else max(1, min(self.most, int(self.horizon / max(self.seconds, 1e-6))))

    def lay(self) -> int:
        """Tasks to lay on one child, the running one included."""
        return 1 if self.seconds is None else max(1, min(64, int(self.window / max(self.seconds, 1e-6))))

"""The pilot: one thread that sets the numbers of Deployments. It waits for the API server and for SQL; nobody waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from halfstep.database import ConnectionSettings, Row
from halfstep.errors import HalfstepError
from halfstep.scaling import ScalingBook
from halfstep_scaler.direct import events as _words  # noqa: F401  the words of what is emitted here
from halfstep_scaler.direct.cluster import Cluster
from halfstep_scaler.direct.course import Course, Errand, Pace
from halfstep_scaler.direct.steering import Name, Wish, parse_name
from halfstep_scaler.line import Line
from halfstep_scaler.settings import ScalerSettings

TURN_SECONDS = 1.0
STATEMENT_SECONDS = 5.0


class PilotLine(Line):
    """Asks within each statement only: the pilot also waits for the API server."""

    def run(self, name: str, /, **parameters: Any) -> list[Row]:
        """As every database."""
        with self.asking():
            return super().run(name, **parameters)


class Pilot(threading.Thread):
    """Runs until `stop`. Raises InvalidSettings where the API server's address or credentials can't be found."""

    def __init__(self, settings: ScalerSettings, *, pace: Pace | None = None) -> None:
        super().__init__(name="pilot", daemon=True)
        limits = ConnectionSettings("halfstep pilot", connect_timeout=2, statement_timeout=STATEMENT_SECONDS)
        self._line = PilotLine(settings.database_url, limits)
        self._cluster = Cluster(settings.kubeconfig)
        book = ScalingBook(self._line)
        self._courses = [
            Course(errand, self._cluster, book, replica=settings.name, pace=pace or Pace(), clock=time.monotonic)
            for errand in errands(settings)
        ]
        self._max_age = settings.max_age
        self._wishes: Mapping[Name, Wish] = {}  # replaced as a whole by whoever notes
        self._woken = threading.Event()
        self._stopped = threading.Event()

    @property
    def names(self) -> list[Name]:
        """The ScaledObjects whose wishes matter."""
        return [course.errand.name for course in self._courses]

    def note(self, wishes: Mapping[Name, Wish]) -> None:
        """What is wanted now. For any thread; returns at once."""
        self._wishes = wishes
        if any(course.errand.name in wishes and course.is_short(wishes[course.errand.name]) for course in self._courses):
            self._woken.set()

    def run(self) -> None:
        """One turn after another."""
        while not self._stopped.is_set():
            self._woken.clear()
            for course in self._courses:
                self._turn(course)
            self._woken.wait(TURN_SECONDS)
        self._leave()

    def look_after(self) -> None:
        """Gives up a statement that takes too long. Called now and then by another thread."""
        self._line.give_up_after(STATEMENT_SECONDS + 1)

    def stop(self) -> None:
        """Returns when the thread has ended. Twice is fine."""
        self._stopped.set()
        self._woken.set()
        if self.is_alive():
            self.join()

    def _turn(self, course: Course) -> None:
        wish = self._wishes.get(course.errand.name)
        if wish is not None and time.monotonic() - wish.taken_at > self._max_age:
            wish = None
        with suppress(HalfstepError):  # the reader tells the log that the database is away
            course.turn(wish)

    def _leave(self) -> None:
        with suppress(HalfstepError):  # the roles run out by themselves
            for course in self._courses:
                course.leave()
        self._line.close()
        self._cluster.close()


def errands(settings: ScalerSettings) -> list[Errand]:
    """One for each ScaledObject that is named."""
    names = dict.fromkeys([*settings.direct_scale, *settings.busy_aware])
    return [Errand(parse_name(name), name in settings.direct_scale, name in settings.busy_aware) for name in names]

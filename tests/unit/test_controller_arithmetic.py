"""The number of workers follows the work: the controller's step with a clock, a staff and a backlog of the test's own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from halfstep.demand import Backlog, Bounds
from halfstep_cli.controller import Controller, Cooldown
from halfstep_cli.crew import Fallen


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Staff:
    pids: list[int] = field(default_factory=list)
    draining: int = 0
    starts: int = 0
    dead: list[Fallen] = field(default_factory=list)

    @property
    def active(self) -> int:
        return len(self.pids)

    def start(self, count: int) -> None:
        self.pids += range(self.starts + 1, self.starts + 1 + count)
        self.starts += count

    def drain(self, count: int, *, keep: Collection[int]) -> None:
        for pid in [pid for pid in reversed(self.pids) if pid not in keep][:count]:
            self.pids.remove(pid)

    def reap(self) -> None:
        pass

    def fallen(self) -> list[Fallen]:
        told, self.dead = self.dead, []
        return told


@dataclass
class Work:
    ready: int = 0
    running: int = 0
    alone: int = 0
    holders: set[int] = field(default_factory=set)
    buried: list[Fallen] = field(default_factory=list)

    def bury(self, fallen: Fallen) -> None:
        self.buried.append(fallen)

    def backlogs(self) -> list[Backlog]:
        return [Backlog("default", 1, False, self.ready, self.alone, 0, self.running, 0)]

    def busy(self) -> set[int]:
        return self.holders


@dataclass
class House:
    work: Work = field(default_factory=Work)
    staff: Staff = field(default_factory=Staff)
    clock: Clock = field(default_factory=Clock)
    bounds: Bounds = field(default_factory=lambda: Bounds(slots=2, minimum=0, maximum=4))

    def __post_init__(self) -> None:
        self.controller = Controller(self.work, self.staff, self.bounds, cooldown=2.0, clock=self.clock)

    def step(self, *, later: float = 0.0) -> int:
        self.clock.now += later
        return self.controller.step().workers


def test_a_death_in_the_crew_is_told_to_the_queue_once() -> None:
    house = House()
    house.staff.dead.append(Fallen("w", "h", -9, 1.0))
    house.step()
    house.step()
    assert house.work.buried == [Fallen("w", "h", -9, 1.0)]


def test_without_work_there_is_no_worker() -> None:
    assert House().step() == 0


def test_workers_come_at_once_for_what_waits_and_no_more_than_allowed() -> None:
    house = House(Work(ready=3))
    assert house.step() == 2
    house.work.ready = 1000
    assert house.step() == 4


def test_a_task_that_must_run_alone_gets_a_worker_of_its_own() -> None:
    assert House(Work(ready=2, alone=1)).step() == 2


def test_workers_stay_through_the_cool_down_and_leave_after_it() -> None:
    house = House(Work(ready=8))
    house.step()
    house.work.ready = 0
    assert house.step() == 4
    assert house.step(later=1.9) == 4
    assert house.step(later=0.2) == 0


def test_work_that_comes_within_the_cool_down_keeps_the_workers() -> None:
    house = House(Work(ready=8))
    house.step()
    house.work.ready = 0
    house.step(later=1.0)
    house.work.ready = 8
    house.step(later=0.9)
    house.work.ready = 0
    assert house.step(later=0.2) == 4
    assert house.step(later=1.9) == 4


def test_scale_in_goes_to_the_most_that_was_wanted_meanwhile() -> None:
    cooldown = Cooldown(2.0)
    assert cooldown.change(1, running=4, now=0.0) == 0
    assert cooldown.change(3, running=4, now=1.0) == 0
    assert cooldown.change(0, running=4, now=2.0) == -1


def test_the_minimum_stays_when_idle() -> None:
    house = House(bounds=Bounds(slots=2, minimum=1, maximum=4))
    assert house.step() == 1
    assert house.step(later=60) == 1
    assert house.controller.idle_seconds == 60


def test_a_worker_that_holds_a_task_is_not_drained_however_many_are_too_many() -> None:
    house = House(Work(ready=8))
    house.step()
    house.work.ready, house.work.running, house.work.holders = 0, 2, {4, 3}
    house.step()
    assert house.step(later=2.1) == 2
    assert house.staff.pids == [3, 4]
    house.work.running, house.work.holders = 0, set()
    house.step(later=0.2)
    assert house.step(later=2.1) == 0


def test_a_worker_that_died_is_replaced_at_the_next_step() -> None:
    house = House(Work(ready=8))
    house.step()
    house.staff.pids.remove(2)
    assert house.step() == 4
    assert house.staff.starts == 5


def test_idle_time_counts_from_the_last_task() -> None:
    house = House(Work(running=1))
    house.step()
    assert house.controller.idle_seconds == 0
    house.work.running = 0
    house.step(later=5)
    house.clock.now += 3
    assert house.controller.idle_seconds == 3

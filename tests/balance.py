"""The balance sheet of a queue: what SQL says happened to every task, held against what the bodies noted themselves.

The promises that it checks: nothing acknowledged is lost; one accepted finish, and that of the attempt that held the claim; no
body starts after its task has ended; every attempt but the last has a reason, and none's body starts twice; the books balance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from effects import Effect, Effects
from halfstep.database import Database, Row

_TASKS = """
SELECT id, state::text, attempt, reason, extract(epoch FROM finished_at)::float8 AS finished,
       extract(epoch FROM started_at)::float8 AS claimed FROM halfstep.history
UNION ALL SELECT id, 'live', attempt, NULL, NULL, extract(epoch FROM started_at)::float8 FROM halfstep.task
"""
_ATTEMPTS = "SELECT task_id, number, outcome, reason, extract(epoch FROM started_at)::float8 AS claimed FROM halfstep.attempt"


@dataclass(slots=True)
class Balance:
    """problems: one sentence each; none is what is promised. repeats: how often an attempt ended in another one, by reason.

    late: bodies of an earlier claim that began after the task had ended, as their worker was frozen in between. That is no broken
    promise, as nobody can see it coming, but there should be few.
    """

    enqueued: int
    states: Counter[str]
    starts: int
    attempts: int
    repeats: Counter[str]
    late: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Tasks that were acknowledged and are nowhere."""
        return self.enqueued - sum(self.states.values())

    def __str__(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        repeats = ", ".join(f"{count} {reason}" for reason, count in self.repeats.most_common()) or "none"
        late = f"; {self.late} began late" if self.late else ""
        return (
            f"enqueued {self.enqueued} = {states}, lost {self.lost}\n"
            f"starts {self.starts} of {self.attempts} attempts; repeats: {repeats}{late}"
        )


def balance(database: Database, effects: Effects, acknowledged: Collection[int]) -> Balance:
    """Reads both books. acknowledged: ids that an enqueue has returned. All workers have stopped, or nothing runs."""
    rows = database.execute(_TASKS)
    tasks = {row["id"]: row for row in rows}
    ends = Counter(row["id"] for row in rows if row["state"] != "live")
    told = {(row["task_id"], row["number"]): row for row in database.execute(_ATTEMPTS)}
    starts, done = effects.starts(), effects.ends()
    sheet = Balance(
        enqueued=len(acknowledged),
        states=Counter(row["state"] for row in tasks.values()),
        starts=starts.total(),
        attempts=sum(row["attempt"] for row in tasks.values()),
        repeats=Counter(f"{row['outcome']}: {row['reason']}" for row in told.values()),
    )
    sheet.problems += [f"task {id} was acknowledged and is nowhere" for id in acknowledged if id not in tasks]
    sheet.problems += [f"task {id} exists and nobody was told" for id in tasks if id not in set(acknowledged)]
    sheet.problems += [f"task {id}, attempt {n}: its body began {count} times" for (id, n), count in starts.items() if count > 1]
    sheet.problems += [f"task {id} was ended {count} times" for id, count in ends.items() if count > 1]
    for id, row in tasks.items():
        sheet.problems += _unexplained(id, row["attempt"], told)
        sheet.problems += _badly_ended(id, row, done)
    late = [effect for effect in effects.read() if effect.event == "start" and _is_late(effect, tasks)]
    for effect in late:
        id, number = effect.key
        claim = told.get(effect.key) or tasks[id]
        if claim["claimed"] > tasks[id]["finished"]:
            sheet.problems.append(f"task {id}: attempt {number} was claimed after the task had ended")
    sheet.late = len(late)
    return sheet


def _unexplained(id: int, attempts: int, told: Collection[tuple[int, int]]) -> Iterator[str]:
    for number in range(1, attempts):
        if (id, number) not in told:
            yield f"task {id}: nothing says why attempt {number} was not the last"


def _badly_ended(id: int, row: Row, ends: dict[tuple[int, int], float]) -> Iterator[str]:
    state, attempt, finished = row["state"], row["attempt"], row["finished"]
    if row["reason"] == "poison":
        yield f"task {id} was blamed for deaths that others brought about"
    if state != "succeeded":
        return
    done = ends.get((id, attempt))
    if done is None:
        yield f"task {id} succeeded by attempt {attempt}, whose body never came to its end"
    elif done > finished:
        yield f"task {id} was ended {done - finished:.3f} s before the body of its attempt {attempt} was done"


def _is_late(effect: Effect, tasks: Mapping[int, Row]) -> bool:
    row = tasks.get(effect.key[0])
    return bool(row and row["finished"] and effect.at > row["finished"])

"""An upgrade and the way back, rehearsed: two versions of the code take turns on one database while work goes on.

with rehearsal(previous_release, server) as here:
    here.begin()                      # the old code works
    here.migrate()                    # with the new code, beside a long reader
    here.change_to(here.new)          # the new code starts, then the old one leaves
    here.change_to(here.old)          # and back: the schema stays
    sheet = here.end()
"""

from __future__ import annotations

import random
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from balance import Balance, balance
from effects import SOURCE, Effects
from halfstep.administration import Administration
from halfstep.database import Database
from halfstep.errors import HalfstepError
from halfstep.producer import NewTask, enqueue_many
from halfstep.reports import Reports
from onlookers import Asker, Onlooker
from own_server import OwnServer
from releases import Release, Running, present
from siege import Producer, live_tasks
from waiting import PATIENCE, wait_until

WORKERS, SLOTS, GRACE = 2, 6, 1.0
RATE = 20
"""Short tasks a second, all the time."""
LASTING = 3
"""Bodies at each change that outlast it, and with it the grace of a drain."""
READER_SECONDS = 1.5
"""From the moment on at which the migration waits for a reader: longer than PostgreSQL takes to see a deadlock."""
_WANTS_ALONE = "SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
SCHEMA_DOES_NOT_FIT = 4
_TROUBLE = re.compile(r" (WARNING|ERROR|CRITICAL) |Traceback|^halfstep: ")


@dataclass(frozen=True, slots=True)
class Pods:
    """For a rehearsal on a cluster. words: of a launcher's command.

    args: of a pod that outlasts a change. It prints a line when it begins; its result is `[start, end]`, in seconds since 1970.
    """

    words: Sequence[str]
    args: dict[str, Any]
    at_a_time: int = 4


@dataclass(slots=True)
class Crew:
    """The processes of one release: workers, a scaler, and a launcher where there are pods."""

    release: Release
    workers: list[Running]
    scaler: Running
    launchers: list[Running]

    @property
    def everybody(self) -> list[Running]:
        return [*self.workers, *self.launchers, self.scaler]

    @property
    def address(self) -> str:
        """Where its scaler answers."""
        found = re.search(r"answers on (\S+)", self.scaler.said())
        assert found, self.scaler.said()
        return found[1]

    def await_start(self) -> None:
        """Returns when all of them work."""
        for member in [*self.workers, *self.launchers]:
            member.await_words(" serves ")
        self.scaler.await_words("ready.")

    def leave(self) -> list[str]:
        """All drain at once. A line for each that ended before, or otherwise than well."""
        gone = [one for one in self.everybody if one.has_ended]
        for one in self.everybody:
            one.drain()
        codes = [(one, one.process.wait(timeout=PATIENCE)) for one in self.everybody]
        return [f"{one.log.name} ended by itself or badly: {code}" for one, code in codes if code or one in gone]

    def troubles(self) -> list[str]:
        """What they complained of."""
        return [f"{one.log.name}: {line}" for one in self.everybody for line in one.said().splitlines() if _TROUBLE.search(line)]


@dataclass(slots=True)
class Change:
    """What was seen of one: wall-clock times, longest pause between two starts of bodies, lines of what was wrong.

    go: bodies that last end when this file is there. pods: names of those that ran when it began.
    adopted: how many of these ran on with the launcher that came.
    """

    go: Path
    began: float = 0.0
    ended: float = 0.0
    pause: float = 0.0
    problems: list[str] = field(default_factory=list)
    pods: list[str] = field(default_factory=list)
    adopted: int = 0


class Rehearsal:
    """Used by one thread. In this order: `begin`, `migrate`, `change_to` as often as wanted, `end`."""

    def __init__(self, old: Release, server: OwnServer, folder: Path, *, pods: Pods | None, seed: int) -> None:
        self.old, self.new, self.folder = old, present(), folder
        self.url, self.pods = server.url, pods
        self.effects = Effects(folder / "effects")
        (folder / "source").mkdir()
        (folder / "source" / "noted.py").write_text(SOURCE)
        self.producer = Producer(self.url, self.effects, count=600 * RATE, seconds=600.0, seed=seed)
        self.tasks: list[int] = []
        self.pod_tasks: list[int] = []
        self.crews: list[Crew] = []
        self.problems: list[str] = []
        self.longest_lock = 0.0  # what anybody waited for a table while it was migrated, in seconds
        self._ending = ExitStack()
        self.database = self._ending.enter_context(closing(Database(self.url)))

    # -- its parts, in order

    def begin(self) -> None:
        """The old schema, the old code, steady work."""
        Administration(self.database).drop_schema()
        self.old.run("migrate", url=self.url, log=self.folder / "migrate.log")
        assert self.schema == self.old.schema < self.new.schema
        self.crews.append(self._start(self.old))
        hasty = self.new.start("worker", url=self.url, log=self.folder / "hasty.log")
        assert hasty.process.wait(timeout=PATIENCE) == SCHEMA_DOES_NOT_FIT, hasty.said()
        self.crews[-1].await_start()
        self.producer.start()
        self.asker = Asker(self.crews[-1].address)
        self.asker.start()
        wait_until(lambda: len(self.effects.starts()) > RATE, what="steady work")

    def migrate(self) -> Change:
        """With the new code. Meanwhile somebody reads one of the tables for a while, and then another one."""
        change = self._under_way()
        onlooker = self._ending.enter_context(Onlooker(self.url))
        with closing(Database(self.url)) as reader:
            migrating = self._migrate_beside(reader, change)
        code = migrating.process.wait(timeout=PATIENCE)
        onlooker.stop()
        assert (code, self.schema) == (0, self.new.schema), migrating.said()
        self.longest_lock = onlooker.longest
        change.problems += onlooker.refusals
        return self._over(change)

    def change_to(self, release: Release) -> Change:
        """That release starts beside the other, which leaves then. Bodies and pods run meanwhile that outlast it."""
        change = self._under_way()
        if release.schema < self.schema:
            release.run("migrate", url=self.url, log=self.folder / "migrate.log")  # as whoever rolls back manifests does
        leaving, coming = self.crews[-1], self._start(release)
        self.crews.append(coming)
        coming.await_start()
        self.asker.move(coming.address)
        change.problems += leaving.leave()
        wait_until(lambda: not self._held_by(leaving.everybody), what="somebody else to hold what they held")
        change.adopted = self._held_by(coming.launchers, pods=change.pods)
        begun = len(self.effects.starts())
        wait_until(lambda: len(self.effects.starts()) > begun + RATE, what="steady work")
        return self._over(change)

    def end(self) -> Balance:
        """All work ends, everybody leaves; both books."""
        self.producer.stop()
        self.producer.join(timeout=PATIENCE)
        wait_until(lambda: live_tasks(self.database) == 0, seconds=2 * PATIENCE, what="the end of all tasks")
        self.asker.stop()
        self.problems += self.crews[-1].leave() + self.asker.refusals
        self.problems += [line for crew in self.crews for line in crew.troubles()]
        for task in self.pod_tasks:
            self._note_pod(task)
        return balance(self.database, self.effects, self.producer.acknowledged + self.tasks + self.pod_tasks)

    def close(self) -> None:
        """Whatever still runs is killed."""
        self.producer.stop()
        for crew in self.crews:
            for one in crew.everybody:
                one.kill()
        self._ending.close()

    # -- what is known

    @property
    def schema(self) -> int:
        """The database's."""
        return int(self.database.execute("SELECT max(version) AS version FROM halfstep.migration")[0]["version"])

    def longest_wait(self, change: Change) -> tuple[float, float]:
        """Seconds of the longest waits in its time: from a body's end to its finish, and from an enqueue to the claim."""
        sql = """
            SELECT id, attempt, extract(epoch FROM finished_at)::float8 AS finished,
                   extract(epoch FROM started_at - run_at)::float8 AS waited, extract(epoch FROM run_at)::float8 AS due
            FROM halfstep.history WHERE placement = 'worker' AND finished_at > to_timestamp(%(began)s)
        """
        ends, finishes, claims = self.effects.ends(), [0.0], [0.0]
        for row in self.database.execute(sql, {"began": change.began}):
            end = ends.get((row["id"], row["attempt"]), 0.0)
            finishes += [row["finished"] - end] if change.began <= end <= change.ended else []
            claims += [row["waited"]] if change.began <= row["due"] <= change.ended else []
        return max(finishes), max(claims)

    # -- how it is done

    def _migrate_beside(self, reader: Database, change: Change) -> Running:
        """The reader has read one table, and goes on to another one when the migration has waited for it a while."""
        try:
            with reader.transaction():
                reader.execute("SELECT FROM halfstep.worker")
                migrating = self.new.start("migrate", url=self.url, log=self.folder / "migrate.log")
                wait_until(lambda: self.database.execute(_WANTS_ALONE) or migrating.has_ended, what="the migration")
                threading.Event().wait(READER_SECONDS)
                reader.execute("SELECT FROM halfstep.lease")
        except HalfstepError as error:
            change.problems.append(f"a long reader: {error}")
        return migrating

    def _start(self, release: Release) -> Crew:
        self._number = number = len(self.crews) + 1
        base = ["worker", "--grace", str(GRACE)]
        body = [*base, "--slots", str(SLOTS), "--source", str(self.folder / "source")]
        workers = [self._command(release, f"{number}-worker-{n}", body) for n in range(WORKERS)]
        launchers = [self._command(release, f"{number}-launcher", [*base, *self.pods.words])] if self.pods else []
        scaler = self._command(release, f"{number}-scaler", ["scaler", "--listen", "127.0.0.1:0"])
        return Crew(release, workers, scaler, launchers)

    def _command(self, release: Release, name: str, words: Sequence[str]) -> Running:
        return release.start(*words, "--name", name, url=self.url, log=self.folder / f"{name}.log")

    def _under_way(self) -> Change:
        """Bodies and pods that outlast what comes now; they run when it begins."""
        change = Change(self.folder / f"go-{len(self.tasks)}")
        tasks = enqueue_many(self.database, [NewTask("python", self.effects.call(str(change.go), "effect_until"), {})] * LASTING)
        self.tasks += tasks
        wait_until(lambda: {task for task, _ in self.effects.starts()} >= set(tasks), what="the lasting bodies")
        change.pods = self._running_pods()
        change.began = time.time()
        return change

    def _running_pods(self) -> list[str]:
        if not self.pods:
            return []
        tasks = enqueue_many(self.database, [NewTask("pod", self.pods.args, {"placement": "pod"})] * self.pods.at_a_time)
        self.pod_tasks += tasks
        reports = Reports(self.database)
        wait_until(lambda: all(list(reports.log(task)) for task in tasks), what="the pods' first lines")
        return [str(reports.show(task)["attempts"][-1]["pod"]["name"]) for task in tasks]

    def _over(self, change: Change) -> Change:
        change.ended = time.time()
        change.go.touch()
        starts = sorted(effect.at for effect in self.effects.read() if effect.event == "start")
        within = [change.began, *(at for at in starts if change.began < at < change.ended), change.ended]
        change.pause = max(later - earlier for earlier, later in pairwise(within))
        self.problems += change.problems
        return change

    def _held_by(self, members: Sequence[Running], *, pods: Sequence[str] | None = None) -> int:
        """How many tasks they hold; pods: only those of these names."""
        sql = """
            SELECT count(*) AS n FROM halfstep.task t JOIN halfstep.worker w ON w.id = t.worker_id
            LEFT JOIN halfstep.pod p ON p.attempt_id = t.attempt_id
            WHERE t.state = 'running' AND w.pid = ANY (%(pids)s) AND (%(pods)s::text[] IS NULL OR p.name = ANY (%(pods)s::text[]))
        """
        pids = [one.process.pid for one in members]
        return int(self.database.execute(sql, {"pids": pids, "pods": None if pods is None else list(pods)})[0]["n"])

    def _note_pod(self, task: int) -> None:
        """What a pod noted of itself, put among the effects."""
        report = Reports(self.database).show(task)
        if report["state"] == "succeeded":
            start, end = report["result"]
            with self.effects.path.open("a") as file:
                file.write(f"start {task} {report['attempt']} {start}\nend {task} {report['attempt']} {end}\n")


@contextmanager
def rehearsal(old: Release, server: OwnServer, *, pods: Pods | None = None) -> Iterator[Rehearsal]:
    """Everything of it is gone at the end. What was in the server's database is dropped."""
    with tempfile.TemporaryDirectory(prefix="halfstep-upgrade-") as folder:
        here = Rehearsal(old, server, Path(folder), pods=pods, seed=random.SystemRandom().randrange(1 << 32))
        try:
            yield here
        finally:
            here.close()

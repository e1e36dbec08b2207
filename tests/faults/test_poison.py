"""One task that kills whatever runs it, among 200: it ends failed and says how; nobody else is blamed, all else goes on."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from halfstep import statements
from halfstep.database import Database
from halfstep.demand import Bounds
from halfstep.producer import NewTask, enqueue_many
from halfstep.queue import Queue
from halfstep.reports import Report, Reports
from halfstep_cli.controller import Controller, QueueWork
from halfstep_cli.crew import Crew, WorkerSpec
from halfstep_cli.stopping import StopSignals
from waiting import wait_until
from worker_processes import WorkerProcess

Start = Callable[..., WorkerProcess]
Ended = Callable[..., Report]

KILLERS = """
import ctypes, os, signal, threading, time
from pathlib import Path
from halfstep import task

pause = threading.Event().wait

@task
def neighbour(path=None):
    while path and not os.path.exists(path):
        pause(0.02)

@task
def exits():
    print("about to exit")
    os._exit(3)

@task
def crashes():
    print("about to crash")
    ctypes.string_at(0)

@task
def hoards():
    print("about to hoard")
    kept = []
    while True:
        if os.fork() == 0:  # each for itself is small
            kept.append(os.urandom(30_000_000))
            pause(60)
        pause(0.2)

@task
def hangs():
    print("about to hang")
    lock = ctypes.create_string_buffer(64)
    ctypes.PyDLL(None).pthread_mutex_lock(lock)
    ctypes.PyDLL(None).pthread_mutex_lock(lock)  # keeps the GIL for ever: no handler of a signal runs any more

@task
def kills_its_worker():
    print("about to kill")
    pause(0.7)  # the line has been written by now
    zygote = os.getppid()
    status = Path(f"/proc/{zygote}/status").read_text()
    worker = int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))
    assert os.getpgid(worker) == worker
    os.killpg(worker, signal.SIGKILL)
    pause(60)
"""


@pytest.fixture
def killers(source: Path) -> Path:
    """A source folder with a module `killers`."""
    (source / "killers.py").write_text(KILLERS)
    return source


def task(function: str, *args: object, **options: Any) -> NewTask:
    return NewTask("python", {"function": f"killers:{function}", "args": list(args)}, options)


def one_among_200(database: Database, killer: NewTask, *, path: Path | None = None) -> tuple[int, list[int]]:
    """The killer's id in the middle of its neighbours, and theirs; two of them run until there is something at the path."""
    waits = [str(path)] if path else []
    neighbours = [task("neighbour", *(waits if n in (20, 140) else [])) for n in range(199)]
    ids = enqueue_many(database, [*neighbours[:100], killer, *neighbours[100:]])
    return ids.pop(100), ids


def nobody_is_blamed(reports: Reports, neighbours: list[int]) -> None:
    """All succeeded, without a failure, and no death was counted against any of them."""
    told = [reports.show(one) for one in neighbours]
    assert {report["state"] for report in told} == {"succeeded"}
    assert {(report["failures"], report["lone_deaths"]) for report in told} == {(0, 0)}


DIES_ALONE = {
    "exits": ("crash", r"The body's process exited with code 3 before the body returned\. Its peak memory was \d+ MiB\.", "exit"),
    "crashes": ("crash", r"The body's process ended with signal 11 \(SIGSEGV\)\. Its peak memory was \d+ MiB\.", "crash"),
    "hoards": ("memory", r"The body used \d{3} MiB; its limit is 180 MiB\.", "hoard"),
    "hangs": (
        "timeout",
        r"The body ran longer than its timeout of 0\.5 s\. It did not end at SIGTERM\. "
        r"The body's process ended with signal 9 \(SIGKILL\)\. Its peak memory was \d+ MiB\.",
        "hang",
    ),
}


@pytest.mark.parametrize("killer", DIES_ALONE)
def test_a_body_that_kills_its_process_fails_with_the_evidence_and_the_worker_lives_on(
    start_worker: Start, ended: Ended, database: Database, reports: Reports, killers: Path, killer: str
) -> None:
    worker = start_worker(memory_bytes=180 * 2**20 if killer == "hoards" else None, stop_grace=0.3)
    options = {"timeout": 0.5} if killer == "hangs" else {}
    poison, neighbours = one_among_200(database, task(killer, max_attempts=2, backoff_base=0.05, **options))
    report = ended(poison)
    reason, said, does = DIES_ALONE[killer]
    evidence, last_lines = report["error"].split("\nIts last lines:\n")
    assert (report["state"], report["reason"], report["failures"], report["deaths"]) == ("failed", reason, 2, 0)
    assert re.fullmatch(said, evidence)
    assert last_lines == f"  about to {does}"
    for one in neighbours:
        ended(one)
    nobody_is_blamed(reports, neighbours)
    assert {len(reports.show(one)["attempts"]) for one in neighbours} == {1}
    least = (100 if killer == "hoards" else 20) * 2**20
    wait_until(lambda: (reports.workers()[0]["peak_bytes"] or 0) > least, what="the worker to tell of its memory")
    assert worker.stop() == 0


class House:
    """Workers as `halfstep up` keeps them: those that die are seen off, and others come."""

    def __init__(self, database: Database, url: str, source: Path, folder: Path) -> None:
        self.crew = Crew(WorkerSpec(url, slots=1, source=source), folder)
        self.controller = Controller(QueueWork(Queue(database)), self.crew, Bounds(slots=1, maximum=3))
        self.stepped_at = 0.0

    def step(self) -> None:
        """At most every tenth of a second."""
        if time.monotonic() - self.stepped_at > 0.1:
            self.stepped_at = time.monotonic()
            self.controller.step()


@pytest.fixture
def house(database_url: str, killers: Path, tmp_path: Path) -> Iterator[House]:
    """Up to three workers of one slot each; none is left at the end."""
    with closing(Database(database_url)) as database, StopSignals() as stop:
        made = House(database, database_url, killers, tmp_path / "crew")
        try:
            yield made
        finally:
            made.crew.leave(stop)


def test_a_body_that_kills_its_workers_ends_as_poison_and_its_neighbours_run_on_meanwhile(
    house: House, database: Database, reports: Reports, tmp_path: Path
) -> None:
    poison, neighbours = one_among_200(database, task("kills_its_worker"), path=tmp_path / "seen")

    def now(condition: str) -> bool:
        house.step()
        return bool(database.execute(f"SELECT {condition} AS now", {"poison": poison})[0]["now"])

    wait_until(lambda: now(ONLY_OTHERS_RUN_ON), what="the killer alone in a worker, and others in others")
    (tmp_path / "seen").touch()
    wait_until(lambda: now("NOT EXISTS (SELECT FROM halfstep.task)"), what="the end of all 200")
    report = reports.show(poison)
    assert (report["state"], report["reason"], report["failures"]) == ("failed", "poison", 0)
    assert (report["lone_deaths"], len(report["attempts"])) == (3, report["deaths"])
    how = (
        r"its process was ended by signal 9 \(SIGKILL\)(; when it last renewed its lease it had used up to \d+ MiB of memory)?\."
    )
    told = rf"(?s)\d+ workers died while they held this task, 3 of them while it ran alone: .* Worker \S+ on \S+: {how}"
    evidence, last_lines = report["error"].split("\nIts last lines:\n")
    assert re.fullmatch(told, evidence), report["error"]
    assert last_lines == "  about to kill"
    for attempt in report["attempts"][:-1]:
        assert (attempt["outcome"], attempt["reason"]) == ("lost", "worker_lost")
        assert re.search(how, attempt["error"]), attempt["error"]
    assert len({attempt["worker"] for attempt in report["attempts"]}) == report["deaths"]
    nobody_is_blamed(reports, neighbours)


ONLY_OTHERS_RUN_ON = """(
    SELECT count(*) FILTER (WHERE id = %(poison)s AND alone) = 1 AND count(*) > 1 AND count(DISTINCT worker_id) = count(*)
    FROM halfstep.task WHERE state = 'running')"""


# -- who is blamed, by SQL alone: the same check with the rule, and with the rule taken out --------------------------------------


def a_killer_in_company(make_worker: Any, database: Database) -> tuple[int, list[int]]:
    """Whoever claims the killer dies with all it holds, until nothing is left to claim."""
    poison, *neighbours = enqueue_many(database, [NewTask("bash", {}, {})] * 5)
    for _ in range(40):
        worker = make_worker()
        held = worker.claim(10) or worker.claim(1, alone=True)
        if poison in {claim.id for claim in held}:
            worker.die()
        else:
            worker.finish(*held)
    return poison, neighbours


def the_killer_is_found_out_and_nobody_else(reports: Reports, poison: int, neighbours: list[int]) -> None:
    assert reports.show(poison)["reason"] == "poison"
    nobody_is_blamed(reports, neighbours)


def test_neighbours_are_not_blamed_for_the_deaths_that_they_only_shared(
    make_worker: Any, database: Database, reports: Reports
) -> None:
    the_killer_is_found_out_and_nobody_else(reports, *a_killer_in_company(make_worker, database))


ISOLATION = ("alone = t.deaths + 1 >= 2", "alone = false")


@pytest.mark.parametrize(
    "changes",
    [
        [ISOLATION],
        [ISOLATION, ("t.alone AND t.lone_deaths + 1 >= %(lone_deaths)s", "t.deaths + 1 >= %(lone_deaths)s")],
        [("lone_deaths = t.lone_deaths + t.alone::int", "lone_deaths = t.lone_deaths + 1")],
    ],
    ids=["nobody runs alone", "all deaths count", "shared deaths count as lone ones"],
)
def test_a_rescue_without_a_part_of_the_rule_blames_them_or_never_finds_the_killer(
    make_worker: Any, database: Database, reports: Reports, monkeypatch: pytest.MonkeyPatch, changes: list[tuple[str, str]]
) -> None:
    broken = statements.statement("rescue")
    for part, instead in changes:
        assert broken.count(part) == 1
        broken = broken.replace(part, instead)
    monkeypatch.setattr("halfstep.database.statement", lambda name: broken if name == "rescue" else statements.statement(name))
    found = a_killer_in_company(make_worker, database)
    with pytest.raises(AssertionError):
        the_killer_is_found_out_and_nobody_else(reports, *found)

"""What the database does to its workers, at full length: an outage, a clock that jumps, a full disk, history at work, a pooler.

Uses the helpers of tests/. The given database is not used: these need servers of their own, which are stopped and filled up.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path

from benchmarks.bars import Bar, Measure
from benchmarks.faults_siege import Camp, camp
from clocks import MISSING as NO_CLOCK
from clocks import Clock, library
from effects import SOURCE, Effects
from finishing import Finishing
from halfstep import limits
from halfstep.administration import AHEAD_DAYS, Administration
from halfstep.database import ConnectionSettings, Database
from halfstep.errors import HalfstepError
from halfstep.producer import NewTask, enqueue_many
from halfstep.reports import Reports
from halfstep_cli.embedded.binaries import choose
from own_server import OwnServer, own_server
from poolers import MISSING as NO_POOLER
from poolers import program
from processor import processor_seconds
from small_disk import MISSING as NO_DISK
from small_disk import SmallDisk, small_disk
from waiting import wait_until
from worker_processes import WorkerProcess

ROOT = Path(__file__).parents[1]
WORKERS, SLOTS = 4, 5
OUTAGE_SECONDS, BACK_SECONDS, AWAKE_SHARE = 60.0, 5.0, 0.2
HOUR, HELD_SECONDS = 3600, 2.5 * limits.LEASE_SECONDS
LONGEST_WAIT = 1.0
DEFAULTS = {
    "lease_seconds": limits.LEASE_SECONDS, "renew_seconds": limits.RENEW_SECONDS, "poll_seconds": limits.POLL_SECONDS,
    "slots": SLOTS,
}  # fmt: skip
TIGHT = {"max_wal_size": "32MB", "min_wal_size": "32MB", "shared_buffers": "16MB"}


class Shift:
    """Workers with default settings: bodies that run over whatever happens, some that end meanwhile, and quick ones."""

    def __init__(self, here: Camp, database: Database) -> None:
        self.here, self.database, self.reports = here, database, Reports(database)
        self.workers = [here.start(**DEFAULTS) for _ in range(WORKERS)]
        wait_until(lambda: len(self.reports.workers()) == WORKERS, seconds=60, what="the workers")
        self.file = here.folder / "go"
        lasting = [NewTask("python", here.effects.call(str(self.file), "effect_until"), {})] * (WORKERS * 2)
        self.tasks = enqueue_many(database, lasting)
        self.tasks += enqueue_many(database, [NewTask("python", here.effects.call(20.0), {})] * WORKERS)
        wait_until(lambda: len(here.effects.starts()) == len(self.tasks), seconds=60, what="the start of the long ones")
        self.quick()

    def quick(self) -> None:
        """200 tasks that take no time."""
        self.tasks += enqueue_many(self.database, [NewTask("python", self.here.effects.call(0.02), {})] * 200)

    def beats(self) -> int:
        """Renewals of all leases, all together."""
        return int(self.database.execute("SELECT coalesce(sum(counter), 0)::int AS n FROM halfstep.lease")[0]["n"])

    def await_all(self, *, seconds: float) -> float:
        """Until every worker has renewed its lease from now on; how long that took."""
        since = self.database.execute("SELECT clock_timestamp()::text AS now")[0]["now"]
        sql = "SELECT count(*) AS n FROM halfstep.lease WHERE renewed_at > %(since)s::timestamptz"
        begun = time.monotonic()
        wait_until(lambda: self.database.execute(sql, {"since": since})[0]["n"] >= WORKERS, seconds=seconds, what="all workers")
        return time.monotonic() - begun

    def end(self) -> tuple[int, int, int]:
        """Everything ends. How many tasks were lost, bodies stopped or begun again, workers taken for dead."""
        self.file.touch()
        over = ("succeeded", "failed", "cancelled")
        wait_until(lambda: all(s in over for s in self.reports.states(self.tasks).values()), seconds=120, what="the end of all")
        succeeded = Counter(self.reports.states(self.tasks).values())["succeeded"]
        told = self.database.execute("SELECT count(*) AS n FROM halfstep.attempt")[0]["n"]
        again = sum(self.here.effects.starts().values()) - len(self.here.effects.ends())
        dead = self.database.execute("SELECT count(*) AS n FROM halfstep.worker WHERE state = 'dead'")[0]["n"]
        for worker in self.workers:
            worker.kill()
        return len(self.tasks) - succeeded, told + again, dead


def outage_bars(url: str) -> list[Bar]:
    """60 seconds without a server, then its clock an hour forth and back and an hour back and forth."""
    return [*_outage(), *_jumps()]


def _outage() -> list[Bar]:
    with camp() as here, closing(Database(here.server.url)) as database:
        shift = Shift(here, database)
        here.server.stop()
        share = _idle_share(shift.workers, OUTAGE_SECONDS)
        here.server.start()
        database.close()
        back = shift.await_all(seconds=60)
        shift.quick()
        _pass(HELD_SECONDS)
        ended = shift.end()
    name = f"{OUTAGE_SECONDS:.0f} s outage"
    return [
        *_whole(name, ended),
        Bar(f"{name}: all workers back", f"{back:.1f} s", f"<= {BACK_SECONDS:.0f} s", back <= BACK_SECONDS),
        Bar(f"{name}: a worker's share of a core", f"{share:.1%}", f"< {AWAKE_SHARE:.0%}", share < AWAKE_SHARE),
    ]


def _jumps() -> list[Bar]:
    if library() is None:
        raise HalfstepError(f"{NO_CLOCK}.")
    with tempfile.TemporaryDirectory(prefix="halfstep-clock-") as folder:
        os.chmod(folder, 0o755)  # the server runs as another user
        clock = Clock(Path(folder) / "offset")
        with (
            own_server(environment=clock.environment) as server,
            _camp_on(server) as here,
            closing(Database(server.url)) as database,
        ):
            shift = Shift(here, database)
            for offset in (HOUR, 0, -HOUR, 0):
                clock.jump(offset)
                shift.quick()
                _pass(HELD_SECONDS)
            ended = shift.end()
    return _whole("clock jumps of an hour", ended)


def disk_bars(url: str) -> list[Bar]:
    """A disk that is full for 5 seconds; partitions that are missing; history that is pruned under load and under a dump."""
    return [*_full_disk(), *_history()]


def _full_disk() -> list[Bar]:
    with _disk() as disk, OwnServer(disk.folder, settings=TIGHT) as server, _camp_on(server) as here:
        worker = here.start(lease_seconds=30.0)
        with closing(Database(server.url)) as database:
            reports = Reports(database)
            tasks = enqueue_many(database, [NewTask("python", here.effects.call(0.02), {})] * 1_000)
            wait_until(lambda: len(here.effects.ends()) > 100, seconds=60, what="some progress")
            disk.fill()
            wait_until(lambda: "Trying again" in worker.log.read_text(), seconds=120, what="the worker to meet the full disk")
            _pass(5.0)
            broke = "PANIC" in server.log.read_text()
            disk.free()
            if broke:
                server.restart(crash=True)
                database.close()
            before, begun = _ended(reports, tasks), time.monotonic()
            wait_until(lambda: _ended(reports, tasks) > before, seconds=60, what="the next end")
            wait = time.monotonic() - begun
            wait_until(lambda: _ended(reports, tasks) == len(tasks), seconds=120, what="the end of all")
            told = database.execute("SELECT count(*) AS n FROM halfstep.attempt")[0]["n"]
            repeats = told + sum(here.effects.starts().values()) - len(tasks)
        lost = len(tasks) - len(here.effects.ends())
        worker.kill()
    how = ", the server broke down of it" if broke else ""
    return [
        Bar("full disk: lost, begun again", f"{lost}, {repeats}", "0, 0", (lost, repeats) == (0, 0)),
        Bar(f"full disk: next end after room{how}", f"{wait:.2f} s", f"<= {LONGEST_WAIT:.0f} s", wait <= LONGEST_WAIT),
    ]


def _history() -> list[Bar]:
    settings = ConnectionSettings("measure", statement_timeout=120)
    with own_server() as server, closing(Database(server.url, settings)) as database:
        missing = _without_partitions(database, server.url)
        _fill_history(database)
        with Finishing(server.url) as finishing:
            dropped, busy, rounds = list[str](), 0, 5
            with _dumped(server.url) as dump:
                for _ in range(rounds):
                    done = Administration(database).prune()
                    dropped, busy = dropped + done.dropped, busy + len(done.busy)
                assert dump.poll() is None
            while_dumped = len(dropped)
            for _ in range(20):  # the server may take a moment to see that the reader is gone
                dropped += Administration(database).prune().dropped
            wait_until(lambda: finishing.finished > 500, seconds=60, what="500 ends")
        kept = database.execute("SELECT count(*) AS n FROM halfstep.history WHERE state = 'succeeded' AND id < 1000000")[0]["n"]
    return [
        _wait("the coming days' partitions missing", missing.longest),
        _wait(f"pruned while dumped, {rounds} times: longest end", finishing.longest),
        Bar(
            "history: ends lost",
            str(finishing.finished + missing.finished - kept),
            "0",
            kept == finishing.finished + missing.finished,
        ),
        Bar(
            "old days dropped: while dumped, after",
            f"{while_dumped}, {len(dropped) - while_dumped} (refused {busy} times)",
            "0, 10",
            (while_dumped, len(dropped)) == (0, 10),
        ),
    ]


def _without_partitions(database: Database, url: str) -> Finishing:
    """Ends go to the default partition, which 300,000 rows are in already, and the days are made while they do."""
    today = database.execute("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date AS day")[0]["day"]
    days = [today + timedelta(days=n) for n in range(AHEAD_DAYS + 1)]
    database.script(
        ";".join(f"DROP TABLE halfstep.{parent}_{day:%Y%m%d}" for parent in ("history", "attempt", "log") for day in days)
    )
    _add_rows(database, today, 300_000)
    with Finishing(url) as finishing:
        wait_until(lambda: finishing.finished > 50, seconds=60, what="some ends")
        Administration(database).prune()
        wait_until(lambda: finishing.finished > 200, seconds=60, what="more ends")
    return finishing


def _fill_history(database: Database) -> None:
    """Ten days past retention, 30,000 rows each."""
    today: date = database.execute("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date AS day")[0]["day"]
    for back in range(20, 30):
        day = today - timedelta(days=back)
        database.run("add_partition", parent="history", column_name="finished_at", day=day)
        _add_rows(database, day, 30_000)


def _add_rows(database: Database, day: date, number: int) -> None:
    database.execute(
        "INSERT INTO halfstep.history (id, queue, placement, cluster, state, priority, operator, args, at_most_once,"
        " max_attempts, backoff_base, backoff_cap, enqueued_at, run_at, attempt, failures, deaths, lone_deaths, alone,"
        " finished_at, result)"
        " SELECT 1000000 + n, 'default', 'worker', '', 'succeeded', 0, 'python', '{}', false, 3, 1, 300, %(at)s::timestamptz,"
        " %(at)s::timestamptz, 1, 0, 0, 0, false, %(at)s::timestamptz, to_jsonb(repeat(md5(n::text), 8))"
        " FROM generate_series(1, %(n)s) AS n",
        {"at": f"{day}T00:00:01Z", "n": number},
    )


@contextmanager
def _dumped(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """pg_dump, at its work until it is ended: nobody takes more than the beginning of what it writes."""
    dumper = choose(None).bin / "pg_dump"
    if not dumper.exists():
        raise HalfstepError(f"There is no {dumper}; install the client programs of that PostgreSQL.")
    with subprocess.Popen([dumper, "--schema=halfstep", f"--dbname={url}"], stdout=subprocess.PIPE) as dump:
        assert dump.stdout
        while not dump.stdout.readline().startswith(b"COPY halfstep.history"):
            assert dump.poll() is None
        yield dump
        dump.kill()


def pooler_bars(url: str) -> list[Bar]:
    """The tests of faults through PgBouncer."""
    if program() is None:
        raise HalfstepError(f"{NO_POOLER}.")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HALFSTEP_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/faults"]
    done = subprocess.run(command, cwd=ROOT, env=environment | {"HALFSTEP_TEST_POOLER": "1"}, capture_output=True, text=True)
    counts = re.findall(r"\d+ (?:passed|failed|errors?|skipped)", done.stdout.splitlines()[-1] if done.stdout else "")
    return [Bar("faults through PgBouncer", ", ".join(counts) or "no tests", "all pass", done.returncode == 0)]


def _whole(name: str, ended: tuple[int, int, int]) -> list[Bar]:
    figures = ", ".join(map(str, ended))
    return [Bar(f"{name}: lost, stopped bodies, dead workers", figures, "0, 0, 0", ended == (0, 0, 0))]


def _wait(name: str, seconds: float) -> Bar:
    return Bar(name, f"{seconds:.2f} s", f"<= {LONGEST_WAIT:.0f} s", seconds <= LONGEST_WAIT)


def _idle_share(workers: list[WorkerProcess], seconds: float) -> float:
    """What a worker's own process, which has no server, uses of a core; without its bodies, as these work on."""
    before = [processor_seconds(worker.process.pid, below=False) for worker in workers]
    _pass(seconds)
    after = [processor_seconds(worker.process.pid, below=False) for worker in workers]
    return max(b - a for a, b in zip(before, after, strict=True)) / seconds


def _ended(reports: Reports, tasks: list[int]) -> int:
    return sum(state == "succeeded" for state in reports.states(tasks).values())


def _pass(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > until, seconds=seconds + 10, what="the time to pass")


@contextmanager
def _camp_on(server: OwnServer) -> Iterator[Camp]:
    with tempfile.TemporaryDirectory(prefix="halfstep-faults-") as top:
        source = Path(top) / "source"
        source.mkdir()
        (source / "noted.py").write_text(SOURCE)
        yield Camp(server, Path(top), Effects(Path(top) / "effects"))


@contextmanager
def _disk() -> Iterator[SmallDisk]:
    with tempfile.TemporaryDirectory(prefix="halfstep-disk-") as top:
        os.chmod(top, 0o711)
        with small_disk(Path(top) / "disk", megabytes=160) as disk:
            if disk is None:
                raise HalfstepError(f"{NO_DISK}.")
            yield disk


MEASUREMENTS: dict[str, Measure] = {"outage": outage_bars, "disk": disk_bars, "pgbouncer": pooler_bars}

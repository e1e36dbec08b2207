"""Mixed work for as long as wanted while workers are killed and frozen and the server crashes; a balance sheet at its end.

    python -m benchmarks.soak --minutes 30 [--seed N] [--json]

Two workers are left in peace: their memory and open files, and the server's connections and dead rows, are watched and have to
stay flat. Exit code 1 if a task was lost, a repeat is unexplained, or something grew. Uses the helpers of tests/, which has to be
on PYTHONPATH, and a PostgreSQL of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from balance import Balance, balance
from benchmarks.bars import Bar, line
from benchmarks.faults_siege import Camp, camp
from halfstep.database import Database
from halfstep.errors import HalfstepError
from halfstep.queue import Queue
from siege import Crashes, Producer, Siege, live_tasks, plan
from waiting import wait_until
from worker_processes import WorkerProcess

RATE = 20.0
"""Tasks a second."""
SAMPLE_SECONDS = 5.0
MIX = {"effect": 0.9, "effect_or_fail": 0.06, "fail_always": 0.04}
VETERANS, VICTIMS = 2, 4
DISTURBANCES_A_MINUTE, CRASH_EVERY = 20, 75.0
END_SECONDS = 180.0
GROWTH = 1.2
"""What is flat may be this much more in the last quarter than in the second; the first is for warming up."""
_SERVER = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())::int AS connections,
       (SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE schemaname = 'halfstep')::int AS dead_rows,
       (pg_total_relation_size('halfstep.task') / 1024)::int AS task_kib,
       (SELECT count(*) FROM halfstep.task)::int AS live
"""
SLACK = {"memory_mib": 3, "files": 4, "connections": 4, "dead_rows": 3_000, "task_kib": 1_024}
"""What every figure may grow beside, whatever it is: a dead row that autovacuum has not come to yet is no leak."""


@dataclass(slots=True)
class Watch:
    """Samples of what has to stay flat, by name."""

    camp: Camp
    veterans: Sequence[WorkerProcess]
    database: Database
    samples: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SLACK})
    next_at: float = 0.0

    def step(self, now: float) -> None:
        """Takes a sample when one is due and the server answers."""
        if now < self.next_at:
            return
        self.next_at = now + SAMPLE_SECONDS
        try:
            server = self.database.execute(_SERVER)[0]
        except HalfstepError:
            return
        files = [len(list(Path(f"/proc/{each.process.pid}/fd").iterdir())) for each in self.veterans]
        seen = {"memory_mib": sum(map(_memory_mib, self.veterans)), "files": sum(files), **server}
        for name, values in self.samples.items():
            values.append(seen[name])

    def bars(self) -> list[Bar]:
        """One each."""
        return [self._bar(name) for name in self.samples]

    def _bar(self, name: str) -> Bar:
        values = self.samples[name]
        quarter = max(1, len(values) // 4)
        before, after = median(values[quarter : 2 * quarter] or values), median(values[-quarter:])
        ok = after <= before * GROWTH + SLACK[name]
        return Bar(f"soak: {name.replace('_', ' ')}", f"{before:,.0f} -> {after:,.0f}", f"<= {GROWTH} x + {SLACK[name]:,}", ok)


class Meddler(threading.Thread):
    """Cancels a task now and then, whatever its state."""

    def __init__(self, url: str, producer: Producer, seed: int) -> None:
        super().__init__(name="meddler", daemon=True)
        self._url, self._producer, self._dice = url, producer, random.Random(seed)
        self._stopped = threading.Event()

    def run(self) -> None:
        """About one a second."""
        with closing(Database(self._url)) as database:
            while not self._stopped.wait(self._dice.uniform(0.5, 1.5)):
                self._cancel(Queue(database))

    def _cancel(self, queue: Queue) -> None:
        recent = self._producer.acknowledged[-20:]
        try:
            queue.cancel(self._dice.choice(recent) if recent else 0)
        except HalfstepError:
            return  # it has ended, or the server is away

    def stop(self) -> None:
        """Ends with its present turn."""
        self._stopped.set()


def soak(minutes: float, seed: int) -> tuple[Balance, list[Bar]]:
    """The whole of it."""
    with camp() as here, closing(Database(here.server.url)) as database:
        veterans = [here.start(name=f"veteran-{n}") for n in range(VETERANS)]
        watch = Watch(here, veterans, database)
        seconds = minutes * 60
        sheet, siege, crashes = _besiege(here, watch, seconds, seed)
        harm = f"{siege.done()['kill']} kills, {siege.done()['stop']} stops, {crashes.done} crashes"
        left = [each.stop(seconds=60) for each in veterans]
        complaints = siege.complaints() + [f"a veteran ended with {code}" for code in left if code]
        print(*sheet.problems[:20], *complaints, sep="\n", file=sys.stderr)
        return sheet, [
            Bar("soak: tasks lost", f"{sheet.lost} of {sheet.enqueued}", "0", sheet.lost == 0 and sheet.enqueued > 0),
            Bar("soak: repeats unexplained, late finishes", str(len(sheet.problems)), "0", not sheet.problems),
            Bar("soak: workers that ended by themselves", str(len(complaints)), "0", not complaints),
            Bar("soak: disturbances", harm, ">= 1", siege.done().total() > 0),
            *watch.bars(),
        ]  # fmt: skip


def _besiege(here: Camp, watch: Watch, seconds: float, seed: int) -> tuple[Balance, Siege, Crashes]:
    disturbances = max(3, int(seconds / 60 * DISTURBANCES_A_MINUTE))
    fates = plan(disturbances * 2 // 3, disturbances // 3, seed=seed, ages=(6, 12))
    siege = Siege(here.start, fates, crew=VICTIMS)
    crashes = Crashes(here.server, int(seconds / CRASH_EVERY), every=CRASH_EVERY)
    producer = Producer(here.server.url, here.effects, count=int(RATE * seconds), seconds=seconds, seed=seed, mix=MIX)
    meddler = Meddler(here.server.url, producer, seed)
    began = time.monotonic()
    told = began

    def step() -> bool:
        nonlocal told
        now = time.monotonic()
        siege.step()
        crashes.step()
        if producer.is_alive():
            watch.step(now)
        elif not siege.is_over:
            siege.fates.clear()
        if now - told > 30:
            told = now
            _tell(now - began, seconds, producer, siege)
        return not producer.is_alive() and siege.is_over and live_tasks(watch.database) == 0

    producer.start()
    meddler.start()
    _wait(step, seconds + END_SECONDS)
    meddler.stop()
    meddler.join()
    siege.stop()
    return balance(watch.database, here.effects, producer.acknowledged), siege, crashes


def _wait(step: Callable[[], bool], seconds: float) -> None:
    """What has not ended by then shows in the balance."""
    deadline = time.monotonic() + seconds
    wait_until(lambda: step() or time.monotonic() > deadline, seconds=seconds + 60, what="the end of the soak")


def _tell(passed: float, seconds: float, producer: Producer, siege: Siege) -> None:
    done = siege.done()
    words = (
        f"{passed:.0f} of {seconds:.0f} s: {len(producer.acknowledged):,} enqueued, {done['kill']} kills, {done['stop']} stops"
    )
    print(words, file=sys.stderr, flush=True)


def _memory_mib(worker: WorkerProcess) -> float:
    """Resident, of the worker's own process."""
    text = Path(f"/proc/{worker.process.pid}/status").read_text()
    return float(next(row for row in text.splitlines() if row.startswith("VmRSS")).split()[1]) / 1024


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description="Mixed work under faults, and a balance sheet."
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long tasks are enqueued (default: 10)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="repeats a run's draws")
    parser.add_argument("--json", action="store_true", help="print an object")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that nothing it started is left
    print(f"seed {chosen.seed}", file=sys.stderr, flush=True)
    sheet, bars = soak(chosen.minutes, chosen.seed)
    if chosen.json:
        told = {bar.name: {"figure": bar.figure, "bound": bar.bound, "ok": bar.ok} for bar in bars}
        print(json.dumps({"seed": chosen.seed, "states": sheet.states, "repeats": sheet.repeats, "bars": told}, indent=2))
    else:
        print(sheet, *map(line, bars), sep="\n")
    return 0 if all(bar.ok for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Workers under siege at full size: with the fence, and once more without it. Uses the helpers of tests/."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from balance import Balance, balance
from benchmarks.bars import Bar, Measure
from effects import SOURCE, Effects
from halfstep.database import Database
from own_server import OwnServer, own_server
from siege import Crashes, Producer, Siege, live_tasks, plan
from waiting import wait_until
from worker_processes import WorkerProcess

TASKS, CREW = 5_000, 8
KILLS, STOPS, CRASHES = 100, 50, 10
AGES = (6.5, 10.0)
LEAST_MEAN_LIFE = 6.0
PRODUCING_SECONDS, CRASH_EVERY, LONGEST = 170.0, 15.0, 900.0


@dataclass(slots=True)
class Camp:
    """A server and a folder where workers start. effects: what bodies note."""

    server: OwnServer
    folder: Path
    effects: Effects
    started: list[WorkerProcess] = field(default_factory=list)

    def start(self, **settings: Any) -> WorkerProcess:
        """One worker more."""
        log = self.folder / f"worker-{len(self.started) + 1}.log"
        self.started.append(WorkerProcess(self.server.url, self.folder / "source", log, **settings))
        return self.started[-1]


@contextmanager
def camp() -> Iterator[Camp]:
    """Removed at the end, with the workers' logs; whoever still works is killed."""
    with tempfile.TemporaryDirectory(prefix="halfstep-siege-") as top, own_server() as server:
        source = Path(top) / "source"
        source.mkdir()
        (source / "noted.py").write_text(SOURCE)
        here = Camp(server, Path(top), Effects(Path(top) / "effects"))
        try:
            yield here
        finally:
            for worker in here.started:
                worker.kill()


def siege_bars(url: str) -> list[Bar]:
    """5,000 tasks while workers are killed and frozen and the server crashes. The given database is not used."""
    seed = random.SystemRandom().randrange(1 << 32)
    siege, crashes, sheet, seconds = besieged(seed)
    done = siege.done()
    harm = f"{done['kill']} kills, {done['stop']} stops, {crashes.done} crashes"
    enough = done["kill"] >= KILLS and done["stop"] >= STOPS and crashes.done >= CRASHES
    print(f"{sheet}\nseed {seed}, {seconds:.0f} s", *sheet.problems[:20], *siege.complaints(), sep="\n", file=sys.stderr)
    life = siege.mean_life()
    return [
        Bar("siege: disturbances of 8 workers", harm, f"{KILLS}, {STOPS}, {CRASHES}", enough),
        Bar("siege: mean life of a worker", f"{life:.1f} s", f">= {LEAST_MEAN_LIFE:.0f} s", life >= LEAST_MEAN_LIFE),
        Bar("siege: tasks lost", f"{sheet.lost} of {sheet.enqueued}", "0", sheet.lost == 0 and sheet.enqueued == TASKS),
        Bar("siege: succeeded", str(sheet.states["succeeded"]), str(TASKS), sheet.states["succeeded"] == TASKS),
        Bar("siege: bodies begun / attempts", f"{sheet.starts} / {sheet.attempts}", "explained", not sheet.problems),
        Bar("siege: finishes by who held no claim, starts unexplained", str(len(sheet.problems)), "0", not sheet.problems),
    ]  # fmt: skip


def unfenced_bars(url: str) -> list[Bar]:
    """The same run with workers whose finish does not ask for the claim's token."""
    seed = random.SystemRandom().randrange(1 << 32)
    _, _, sheet, _ = besieged(seed, variant="fence")
    print(f"{sheet}\nseed {seed}", *sheet.problems[:5], sep="\n", file=sys.stderr)
    return [Bar("siege without the fence: what is found", f"{len(sheet.problems)} problems", ">= 1", bool(sheet.problems))]


def besieged(seed: int, variant: str = "") -> tuple[Siege, Crashes, Balance, float]:
    """One run at full size and how many seconds it took."""
    with camp() as here:
        siege = Siege(here.start, plan(KILLS, STOPS, seed=seed, ages=AGES), crew=CREW, variant=variant)
        crashes = Crashes(here.server, CRASHES, every=CRASH_EVERY)
        producer = Producer(here.server.url, here.effects, count=TASKS, seconds=PRODUCING_SECONDS, seed=seed)
        began = time.monotonic()
        sheet = run(here, siege, crashes, producer)
        return siege, crashes, sheet, time.monotonic() - began


def run(here: Camp, siege: Siege, crashes: Crashes, producer: Producer) -> Balance:
    """Until every fate is met and all work is done, or for LONGEST seconds: what is left then shows in the balance."""
    deadline = time.monotonic() + LONGEST
    with closing(Database(here.server.url)) as database:

        def over() -> bool:
            siege.step()
            crashes.step()
            done = siege.is_over and crashes.done == crashes.times and not producer.is_alive() and live_tasks(database) == 0
            return done or time.monotonic() > deadline

        producer.start()
        wait_until(over, seconds=LONGEST + 60, what="the end of the siege")
        producer.stop()
        siege.stop()
        return balance(database, here.effects, producer.acknowledged)


MEASUREMENTS: dict[str, Measure] = {"siege": siege_bars, "no fence": unfenced_bars}

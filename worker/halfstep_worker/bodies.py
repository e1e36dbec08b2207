"""The bodies that run: claims on their way into children, and what their ends mean. Used by the worker's loop only."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Iterable
from math import inf
from typing import Any, cast

from halfstep.claims import Claim, Ending, settle
from halfstep.events import emit
from halfstep.outcomes import Cancelled, Failed, Lost, Outcome, Retry, Succeeded
from halfstep_worker.batching import Pace
from halfstep_worker.children import (
    Ended,
    Event,
    Line,
    LoadFailed,
    Pool,
    PoolSettings,
    Progress,
    TaskMessage,
    Unstarted,
    environment_of,
)
from halfstep_worker.children.child import Child
from halfstep_worker.desk import Outgoing, Release
from halfstep_worker.logs import LogCollector
from halfstep_worker.losses import Losses
from halfstep_worker.memory import slot_limit
from halfstep_worker.settings import WorkerSettings
from halfstep_worker.tails import Tails

STUCK_BEHIND_SECONDS = 0.1
"""A task that waits on a child behind a body that runs longer than this is taken back and given to another."""
PROGRESS_SECONDS = 0.5
STOP_LOOK_SECONDS = 0.1
"""How often the pool is asked while a body is being stopped."""

DROPPED_SECONDS = 10.0
"""How often it is told that lines had nobody to belong to."""

Key = tuple[int, int]


def key_of(claim: Claim) -> Key:
    """What the pool calls a claim: an attempt, so that a task claimed again is not confused with its former body."""
    return claim.id, claim.attempt


class Bodies:
    """Holds the claims that were given to children until their ends have been taken by `take_outgoing`."""

    def __init__(self, settings: WorkerSettings, *, wake_fd: int) -> None:
        self._settings = settings
        self._pool = Pool(pool_settings(settings))
        self._wake_fd = wake_fd
        self._pace = Pace()
        self._logs = LogCollector()
        self._tails = Tails()
        self._dropped = 0
        self._dropped_at = 0.0
        self._claims: dict[Key, Claim] = {}
        self._abandoned: set[Key] = set()
        self._stopping: set[Key] = set()
        self._returned: list[Claim] = []
        self._fresh: set[Key] = set()
        self._losses = Losses()
        self._troubles: list[str] = []
        self._outgoing = Outgoing()
        self._progress_at = 0.0
        self.moved_at = 0.0
        """When a body last ended, monotonic seconds."""

    # -- what the loop asks

    @property
    def children_started(self) -> int:
        """How many child processes were started so far. Any thread may ask."""
        return self._pool.started

    @property
    def running(self) -> int:
        """Claims that are with a child."""
        return len(self._claims)

    @property
    def busy(self) -> int:
        """Slots in use."""
        return sum(1 for child in self._pool.children if child.busy)

    @property
    def capacity(self) -> int:
        """How many claims are worth holding: nothing ahead for a slot whose body runs longer than we look ahead."""
        ahead, now = self._pace.ahead(), time.monotonic()
        if ahead == 1:
            return self._settings.slots
        long = sum(1 for child in self._pool.children if _runs_since(child, now) > self._pace.horizon)
        return (self._settings.slots - long) * ahead + long

    def deadlines(self) -> Iterable[float]:
        """Monotonic times at which the loop should look again."""
        due = self._logs.due_at()
        if due is not None:
            yield due
        if (line_due := self._pool.line_due) < inf:
            yield line_due
        if self._dropped:
            yield self._dropped_at
        if self._stopping:
            yield time.monotonic() + STOP_LOOK_SECONDS
        for child in self._pool.children:
            current = child.current
            if current is not None and current[0].timeout is not None:
                yield current[1] + current[0].timeout
            if current is not None and child.queued > 1:
                yield current[1] + STUCK_BEHIND_SECONDS

    # -- giving and taking back

    def lay_on(self, waiting: deque[Claim], now: float) -> None:
        """Gives waiting claims to the children that have room, the emptiest first."""
        self._free_the_stuck(waiting, now)
        self._give_fresh(waiting, now)
        window = self._pace.lay()
        free = [child for child in self._pool.children if child.open and _runs_since(child, now) <= STUCK_BEHIND_SECONDS]
        later = []
        while waiting and free:
            child = min(free, key=lambda child: child.queued)
            if child.queued >= window:
                break
            claim = waiting.popleft()
            if (self._fresh and key_of(claim) in self._fresh) or (self._losses and not self._losses.may_begin(claim.id, now)):
                later.append(claim)
                continue
            self._give(child, claim)
            if child.is_full:
                free.remove(child)
        waiting.extendleft(reversed(later))

    def _give_fresh(self, waiting: deque[Claim], now: float) -> None:
        """A task that wants a child of its own gets a new one, which then ends; an idle one makes room for it."""
        for claim in [claim for claim in waiting if self._fresh and key_of(claim) in self._fresh]:
            idle = [child for child in self._pool.children if child.open and not child.busy]
            new = next((child for child in idle if child.is_new), None)
            if new is not None and self._losses.may_begin(claim.id, now):
                waiting.remove(claim)
                self._give(new, claim)
                new.retire_when_empty()
            elif new is None and idle:
                idle[0].retire_when_empty()

    def recall(self) -> list[Claim]:
        """Everything that children have been given and have not begun."""
        return [claim for child in self._pool.children for claim in self._take_back(child)]

    def returned(self) -> list[Claim]:
        """Claims that came back unstarted because their child ended."""
        returned, self._returned = self._returned, []
        return returned

    def _free_the_stuck(self, waiting: deque[Claim], now: float) -> None:
        for child in self._pool.children:
            current = child.current if child.queued > 1 else None
            if current is not None and now - current[1] > STUCK_BEHIND_SECONDS:
                waiting.extendleft(reversed(self._take_back(child)))

    def _take_back(self, child: Child) -> list[Claim]:
        return [self._claims.pop(cast(Key, key)) for key in self._pool.recall(child)]

    def _give(self, child: Child, claim: Claim) -> None:
        key = key_of(claim)
        self._claims[key] = claim
        child.send(TaskMessage(key, claim.id, claim.attempt, claim.operator, claim.args, claim.timeout))

    # -- stopping

    def enforce_timeouts(self, now: float) -> None:
        """Stops every body that has run out of time."""
        for child in self._pool.children:
            current = child.current
            if current is not None and current[0].timeout is not None and now - current[1] >= current[0].timeout:
                self._stop(cast(Key, current[0].key), "timeout")

    def cancel(self, id: int) -> None:
        """Stops the body of a task that somebody cancelled."""
        for key, claim in list(self._claims.items()):
            if claim.id == id:
                self._stop(key, "cancelled")

    def cancel_unstarted(self, claim: Claim) -> None:
        """A cancelled claim that no child was given."""
        self._outgoing.endings.append(Ending(claim, Cancelled()))

    def release_unstarted(self, claims: Iterable[Claim], reason: str) -> None:
        """Hands claims back that no child has begun."""
        claims = list(claims)
        self._fresh.difference_update(map(key_of, claims))
        self._outgoing.releases += [Release(claim, reason, started=False) for claim in claims]

    def abandon(self, claim: Claim) -> None:
        """The claim is somebody else's now: its body is stopped, and nothing is said of its end."""
        key = key_of(claim)
        if key in self._claims:
            self._abandoned.add(key)
            self._stop(key, "lease")

    def stop_at_most_once(self, reason: str, *, within: float) -> None:
        """Bodies that must not run twice end before the lease does: whoever is still there after `within` seconds is killed."""
        for key in [key for key, claim in self._claims.items() if claim.at_most_once]:
            self._stopping.add(key)
            self._pool.stop_body(key, reason, grace=min(within, self._settings.stop_grace))

    def stop_all(self, reason: str) -> None:
        """TERM to every body, KILL after the grace."""
        for key in list(self._claims):
            self._stop(key, reason)

    def warn(self, reason: str) -> None:
        """Bodies can read the reason; nothing is stopped yet."""
        self._pool.warn(reason)

    def _stop(self, key: Key, reason: str) -> None:
        if key not in self._stopping:
            self._stopping.add(key)
            self._pool.stop_body(key, reason, grace=self._settings.stop_grace)

    # -- the pool's life

    def start(self) -> None:
        """Imports user code and forks the children. Raises HalfstepError."""
        self._pool.start()

    def stop(self) -> None:
        """Ends all children; what still ran is released."""
        for event in self._pool.stop(self._settings.stop_grace):
            self._take(event, time.monotonic())
        self._tell_dropped(inf)
        for claim in self._claims.values():
            self._outgoing.releases.append(Release(claim, "drain", started=True))
        self._claims.clear()

    def reload(self) -> None:
        """New bodies run the source as it is now; running ones end on the old."""
        self._pool.reload()

    def troubles(self) -> list[str]:
        """Why reloads have failed since the last call."""
        troubles, self._troubles = self._troubles, []
        return troubles

    # -- what children say

    def poll(self, seconds: float) -> None:
        """Waits for children or the desk, and takes what came."""
        select.select([self._pool.fileno(), self._wake_fd], [], [], seconds)
        now = time.monotonic()
        for event in self._pool.poll(0):
            self._take(event, now)
        self._tell_dropped(now)

    def _take(self, event: Event, now: float) -> None:
        match event:
            case Ended(key=key, outcome=outcome, seconds=seconds):
                self.moved_at = now
                self._end(key, outcome, seconds)
            case Line():
                self._write(event, now)
            case Progress(key=key, text=text):
                self._note_progress(key, text)
            case Unstarted():
                self._come_back(event)
            case LoadFailed(error=error):
                self._troubles.append(error)

    def _end(self, key: Any, outcome: Outcome, seconds: float) -> None:
        claim = self._claims.pop(key, None)
        self._stopping.discard(key)
        self._fresh.discard(key)
        if claim is None:
            return
        if not isinstance(outcome, Succeeded) or self._losses:
            outcome = self._told(claim, outcome)
        outcome = self._tails.end(key, outcome)
        self._pace.note(seconds)
        self._outgoing.chunks += self._logs.end(claim)
        self._outgoing.progress.pop(claim.id, None)
        if key in self._abandoned:
            self._abandoned.discard(key)
            if isinstance(outcome, Lost):
                return
        match settle(claim, outcome):  # a result that came all the same is offered, and the fence decides
            case Retry() as retry:
                self._outgoing.retries.append((claim, retry))
            case Lost(reason=reason):
                self._outgoing.releases.append(Release(claim, reason, started=True))
            case Succeeded() | Failed() | Cancelled() as ended:
                self._outgoing.endings.append(Ending(claim, ended, seconds))

    def _write(self, line: Line, now: float) -> None:
        key = cast(Key, line.key)
        claim = self._claims.get(key)
        if claim is not None:
            self._logs.add(claim, line[1:] if line.goes_on else line[1:4], now=now)
            self._tails.add(line)
        elif key is None:
            self._dropped_at = self._dropped_at if self._dropped else max(self._dropped_at, now + 1.0)
            self._dropped += 1

    def _tell_dropped(self, now: float) -> None:
        """Once for all that came within a while."""
        if self._dropped and now >= self._dropped_at:
            emit("output.dropped", count=self._dropped)
            self._dropped, self._dropped_at = 0, now + DROPPED_SECONDS

    def _note_progress(self, key: Any, text: str) -> None:
        claim = self._claims.get(key)
        if claim is not None:
            self._outgoing.progress[claim.id] = (claim, text)

    def _told(self, claim: Claim, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Lost) and outcome.reason in ("zygote", "neighbour"):
            return self._losses.note(claim.id) or outcome
        self._losses.forget(claim.id)
        return outcome

    def _come_back(self, event: Unstarted) -> None:
        key = cast(Key, event.key)
        claim = self._claims.pop(key, None)
        refused = event.read or (event.fresh and key in self._fresh)  # it had a new child, and said that it was none
        if event.fresh:
            self._fresh.add(key)
        if claim is not None and refused and (failed := self._losses.note(claim.id)):
            self._claims[key] = claim
            self._end(key, failed, 0.0)
            return
        stopped = key in self._stopping
        self._stopping.discard(key)
        if claim is None or stopped or key in self._abandoned:
            self._fresh.discard(key)
        if claim is None or key in self._abandoned:
            self._abandoned.discard(key)
        elif stopped:
            self._outgoing.releases.append(Release(claim, "stopped", started=False))
        else:
            self._returned.append(claim)

    def take_outgoing(self, now: float, *, everything: bool = False) -> Outgoing:
        """What is to be written now; progress only now and then, as the last one counts."""
        self._outgoing.chunks += self._logs.take(now=float("inf") if everything else now)
        taken, self._outgoing = self._outgoing, Outgoing()
        if taken.progress and now < self._progress_at and not everything:
            self._outgoing.progress, taken.progress = taken.progress, {}
        elif taken.progress:
            self._progress_at = now + PROGRESS_SECONDS
        return taken


def _runs_since(child: Child, now: float) -> float:
    current = child.current
    return 0.0 if current is None else now - current[1]


def pool_settings(settings: WorkerSettings) -> PoolSettings:
    """What the children are told. Connections go by the loader's settings, never by the environment."""
    loader_settings = {
        "source": str(settings.source) if settings.source else None,
        "imports": list(settings.imports),
        "allow": list(settings.allow),
        "connections": dict(settings.connections),
        "http_allow": list(settings.http_allow),
    }
    memory = settings.memory_bytes or slot_limit(settings.slots)
    return PoolSettings(
        loader_settings=loader_settings,
        slots=settings.slots,
        environment=environment_of(os.environ, settings.run_as),
        memory_bytes=memory,
        recycle_after=1 if settings.isolation == "fresh" else settings.child_tasks,
        run_as=settings.run_as,
        sole=True,
    )

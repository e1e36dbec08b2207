"""The exchange's own book: what the worker holds according to SQL, and what it still has to write. No other thread sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from halfstep.claims import Claim, Ending
from halfstep.outcomes import Succeeded
from halfstep_worker.desk import Outgoing

MOST_BYTES = 8 * 1024 * 1024
"""Characters of results in one exchange: many large ones are not to be too much for the server."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds before what the server refuses in any form is tried again."""


@dataclass(slots=True)
class Ledger:
    """held: by the task's id; also claims that have ended, until that is written. Times are monotonic seconds."""

    held: dict[int, Claim] = field(default_factory=dict)
    outgoing: Outgoing = field(default_factory=Outgoing)
    aside: Outgoing = field(default_factory=Outgoing)
    """Ends, retries, releases and pods that the server refuses in any form, until they are tried again."""
    doubted: set[tuple[int, str]] = field(default_factory=set)
    """Claims (id and token) that were put aside, until something of theirs is written."""
    pause: float = 0.0
    aside_until: float = 0.0

    @property
    def unended(self) -> int:
        """How many claims are held that have not ended here."""
        return len(self.held) - len(self.outgoing.endings) - len(self.aside.claims())

    def running(self) -> list[Claim]:
        """Held claims that have not ended here."""
        ended = {claim.id for claim in self.ended()}
        return [claim for claim in self.held.values() if claim.id not in ended]

    def ended(self) -> list[Claim]:
        """Those whose end, retry or release is not written yet."""
        return self.outgoing.claims() + self.aside.claims()

    def portion(self, most: int) -> list[Ending]:
        """The first ends that are to be written, up to `most`, and up to `MOST_BYTES` of results unless one alone is larger."""
        some, size = self.outgoing.endings[:most], 0
        for n, ending in enumerate(some):
            result = ending.outcome.result if isinstance(ending.outcome, Succeeded) else ""
            size += len(result) if isinstance(result, str) else 0  # what is none is refused when it is sent
            if size > MOST_BYTES:
                return some[: max(n, 1)]
        return some

    def ends_written(self, endings: Sequence[Ending]) -> None:
        """The first ends, as `portion` gave them, are in SQL."""
        del self.outgoing.endings[: len(endings)]

    def accept(self, claims: Sequence[Claim]) -> None:
        """These are held from now on."""
        self.held |= {claim.id: claim for claim in claims}

    def forget(self, claims: Sequence[Claim]) -> None:
        """These are not held any more, unless the task was claimed again since."""
        for claim in claims:
            held = self.held.get(claim.id)
            if held is claim or held == claim:
                del self.held[claim.id]

    def written(self, claims: Sequence[Claim]) -> None:
        """The ends, retries or releases of these are in SQL."""
        self.outgoing.take(claims)
        self.forget(claims)
        if self.doubted:
            self.doubted -= {(claim.id, claim.token) for claim in claims}

    def put_aside(self, claims: Sequence[Claim], now: float) -> None:
        """What is to be written of these waits, longer each time, and in nobody's way."""
        self.doubted |= {(claim.id, claim.token) for claim in claims}
        self.wait_aside(self.outgoing.take(claims), now)

    def wait_aside(self, refused: Outgoing, now: float) -> None:
        """The same of what has been taken out already."""
        if refused and not self.aside:
            self.pause = min(LONGEST_PAUSE, self.pause * 2 or FIRST_PAUSE)
            self.aside_until = now + self.pause
        self.aside.merge(refused)

    def bring_back(self, now: float) -> None:
        """What waits aside is to be written again, if its time has come. Called at the beginning of a round."""
        if not self.aside:
            self.pause = 0.0
        elif now >= self.aside_until:
            tried, self.aside = self.aside, Outgoing()
            tried.pods |= self.outgoing.pods  # what is newer counts
            self.outgoing.merge(tried)

    def drop(self, recorded: set[int]) -> list[Claim]:
        """What the server has already written of these tasks is not written again; the claims, which are forgotten."""
        done = [claim for claim in self.ended() if claim.id in recorded]
        self.aside.take(done)
        self.written(done)
        return done

    def lose(self, *, but: Sequence[Claim] = ()) -> list[Claim]:
        """Forgets and returns what somebody else holds by now: all `but` these. What has ended stays, and meets the fence."""
        ours = {claim.id: claim.token for claim in but}
        lost = [claim for claim in self.running() if ours.get(claim.id) != claim.token]
        self.forget(lost)
        return lost

    def unknown(self, in_sql: Sequence[Claim]) -> list[Claim]:
        """Which of these SQL says we hold without our knowing: a lost reply has brought them."""
        return [claim for claim in in_sql if claim.id not in self.held]

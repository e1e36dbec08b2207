"""The exchange's own book: what the worker holds according to SQL, and what it still has to write. No other thread sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from halfstep.claims import Claim
from halfstep_worker.desk import Outgoing


@dataclass(slots=True)
class Ledger:
    """held: by the task's id; also claims that have ended, until that is written."""

    held: dict[int, Claim] = field(default_factory=dict)
    outgoing: Outgoing = field(default_factory=Outgoing)

    @property
    def unended(self) -> int:
        """How many claims are held that have not ended here."""
        return len(self.held) - len(self.outgoing.endings)

    def accept(self, claims: Sequence[Claim]) -> None:
        """These are held from now on."""
        self.held |= {claim.id: claim for claim in claims}

    def forget(self, claims: Sequence[Claim]) -> None:
        """These are not held any more, unless the task was claimed again since."""
        for claim in claims:
            if self.held.get(claim.id) == claim:
                del self.held[claim.id]

    def drop(self, recorded: set[int]) -> list[Claim]:
        """What the server has already written of these tasks is not written again; the claims, which are forgotten."""
        out = self.outgoing
        done = [claim for claim in out.claims() if claim.id in recorded]
        out.endings = [ending for ending in out.endings if ending.claim.id not in recorded]
        out.retries = [(claim, retry) for claim, retry in out.retries if claim.id not in recorded]
        out.releases = [release for release in out.releases if release.claim.id not in recorded]
        self.forget(done)
        return done

    def lose(self, *, but: Sequence[Claim] = ()) -> list[Claim]:
        """Forgets and returns what somebody else holds by now: all `but` these. What has ended stays, and meets the fence."""
        ours = {claim.id: claim.token for claim in but}
        ended = {claim.id for claim in self.outgoing.claims()}
        lost = [claim for claim in self.held.values() if claim.id not in ended and ours.get(claim.id) != claim.token]
        self.forget(lost)
        return lost

    def unknown(self, in_sql: Sequence[Claim]) -> list[Claim]:
        """Which of these SQL says we hold without our knowing: a lost reply has brought them."""
        return [claim for claim in in_sql if claim.id not in self.held]

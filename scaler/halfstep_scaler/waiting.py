"""What this scaler says of itself in SQL: for which queues it waits, those of targets that have nothing to do (only for them
enqueue sends a notification), for what it would have workers started, and which ScaledObjects it refuses."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from halfstep.scaling import ScalingBook
from halfstep_scaler.metadata import Target
from halfstep_scaler.refusals import Refusal
from halfstep_scaler.snapshot import Snapshot

ALL = "*"
RENEW_SECONDS = 20.0
"""Others take a scaler that has not renewed its row for a minute as gone."""
MOST_NAMES = 200
"""Every enqueue looks through the names; for more of them a scaler waits for all queues."""


MOST_TARGETS = 500
"""A scaler with more of them does not say which."""
MOST_REFUSED = 100

Record = dict[str, object]


@dataclass(frozen=True, slots=True)
class Standing:
    """What people are told of it: `targets` None if there are too many to say."""

    targets: Sequence[Record] | None = ()
    refused: Sequence[dict[str, str]] = ()


def standing(targets: Iterable[Target], refused: Iterable[Refusal]) -> Standing:
    """Each kind of work once; the newest refusals."""
    kinds = {(each.placement, each.cluster, each.queues) for each in targets}
    told: list[Record] = [
        {"placement": p, "cluster": c, "queues": None if names is None else sorted(names)} for p, c, names in kinds
    ]
    told.sort(key=str)
    newest = list(refused)[-MOST_REFUSED:]
    return Standing(
        told if len(told) <= MOST_TARGETS else None,
        [{"namespace": each.namespace, "name": each.name, "sentence": _plain(each.sentence)} for each in newest],
    )


def idle_queues(targets: Iterable[Target], snapshot: Snapshot) -> frozenset[str]:
    """Queues whose first task is news: none of the target's has anything to do. `*`: those of a target that wants all."""
    idle = [target.queues for target in targets if not snapshot.is_active(target)]
    names = frozenset().union(*(frozenset({ALL}) if queues is None else queues for queues in idle))
    return names if len(names) <= MOST_NAMES and ALL not in names else frozenset({ALL})


class WaitingList:
    """Keeps the scaler's row in SQL as it should be. Used by the reader's thread."""

    def __init__(self, book: ScalingBook, name: str) -> None:
        self._book = book
        self._id = str(uuid.uuid4())
        self._name = name
        self._told: frozenset[str] = frozenset()
        self._standing = Standing()
        self._told_at = -inf

    def tell(self, queues: frozenset[str], *, now: float, standing: Standing | None = None) -> bool:
        """Writes the row if it changes or grows old. Returns whether queues were added: what came before is still unseen."""
        said = standing or self._standing
        if (queues, said) == (self._told, self._standing) and now - self._told_at < RENEW_SECONDS:
            return False
        self._book.wait_for(self._id, self._name, sorted(queues), targets=said.targets, refused=said.refused)
        added = not queues <= self._told
        self._told, self._standing, self._told_at = queues, said, now
        return added

    def leave(self) -> None:
        """Waits for nothing any more."""
        self.tell(frozenset(), now=inf)


def _plain(sentence: str) -> str:
    """As a database of any encoding can hold it."""
    return sentence.replace("…", "...").encode("ascii", "backslashreplace").decode()

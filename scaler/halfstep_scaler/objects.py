"""The ScaledObjects that ask: admitted by the allow list, their metadata read once, remembered for as long as they ask."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from halfstep.demand import Steady
from halfstep_scaler.answers import wanted
from halfstep_scaler.errors import InvalidReference, NotAllowed, Refused
from halfstep_scaler.metadata import Target, parse_metadata
from halfstep_scaler.proto.externalscaler_pb2 import ScaledObjectRef
from halfstep_scaler.refusals import Refusals
from halfstep_scaler.snapshot import Snapshot

MOST_OBJECTS = 5_000
"""More than this are answered too, but those that asked longest ago are forgotten first."""
FORGET_SECONDS = 900.0
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

Key = tuple[str, str, frozenset[tuple[str, str]]]


@dataclass(slots=True, eq=False)
class ScaledObject:
    """One trigger of one ScaledObject. Used by the event loop only."""

    namespace: str
    name: str
    target: Target
    asked_at: float = 0.0
    streams: int = 0
    _steady: Steady = field(default_factory=Steady)
    _settled: tuple[Snapshot | None, int] = (None, 0)

    def wanted(self, snapshot: Snapshot, now: float) -> int:
        """How many replicas it should have, steadied. However often it asks: reckoned once a snapshot."""
        if self._settled[0] is not snapshot:
            self._settled = (snapshot, self._steady.settle(wanted(snapshot, self.target), now))
        return self._settled[1]


class AllowList:
    """Patterns of NAMESPACE/NAME; * and ? stand for any characters of one of the two."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._pairs = [(namespace, name) for namespace, _, name in (pattern.partition("/") for pattern in patterns)]

    def check(self, ref: ScaledObjectRef) -> None:
        """Raises InvalidReference for what is no name in Kubernetes, NotAllowed for what is not on the list."""
        if not _NAME.fullmatch(ref.namespace) or not _NAME.fullmatch(ref.name):
            raise InvalidReference("A ScaledObject has a namespace and a name that Kubernetes would accept.")
        if not any(fnmatchcase(ref.namespace, namespace) and fnmatchcase(ref.name, name) for namespace, name in self._pairs):
            raise NotAllowed(f"ScaledObject {ref.namespace}/{ref.name} is not on this scaler's allow list (--allow).")


class ScaledObjects:
    """`find` for every call. `on_change` is called when there is a new target. `refusals`: what could not be found lately."""

    def __init__(self, allow: AllowList, *, clock: Callable[[], float], on_change: Callable[[], None]) -> None:
        self._allow = allow
        self._clock = clock
        self._on_change = on_change
        self._known: OrderedDict[Key, ScaledObject] = OrderedDict()
        self.refusals = Refusals(clock=clock)
        self.targets: frozenset[Target] = frozenset()
        """What to measure for. Replaced as a whole by the event loop, read by the reader's thread."""

    def find(self, ref: ScaledObjectRef) -> ScaledObject:
        """The object that asks. Raises Refused."""
        key = (ref.namespace, ref.name, frozenset(ref.scalerMetadata.items()))
        known = self._known.get(key)
        if known is None:
            known = self._admit(key, ref)
        else:
            self._known.move_to_end(key)
        known.asked_at = self._clock()
        return known

    def forget(self) -> list[ScaledObject]:
        """Gives up those that have not asked for long and have no stream open; returns them."""
        limit = self._clock() - FORGET_SECONDS
        old = [key for key, known in self._known.items() if known.asked_at < limit and not known.streams]
        gone = [self._known.pop(key) for key in old]
        if gone:
            self._count()
        return gone

    def names(self) -> set[tuple[str, str]]:
        """Namespace and name of all that are remembered."""
        return {(known.namespace, known.name) for known in self._known.values()}

    def asking(self, namespace: str, name: str, *, since: float) -> list[ScaledObject]:
        """The triggers of one ScaledObject that have asked since then, or have a stream open."""
        return [
            known
            for known in self._known.values()
            if (known.namespace, known.name) == (namespace, name) and (known.streams or known.asked_at >= since)
        ]

    def _admit(self, key: Key, ref: ScaledObjectRef) -> ScaledObject:
        try:
            self._allow.check(ref)
            known = ScaledObject(ref.namespace, ref.name, parse_metadata(ref.scalerMetadata))
        except Refused as refused:
            self.refusals.note(ref.namespace, ref.name, refused)
            raise
        self.refusals.forget(ref.namespace, ref.name)
        self._known[key] = known
        if len(self._known) > MOST_OBJECTS:
            self._known.popitem(last=False)
            self._count()
        if known.target not in self.targets:
            self.targets |= {known.target}
            self._on_change()
        return known

    def _count(self) -> None:
        self.targets = frozenset(known.target for known in self._known.values())

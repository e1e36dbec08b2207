"""How far one container's log has been read. Pure: the kubelet takes a start in whole seconds only, so reads overlap.

Lines are told apart by their place in the file, not by their time: two streams of one container may be written slightly out of
order, and lines of one time are many. `since` is the second to ask for, `seen` how many lines of the answer are known already.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from halfstep.pods import StreamEnd

HEAVY_BYTES = 64 * 1024
"""An overlap larger than this is not read for ever by a container that has become silent."""
SETTLED_SECONDS = 2.0


@dataclass(slots=True)
class Position:
    """earlier: what somebody before us has stored of it. skip: so many of its stored lines are still to be passed over."""

    earlier: StreamEnd | None = None
    skip: int = 0
    since: int | None = None
    seen: int = 0
    newest: int = 0
    """The latest time read, nanoseconds since 1970."""
    moved_at: float = 0.0
    """When a read last brought something new. Monotonic."""

    def start(self, *, whole: bool = False) -> int | None:
        """The `since` of the next read, None for the whole log. whole: somebody must also see what was stored before us."""
        if self.since is None and self.earlier is not None and not whole:
            return self.earlier.since - 1  # stored times are rounded: a line may seem to be of the second after its own
        return self.since

    def stored(self, at: int, pieces: int) -> int:
        """How many pieces of a line somebody before us has stored. Asked once for each line, in the order of the file.

        at: its time, nanoseconds since 1970. Lines are counted: many may have the same time, and a few be slightly out of order.
        """
        if self.earlier is None or at / 1e9 < self.earlier.since:
            return 0 if self.earlier is None else pieces
        if at / 1e9 > self.earlier.last_at:
            self.skip = 0  # where any are left, the node has rotated or removed them
        known = min(self.skip, pieces)
        self.skip -= known
        return known

    def misses(self, at: int) -> bool:
        """Lines that were stored do not stand before this one any more, so others may have gone with them."""
        return self.earlier is not None and self.skip > 0 and at / 1e9 > self.earlier.last_at


class Reading:
    """One read of the log, from `position.start()` on, begun at `now` (monotonic). Its lines go through `is_new` in order."""

    def __init__(self, position: Position, *, now: float) -> None:
        self._position = position
        self._known = position.seen
        self._newest = position.newest
        self._began = now
        self._count = 0
        self._overlap = 0
        self.found = 0
        """New lines so far."""
        self.gap = False
        """The node has rotated or removed lines since the last read: some may be missing here."""

    @property
    def is_empty(self) -> bool:
        """No line with a time has come."""
        return self._count == 0

    def is_new(self, at: int, *, size: int) -> bool:
        """at: the line's time, nanoseconds since 1970."""
        self._count += 1
        if self._count <= self._known and not self.gap:
            if at <= self._newest:
                self._overlap += size
                return False
            self._lost()
        self._advance(at)
        self.found += 1
        return True

    def end(self) -> None:
        """The answer was complete."""
        position = self._position
        if self._count < self._known and not self.gap:
            self._lost()
            position.seen = self._count
        settled = not self.found and self._began - position.moved_at > SETTLED_SECONDS
        if settled and position.since is not None and self._overlap > HEAVY_BYTES:
            position.since, position.seen = position.since + 1, 0  # nothing more is written in a second that is long over

    def _lost(self) -> None:
        self.gap = True
        self._position.seen = 0

    def _advance(self, at: int) -> None:
        position, second = self._position, at // 1_000_000_000
        position.newest = max(position.newest, at)
        if position.since is None or second > position.since:
            position.since, position.seen = second, 1
        elif second == position.since:
            position.seen += 1


class Stamps:
    """Reads the times of lines. Lines of one second share their beginning, so that almost none is parsed in full."""

    def __init__(self) -> None:
        self._head = b""
        self._seconds = 0

    def split(self, line: bytes) -> tuple[int, bytes] | None:
        """(nanoseconds since 1970, text); None if the line does not begin with a time as the kubelet writes them."""
        stamp, blank, text = line.partition(b" ")
        if not blank or len(stamp) < 20 or stamp[10:11] != b"T":
            return None
        fraction = stamp[20:].rstrip(b"Z") if stamp[19:20] == b"." else b""
        digits, zone = fraction[:9], b""
        for sign in (b"+", b"-"):
            before, found, offset = stamp[19:].partition(sign)
            if found:
                digits, zone = before[1:10], sign + offset
        try:
            return self._second(stamp[:19] + (zone or b"Z")) * 1_000_000_000 + int(digits.ljust(9, b"0") or b"0"), text
        except ValueError:
            return None

    def _second(self, head: bytes) -> int:
        if head != self._head:
            self._seconds = int(datetime.fromisoformat(head.decode()).timestamp())
            self._head = head
        return self._seconds

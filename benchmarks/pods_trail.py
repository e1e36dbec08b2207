"""Who wrote the end of each attempt: a trail that the launchers know nothing of.

A launcher registers and writes ends on one and the same connection. So triggers can note which launcher a connection is of, and
beside each end who wrote it and who held the attempt, as the row itself says. A late finish that was accepted shows as an end by
somebody else than the holder, or as a second one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from halfstep.database import Database

_BEGIN = """
CREATE SCHEMA bars;
CREATE TABLE bars.connection (backend int PRIMARY KEY, launcher text);
CREATE TABLE bars.ended (attempt_id uuid, outcome text, holder uuid, writer text);
CREATE FUNCTION bars.note_connection() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bars.connection VALUES (pg_backend_pid(), NEW.name)
    ON CONFLICT (backend) DO UPDATE SET launcher = excluded.launcher;
    RETURN NULL;
END $$;
CREATE FUNCTION bars.note_end() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE told jsonb := to_jsonb(NEW);
BEGIN
    INSERT INTO bars.ended
    SELECT NEW.attempt_id, coalesce(told ->> 'state', told ->> 'outcome'), NEW.worker_id,
           (SELECT launcher FROM bars.connection WHERE backend = pg_backend_pid());
    RETURN NULL;
END $$;
CREATE TRIGGER bars_connection AFTER INSERT ON halfstep.worker FOR EACH ROW EXECUTE FUNCTION bars.note_connection();
CREATE TRIGGER bars_ended AFTER INSERT ON halfstep.history FOR EACH ROW EXECUTE FUNCTION bars.note_end();
CREATE TRIGGER bars_ended AFTER INSERT ON halfstep.attempt FOR EACH ROW EXECUTE FUNCTION bars.note_end();
"""
_END = "DROP SCHEMA bars CASCADE"
_READ = """
SELECT e.attempt_id::text AS attempt, e.outcome, e.writer, w.name AS holder
FROM bars.ended e LEFT JOIN halfstep.worker w ON w.id = e.holder
"""


@dataclass(frozen=True, slots=True)
class Trail:
    """database: logged in as the schema's owner."""

    database: Database

    def ends(self) -> int:
        """How many there are."""
        return len(self.database.execute(_READ))

    def accepted_late(self) -> list[str]:
        """A line for each end that its holder did not write, and for each that is not the attempt's only one.

        That an attempt was lost with its launcher before it asked for a pod is written by whoever rescues its task.
        """
        ends = self.database.execute(_READ)
        foreign = [end for end in ends if end["holder"] != end["writer"] and end["outcome"] != "lost"]
        counts = Counter(end["attempt"] for end in ends)
        late = [f"attempt {end['attempt']}: held by {end['holder']}, {end['outcome']} by {end['writer']}" for end in foreign]
        return late + [f"attempt {attempt}: {count} ends" for attempt, count in counts.items() if count > 1]


@contextmanager
def trail(database: Database) -> Iterator[Trail]:
    """Begins before the first launcher starts. All have to have ended when it ends, as that takes locks."""
    database.script(_BEGIN)
    try:
        yield Trail(database)
    finally:
        database.script(_END)

-- Closes workers that hold nothing and asks them to leave. No claim can come between: every exchange moves its worker's sequence, so a
-- sequence that is still the one of our snapshot says that nothing was claimed since, and from the lock on the row is closed.
-- A worker whose exchange is under way is passed over.
WITH busy AS MATERIALIZED (
    SELECT DISTINCT worker_id FROM halfstep.task WHERE state = 'running'
), idle AS MATERIALIZED (
    SELECT e.worker_id, e.sequence, w.started_at
    FROM halfstep.exchange e JOIN halfstep.worker w ON w.id = e.worker_id JOIN halfstep.lease l ON l.worker_id = e.worker_id
    WHERE NOT e.closed AND l.dead_at IS NULL AND w.state = 'running' AND w.drain_requested_at IS NULL
      AND w.placement = %(placement)s AND (%(hosts)s::text[] IS NULL OR w.host = ANY (%(hosts)s::text[]))
      AND e.worker_id NOT IN (SELECT worker_id FROM busy)
), locked AS (
    SELECT e.worker_id FROM idle i JOIN halfstep.exchange e ON e.worker_id = i.worker_id AND e.sequence = i.sequence AND NOT e.closed
    ORDER BY i.started_at DESC, i.worker_id LIMIT %(most)s FOR UPDATE OF e SKIP LOCKED
), closed AS (
    UPDATE halfstep.exchange SET closed = true WHERE worker_id = ANY (ARRAY(SELECT worker_id FROM locked)) RETURNING worker_id
)
UPDATE halfstep.worker w SET drain_requested_at = clock_timestamp() WHERE w.id = ANY (ARRAY(SELECT worker_id FROM closed))
RETURNING w.id::text AS id, w.name, w.host, w.placement, w.slots, 0 AS held, true AS leaving,
          extract(epoch FROM clock_timestamp() - w.started_at)::float8 AS age_seconds

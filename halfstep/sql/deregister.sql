-- A worker leaves with empty hands; if it still holds tasks its lease is marked dead instead, and they are rescued at once.
-- The rows in the order that everybody locks them: lease, exchange, worker.
WITH held AS (
    SELECT EXISTS (SELECT FROM halfstep.task t WHERE t.state = 'running' AND t.worker_id = %(worker)s::uuid) AS tasks
), left_behind AS (
    UPDATE halfstep.lease SET dead_at = clock_timestamp() WHERE worker_id = %(worker)s::uuid AND (SELECT tasks FROM held)
    RETURNING worker_id
), unleased AS (
    DELETE FROM halfstep.lease WHERE worker_id = %(worker)s::uuid AND NOT (SELECT tasks FROM held)
    RETURNING worker_id
), barred AS (
    DELETE FROM halfstep.exchange WHERE worker_id = %(worker)s::uuid
      AND (SELECT count(*) FROM left_behind) + (SELECT count(*) FROM unleased) >= 0
    RETURNING worker_id
)
UPDATE halfstep.worker SET state = 'stopped', ended_at = clock_timestamp()
WHERE id = %(worker)s::uuid AND state IN ('running', 'draining') AND (SELECT count(*) FROM barred) >= 0

-- The process of a worker was seen to end: how. Who tells it names a worker as nobody else is named.
-- Returns the lease that is still thought alive, to be marked dead while its counter is this one.
WITH told AS (
    UPDATE halfstep.worker SET exit_code = %(code)s
    WHERE name = %(name)s AND host = %(host)s AND exit_code IS NULL AND (ended_at IS NULL OR ended_at > clock_timestamp() - interval '1 hour')
    RETURNING id
)
SELECT l.worker_id::text AS worker, l.counter FROM told t JOIN halfstep.lease l ON l.worker_id = t.id AND l.dead_at IS NULL

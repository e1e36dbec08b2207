-- Somebody asks a worker to leave: from this commit on it claims nothing. It hears of it by a hint, else by its next renewal.
-- Waits for an exchange in flight to end. No row: no such worker lives.
WITH closed AS (
    UPDATE halfstep.exchange SET closed = true WHERE worker_id = %(worker)s::uuid RETURNING worker_id
), asked AS (
    UPDATE halfstep.worker w SET drain_requested_at = coalesce(w.drain_requested_at, clock_timestamp())
    FROM closed c WHERE w.id = c.worker_id AND w.state IN ('running', 'draining')
    RETURNING w.name
)
SELECT name, pg_notify('halfstep', 'drain') FROM asked

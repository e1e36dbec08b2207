-- A lease that has not moved since it was observed is dead: its worker claims nothing more. Waits for an exchange in flight to end.
WITH marked AS (
    UPDATE halfstep.lease SET dead_at = clock_timestamp()
    WHERE worker_id = %(worker)s::uuid AND counter = %(counter)s AND dead_at IS NULL
    RETURNING worker_id
), barred AS (
    DELETE FROM halfstep.exchange e USING marked m WHERE e.worker_id = m.worker_id  -- no sequence whatever is a turn of its again
    RETURNING e.worker_id
), told AS (
    UPDATE halfstep.worker w SET state = 'dead', ended_at = clock_timestamp() FROM marked m WHERE w.id = m.worker_id
    RETURNING w.name
)
SELECT name FROM told WHERE (SELECT count(*) FROM barred) >= 0

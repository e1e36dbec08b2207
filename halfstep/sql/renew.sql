-- A worker lives as long as its counter moves. No row: it was marked dead and must register afresh.
-- One that drains says so here, as its loop must not wait for a database that may be away.
WITH renewed AS (
    UPDATE halfstep.lease
    SET counter = counter + 1, renewed_at = clock_timestamp(), busy = %(busy)s, fenced = %(fenced)s,
        peak_bytes = greatest(peak_bytes, %(peak_bytes)s::bigint)
    WHERE worker_id = %(worker)s::uuid AND dead_at IS NULL
    RETURNING worker_id
), told AS (
    UPDATE halfstep.worker w SET state = 'draining' FROM renewed r WHERE w.id = r.worker_id AND %(draining)s AND w.state = 'running'
)
SELECT w.drain_requested_at IS NOT NULL AS drain_requested FROM renewed r JOIN halfstep.worker w ON w.id = r.worker_id

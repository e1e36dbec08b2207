-- A worker lives as long as its counter moves. No row: it was marked dead and must register afresh.
UPDATE halfstep.lease l
SET counter = counter + 1, renewed_at = clock_timestamp(), busy = %(busy)s, fenced = %(fenced)s
FROM halfstep.worker w
WHERE l.worker_id = %(worker)s::uuid AND l.dead_at IS NULL AND w.id = l.worker_id
RETURNING w.drain_requested_at IS NOT NULL AS drain_requested

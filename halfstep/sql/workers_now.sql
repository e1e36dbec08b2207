-- The workers that hold a lease, by placement and state, and how long ago the least recent renewal was.
SELECT w.placement, CASE WHEN l.dead_at IS NOT NULL THEN 'dead'
                         WHEN w.state = 'running' AND w.drain_requested_at IS NULL THEN 'running' ELSE 'draining' END AS state,
       count(*)::int AS number, sum(w.slots)::int AS slots,
       coalesce(max(extract(epoch FROM clock_timestamp() - l.renewed_at)) FILTER (WHERE l.dead_at IS NULL), 0)::float8 AS lag_seconds
FROM halfstep.lease l JOIN halfstep.worker w ON w.id = l.worker_id
GROUP BY 1, 2 ORDER BY 1, 2

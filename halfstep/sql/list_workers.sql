-- Workers, the living ones first.
SELECT w.id, w.name, CASE WHEN l.dead_at IS NOT NULL THEN 'dead'
                          WHEN w.state = 'running' AND w.drain_requested_at IS NOT NULL THEN 'draining' ELSE w.state END AS state,
       w.placement, w.queues, w.slots, l.busy, l.fenced,
       coalesce(h.number, 0)::int AS held,
       w.version, w.started_at, w.ended_at, w.exit_code, l.peak_bytes, greatest(0, extract(epoch FROM clock_timestamp() - l.renewed_at))::float8 AS renewed_seconds_ago
FROM halfstep.worker w LEFT JOIN halfstep.lease l ON l.worker_id = w.id
LEFT JOIN (SELECT worker_id, count(*) AS number FROM halfstep.task WHERE state = 'running' GROUP BY worker_id) h ON h.worker_id = w.id
WHERE w.ended_at IS NULL OR (%(everyone)s AND w.ended_at > clock_timestamp() - interval '1 day')
ORDER BY w.ended_at NULLS FIRST, w.started_at

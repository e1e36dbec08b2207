-- The workers that live, and how many tasks each holds: those that hold least first, of those the youngest.
SELECT w.id::text AS id, w.name, w.host, w.placement, w.slots, coalesce(h.number, 0)::int AS held,
       w.state <> 'running' OR w.drain_requested_at IS NOT NULL AS leaving,
       extract(epoch FROM clock_timestamp() - w.started_at)::float8 AS age_seconds
FROM halfstep.worker w JOIN halfstep.lease l ON l.worker_id = w.id AND l.dead_at IS NULL
LEFT JOIN (SELECT worker_id, count(*) AS number FROM halfstep.task WHERE state = 'running' GROUP BY worker_id) h ON h.worker_id = w.id
WHERE w.placement = %(placement)s AND (%(hosts)s::text[] IS NULL OR w.host = ANY (%(hosts)s::text[]))
ORDER BY held, w.started_at DESC, w.id

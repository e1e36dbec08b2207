-- How much work there is, counted no further than `cap`: never a scan of the backlog. Waiting work of a paused queue is left out.
-- Due scheduled tasks and the tasks of dead workers count as ready: they are about to be.
SELECT q.name AS queue, q.weight, q.paused_at IS NOT NULL AS paused,
    CASE WHEN q.paused_at IS NOT NULL THEN 0 ELSE
        (SELECT count(*) FROM (SELECT FROM halfstep.task t WHERE t.state = 'ready' AND NOT t.alone AND t.queue = q.name
            AND t.placement = %(placement)s AND t.cluster = %(cluster)s LIMIT %(cap)s) x) END::int AS ready,
    CASE WHEN q.paused_at IS NOT NULL THEN 0 ELSE
        (SELECT count(*) FROM (SELECT FROM halfstep.task t WHERE t.state = 'ready' AND t.alone AND t.queue = q.name
            AND t.placement = %(placement)s AND t.cluster = %(cluster)s LIMIT %(cap)s) x) END::int AS alone,
    CASE WHEN q.paused_at IS NOT NULL THEN 0 ELSE
        (SELECT count(*) FROM (SELECT FROM (SELECT queue, placement, cluster FROM halfstep.task t WHERE t.state = 'scheduled'
            AND t.run_at <= clock_timestamp() ORDER BY run_at LIMIT %(cap)s) d
            WHERE d.queue = q.name AND d.placement = %(placement)s AND d.cluster = %(cluster)s) x) END::int AS due,
    (SELECT count(*) FROM (SELECT FROM halfstep.task t WHERE t.state = 'running' AND t.queue = q.name
        AND t.placement = %(placement)s AND t.cluster = %(cluster)s
        AND NOT EXISTS (SELECT FROM halfstep.lease l WHERE l.worker_id = t.worker_id AND l.dead_at IS NOT NULL) LIMIT %(cap)s) x)::int AS running,
    (SELECT count(*) FROM (SELECT FROM halfstep.lease l JOIN halfstep.task t ON t.worker_id = l.worker_id AND t.state = 'running'
        AND t.queue = q.name AND t.placement = %(placement)s AND t.cluster = %(cluster)s
        WHERE l.dead_at IS NOT NULL LIMIT %(cap)s) x)::int AS orphaned
FROM halfstep.queue q
WHERE %(queues)s::text[] IS NULL OR q.name = ANY (%(queues)s::text[])
ORDER BY q.name

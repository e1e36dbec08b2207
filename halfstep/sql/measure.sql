-- How much work there is, counted no further than `cap`: never a scan of the backlog. Waiting work of a paused queue is left out.
-- (The orders are those of the indexes: a bitmap of the whole backlog would be made before the limit counts.)
-- Due scheduled tasks and the tasks of dead workers count as ready: they are about to be.
WITH due AS MATERIALIZED (
    SELECT queue, count(*) AS number
    FROM (SELECT queue, placement, cluster FROM halfstep.task WHERE state = 'scheduled' AND run_at <= (SELECT clock_timestamp())
          ORDER BY run_at LIMIT %(cap)s) d
    WHERE placement = %(placement)s AND cluster = %(cluster)s GROUP BY queue
), dead AS MATERIALIZED (
    SELECT worker_id FROM halfstep.lease WHERE dead_at IS NOT NULL
)
SELECT q.name AS queue, q.weight, q.paused_at IS NOT NULL AS paused,
    CASE WHEN q.paused_at IS NOT NULL THEN 0 ELSE
        (SELECT count(*) FROM (SELECT FROM halfstep.task t WHERE t.state = 'ready' AND NOT t.alone AND t.queue = q.name
            AND t.placement = %(placement)s AND t.cluster = %(cluster)s ORDER BY t.priority DESC, t.id LIMIT %(cap)s) x) END::int AS ready,
    CASE WHEN q.paused_at IS NOT NULL THEN 0 ELSE
        (SELECT count(*) FROM (SELECT FROM halfstep.task t WHERE t.state = 'ready' AND t.alone AND t.queue = q.name
            AND t.placement = %(placement)s AND t.cluster = %(cluster)s ORDER BY t.id LIMIT %(cap)s) x) END::int AS alone,
    CASE WHEN q.paused_at IS NOT NULL THEN 0 ELSE coalesce((SELECT number FROM due WHERE due.queue = q.name), 0) END::int AS due,
    (SELECT count(*) FROM (SELECT FROM halfstep.task t WHERE t.state = 'running' AND t.queue = q.name
        AND t.placement = %(placement)s AND t.cluster = %(cluster)s
        AND t.worker_id <> ALL (ARRAY(SELECT worker_id FROM dead)) ORDER BY t.worker_id LIMIT %(cap)s) x)::int AS running,
    (SELECT count(*) FROM (SELECT FROM halfstep.task t WHERE t.state = 'running' AND t.queue = q.name
        AND t.placement = %(placement)s AND t.cluster = %(cluster)s
        AND t.worker_id = ANY (ARRAY(SELECT worker_id FROM dead)) LIMIT %(cap)s) x)::int AS orphaned
FROM halfstep.queue q
WHERE %(queues)s::text[] IS NULL OR q.name = ANY (%(queues)s::text[])
ORDER BY q.name

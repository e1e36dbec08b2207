-- The queues and how much each holds, counted no further than `cap`; scheduled ones among the `cap` that are due next.
-- (The orders are those of the indexes: a bitmap of the whole backlog would be made before the limit counts.)
WITH scheduled AS MATERIALIZED (
    SELECT queue, count(*) AS number FROM (SELECT queue FROM halfstep.task WHERE state = 'scheduled' ORDER BY run_at LIMIT %(cap)s) s
    GROUP BY queue
)
SELECT q.name, q.weight, q.paused_at IS NOT NULL AS paused, q.operators, q.placements,
    (SELECT count(*) FROM (SELECT FROM halfstep.task t WHERE t.state = 'ready' AND NOT t.alone AND t.queue = q.name
                           ORDER BY t.placement, t.cluster, t.priority DESC, t.id LIMIT %(cap)s) x)::int
    + (SELECT count(*) FROM (SELECT FROM halfstep.task t WHERE t.state = 'ready' AND t.alone AND t.queue = q.name
                             ORDER BY t.placement, t.cluster, t.id LIMIT %(cap)s) x)::int AS ready,
    coalesce((SELECT s.number FROM scheduled s WHERE s.queue = q.name), 0)::int AS scheduled,
    (SELECT count(*) FROM (SELECT FROM halfstep.task t WHERE t.state = 'running' AND t.queue = q.name
                           ORDER BY t.placement, t.cluster, t.worker_id LIMIT %(cap)s) x)::int AS running
FROM halfstep.queue q ORDER BY q.name

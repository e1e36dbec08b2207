-- How much work each (queue, placement, cluster) has, counted no further than `cap`: never a scan of the backlog.
-- Which groups there are is found by leaps through the indexes; every queue has at least its group of workers. Raw counts: what waits
-- in a paused queue is counted, and who scales leaves it out. Due scheduled tasks and those of dead workers are about to be ready.
-- (The orders are those of the indexes: a bitmap of the whole backlog would be made before the limit counts.)
-- The oldest is looked for among the first few of each of 50 priorities: nothing older is likely behind them, as ids grow with time.
WITH RECURSIVE ready AS (
    (SELECT queue, placement, cluster FROM halfstep.task WHERE state = 'ready' AND NOT alone ORDER BY queue, placement, cluster LIMIT 1)
    UNION ALL
    SELECT n.queue, n.placement, n.cluster FROM ready g CROSS JOIN LATERAL (
        SELECT t.queue, t.placement, t.cluster FROM halfstep.task t
        WHERE t.state = 'ready' AND NOT t.alone AND (t.queue, t.placement, t.cluster) > (g.queue, g.placement, g.cluster)
        ORDER BY t.queue, t.placement, t.cluster LIMIT 1) n
), running AS (
    (SELECT queue, placement, cluster FROM halfstep.task WHERE state = 'running' ORDER BY queue, placement, cluster LIMIT 1)
    UNION ALL
    SELECT n.queue, n.placement, n.cluster FROM running g CROSS JOIN LATERAL (
        SELECT t.queue, t.placement, t.cluster FROM halfstep.task t
        WHERE t.state = 'running' AND (t.queue, t.placement, t.cluster) > (g.queue, g.placement, g.cluster)
        ORDER BY t.queue, t.placement, t.cluster LIMIT 1) n
), suspects AS MATERIALIZED (
    SELECT queue, placement, cluster, count(*) AS number, min(run_at) AS oldest
    FROM (SELECT queue, placement, cluster, run_at FROM halfstep.task WHERE state = 'ready' AND alone
          ORDER BY queue, placement, cluster LIMIT %(cap)s) a
    GROUP BY queue, placement, cluster
), due AS MATERIALIZED (
    SELECT queue, placement, cluster, count(*) AS number, min(run_at) AS oldest
    FROM (SELECT queue, placement, cluster, run_at FROM halfstep.task
          WHERE state = 'scheduled' AND run_at <= (SELECT clock_timestamp()) ORDER BY run_at LIMIT %(cap)s) d
    GROUP BY queue, placement, cluster
), dead AS MATERIALIZED (
    SELECT worker_id FROM halfstep.lease WHERE dead_at IS NOT NULL
), named AS (
    SELECT name AS queue, 'worker' AS placement, '' AS cluster FROM halfstep.queue
    UNION SELECT queue, placement, cluster FROM ready
    UNION SELECT queue, placement, cluster FROM running
    UNION SELECT queue, placement, cluster FROM suspects
    UNION SELECT queue, placement, cluster FROM due
), groups AS (  -- of clusters that nobody serves a few are enough to see that there are some
    SELECT n.*, CASE WHEN n.cluster = '' OR EXISTS (SELECT FROM halfstep.cluster c WHERE c.name = n.cluster AND c.queue = '')
                     THEN %(cap)s ELSE least(%(cap)s, 500) END AS most
    FROM named n
)
SELECT g.queue, g.placement, g.cluster, coalesce(q.weight, 1) AS weight, q.paused_at IS NOT NULL AS paused, r.number AS ready,
       coalesce(s.number, 0)::int AS alone, coalesce(d.number, 0)::int AS due, u.number AS running, o.number AS orphaned,
       greatest(0, extract(epoch FROM clock_timestamp() - least(w.oldest, s.oldest, d.oldest)))::float8 AS oldest_seconds
FROM groups g
LEFT JOIN halfstep.queue q ON q.name = g.queue
LEFT JOIN suspects s ON (s.queue, s.placement, s.cluster) = (g.queue, g.placement, g.cluster)
LEFT JOIN due d ON (d.queue, d.placement, d.cluster) = (g.queue, g.placement, g.cluster)
CROSS JOIN LATERAL (
    SELECT count(*)::int AS number FROM (
        SELECT FROM halfstep.task t WHERE t.state = 'ready' AND NOT t.alone
            AND t.queue = g.queue AND t.placement = g.placement AND t.cluster = g.cluster ORDER BY t.priority DESC, t.id LIMIT g.most) x
) r
CROSS JOIN LATERAL (
    SELECT count(*)::int AS number FROM (
        SELECT FROM halfstep.task t WHERE t.state = 'running' AND t.queue = g.queue AND t.placement = g.placement AND t.cluster = g.cluster
            AND t.worker_id <> ALL (ARRAY(SELECT worker_id FROM dead)) ORDER BY t.worker_id LIMIT %(cap)s) x
) u
CROSS JOIN LATERAL (
    SELECT count(*)::int AS number FROM (
        SELECT FROM halfstep.task t WHERE t.state = 'running' AND t.queue = g.queue AND t.placement = g.placement AND t.cluster = g.cluster
            AND t.worker_id = ANY (ARRAY(SELECT worker_id FROM dead)) LIMIT %(cap)s) x
) o
CROSS JOIN LATERAL (
    WITH RECURSIVE priorities AS (
        (SELECT t.priority FROM halfstep.task t WHERE t.state = 'ready' AND NOT t.alone
            AND t.queue = g.queue AND t.placement = g.placement AND t.cluster = g.cluster ORDER BY t.priority DESC LIMIT 1)
        UNION ALL
        SELECT n.priority FROM priorities p CROSS JOIN LATERAL (
            SELECT t.priority FROM halfstep.task t WHERE t.state = 'ready' AND NOT t.alone AND t.priority < p.priority
                AND t.queue = g.queue AND t.placement = g.placement AND t.cluster = g.cluster ORDER BY t.priority DESC LIMIT 1) n
    )
    SELECT min(f.run_at) AS oldest FROM (SELECT priority FROM priorities LIMIT 50) p CROSS JOIN LATERAL (
        SELECT t.run_at FROM halfstep.task t WHERE t.state = 'ready' AND NOT t.alone AND t.priority <= p.priority
            AND t.queue = g.queue AND t.placement = g.placement AND t.cluster = g.cluster ORDER BY t.priority DESC, t.id LIMIT 10) f
) w
ORDER BY g.queue, g.placement, g.cluster

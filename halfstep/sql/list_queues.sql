-- The queues and how much each holds, counted no further than `cap`.
SELECT q.name, q.weight, q.paused_at IS NOT NULL AS paused, q.operators,
    (SELECT count(*) FROM (SELECT FROM halfstep.task t WHERE t.state = 'ready' AND t.queue = q.name LIMIT %(cap)s) x)::int AS ready,
    (SELECT count(*) FROM (SELECT FROM halfstep.task t WHERE t.state = 'scheduled' AND t.queue = q.name LIMIT %(cap)s) x)::int AS scheduled,
    (SELECT count(*) FROM (SELECT FROM halfstep.task t WHERE t.state = 'running' AND t.queue = q.name LIMIT %(cap)s) x)::int AS running
FROM halfstep.queue q ORDER BY q.name

-- One task, wherever it is.
SELECT t.id, t.state, t.queue, t.operator, t.args, t.priority, t.placement, t.cluster, t.labels, t.unique_key, t.at_most_once, t.timeout,
       t.max_attempts, t.backoff_base, t.backoff_cap, t.enqueued_at, t.run_at, t.attempt, t.failures, t.deaths, t.lone_deaths, t.alone,
       t.started_at, NULL::timestamptz AS finished_at, NULL::jsonb AS result, NULL::text AS reason, NULL::text AS error,
       NULL::float8 AS seconds, t.progress, t.cancel_requested_at,
       CASE WHEN t.state = 'running' THEN coalesce(p.facts ->> 'waiting', 'running on ' || coalesce(w.name, t.worker_id::text))
            WHEN t.state = 'scheduled' THEN 'waits until ' || to_char(t.run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')
            WHEN q.paused_at IS NOT NULL THEN 'its queue is paused'
            WHEN NOT EXISTS (SELECT FROM halfstep.worker a JOIN halfstep.lease l ON l.worker_id = a.id AND l.dead_at IS NULL
                             WHERE a.state = 'running' AND a.placement = t.placement AND (a.queues IS NULL OR t.queue = ANY (a.queues)))
                THEN 'no worker serves its queue'
            WHEN t.alone THEN 'waits for a worker of its own'
            ELSE 'waits for a free slot' END AS why
FROM halfstep.task t LEFT JOIN halfstep.queue q ON q.name = t.queue LEFT JOIN halfstep.worker w ON w.id = t.worker_id
    LEFT JOIN halfstep.pod p ON p.attempt_id = t.attempt_id
WHERE t.id = %(id)s
UNION ALL
SELECT h.id, h.state, h.queue, h.operator, h.args, h.priority, h.placement, h.cluster, h.labels, h.unique_key, h.at_most_once, h.timeout,
       h.max_attempts, h.backoff_base, h.backoff_cap, h.enqueued_at, h.run_at, h.attempt,
       h.failures + (h.state = 'failed' AND h.reason IS DISTINCT FROM 'lost' AND h.reason IS DISTINCT FROM 'poison')::int, h.deaths, h.lone_deaths, h.alone,
       h.started_at, h.finished_at, h.result, h.reason, h.error, h.seconds, h.progress, h.cancel_requested_at, NULL
FROM halfstep.history h WHERE h.id = %(id)s

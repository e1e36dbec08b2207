-- One task, wherever it is.
SELECT t.id, t.state, t.queue, t.operator, t.args, t.priority, t.placement, t.cluster, t.labels, t.unique_key, t.at_most_once, t.timeout,
       t.max_attempts, t.backoff_base, t.backoff_cap, t.enqueued_at, t.run_at, t.attempt, t.failures, t.deaths, t.lone_deaths, t.alone,
       t.started_at, NULL::timestamptz AS finished_at, NULL::jsonb AS result, NULL::text AS reason, NULL::text AS error,
       NULL::float8 AS seconds, t.progress, t.cancel_requested_at,
       CASE WHEN t.state = 'running' THEN coalesce(CASE WHEN r.part IN ('list pods', 'watch pods') THEN r.sentence END, p.facts ->> 'waiting', r.sentence, 'running on ' || coalesce(w.name, t.worker_id::text))
            WHEN t.state = 'scheduled' AND t.run_at > clock_timestamp() THEN 'waits until ' || to_char(t.run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')
            WHEN q.paused_at IS NOT NULL THEN 'its queue is paused'
            WHEN s.workers = 0 AND s.scalers > 0 THEN 'no worker serves its queue yet; a scaler knows that one is wanted'
            WHEN s.workers = 0 AND t.run_at > clock_timestamp() - interval '60 s' THEN 'no worker serves its queue'
            WHEN s.workers = 0 AND t.placement = 'worker' AND t.cluster <> ''
                THEN format('no worker can serve it: it has the placement worker and names cluster ''%%s'', and clusters are for pod tasks; '
                            'cancel it and enqueue it without', t.cluster)
            WHEN s.workers = 0
                THEN format('no worker serves queue ''%%s'' with placement ''%%s'' on cluster ''%%s'', and no scaler knows a ScaledObject that does; '
                            'start one: halfstep worker --queues %%s%%s', t.queue, t.placement, coalesce(nullif(t.cluster, ''), 'default'), t.queue,
                            CASE WHEN t.placement = 'pod' THEN ' --placement pod' || coalesce(' --cluster ' || nullif(t.cluster, ''), '') END)
            WHEN r.sentence IS NOT NULL THEN r.sentence
            WHEN t.alone THEN 'waits for a worker of its own'
            ELSE 'waits for a free slot' END AS why
FROM halfstep.task t LEFT JOIN halfstep.queue q ON q.name = t.queue LEFT JOIN halfstep.worker w ON w.id = t.worker_id
    LEFT JOIN halfstep.pod p ON p.attempt_id = t.attempt_id
    CROSS JOIN LATERAL (  -- who would take it
        SELECT count(*) FILTER (WHERE kind = 'worker') AS workers, count(*) FILTER (WHERE kind = 'scaler') AS scalers
        FROM halfstep.serving a
        WHERE t.state <> 'running' AND t.placement = coalesce(a.placement, t.placement) AND t.cluster = coalesce(a.cluster, t.cluster)
          AND (a.queues IS NULL OR t.queue = ANY (a.queues))
    ) s
    LEFT JOIN LATERAL (  -- of the launcher that has it, or of one that might
        SELECT b.part, b.sentence FROM halfstep.trouble b JOIN halfstep.lease l ON l.worker_id = b.worker_id AND l.dead_at IS NULL
        WHERE t.placement = 'pod' AND b.cluster = t.cluster AND (t.state <> 'running' OR b.worker_id = t.worker_id)
          AND (p.namespace IS NULL OR b.namespace IN ('', p.namespace))
        ORDER BY b.since LIMIT 1
    ) r ON true
WHERE t.id = %(id)s
UNION ALL
SELECT h.id, h.state, h.queue, h.operator, h.args, h.priority, h.placement, h.cluster, h.labels, h.unique_key, h.at_most_once, h.timeout,
       h.max_attempts, h.backoff_base, h.backoff_cap, h.enqueued_at, h.run_at, h.attempt,
       h.failures + (h.state = 'failed' AND h.reason IS DISTINCT FROM 'lost' AND h.reason IS DISTINCT FROM 'poison')::int, h.deaths, h.lone_deaths, h.alone,
       h.started_at, h.finished_at, h.result, h.reason, h.error, h.seconds, h.progress, h.cancel_requested_at, NULL
FROM halfstep.history h WHERE h.id = %(id)s

-- Every attempt of a task: the earlier ones, and the last one as the task's own row tells it; and the pod of each that had one.
SELECT e.number, coalesce(w.name, e.worker_id::text) AS worker, e.started_at, e.ended_at, e.outcome, e.reason, e.error,
       CASE WHEN p.attempt_id IS NOT NULL
            THEN coalesce(p.facts, '{}') || jsonb_build_object('name', p.name, 'namespace', p.namespace, 'cluster', p.cluster) END AS pod
FROM (
    SELECT number, attempt_id, worker_id, started_at, ended_at, outcome, reason, error FROM halfstep.attempt WHERE task_id = %(id)s
    UNION ALL
    SELECT attempt, attempt_id, worker_id, started_at, NULL, 'running', NULL, NULL
    FROM halfstep.task WHERE id = %(id)s AND state = 'running'
    UNION ALL
    SELECT attempt, attempt_id, worker_id, started_at, finished_at, state, reason, error
    FROM halfstep.history WHERE id = %(id)s AND claim_token IS NOT NULL
) e LEFT JOIN halfstep.worker w ON w.id = e.worker_id LEFT JOIN halfstep.pod p ON p.attempt_id = e.attempt_id
ORDER BY e.number, e.started_at

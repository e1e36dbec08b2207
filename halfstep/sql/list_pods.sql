-- Pods of running attempts, and those of ended ones while they are remembered.
SELECT p.task_id, p.attempt, p.cluster, p.namespace, p.name, p.uid IS NOT NULL AS acknowledged, p.facts, p.intended_at, p.updated_at,
       round(greatest(0, extract(epoch FROM clock_timestamp() - p.intended_at)))::bigint AS age_seconds,
       coalesce(t.state = 'running' AND t.attempt_id = p.attempt_id, false) AS live, w.name AS launcher
FROM halfstep.pod p LEFT JOIN halfstep.task t ON t.id = p.task_id LEFT JOIN halfstep.worker w ON w.id = t.worker_id AND t.attempt_id = p.attempt_id
WHERE (%(task)s::bigint IS NULL OR p.task_id = %(task)s)
  AND (%(everyone)s OR coalesce(t.state = 'running' AND t.attempt_id = p.attempt_id, false))
ORDER BY p.task_id DESC, p.attempt DESC LIMIT %(limit)s

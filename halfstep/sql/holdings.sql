-- What this worker holds in SQL: the truth after a lost reply.
SELECT t.id, t.claim_token::text AS token, t.queue, t.operator, t.args::text AS args, t.attempt, t.failures, t.max_attempts, t.timeout,
       t.backoff_base, t.backoff_cap, t.at_most_once, t.alone, t.attempt_id::text AS attempt_id, p.namespace AS pod_namespace, p.uid AS pod_uid,
       p.keep_until > clock_timestamp() AS pod_kept
FROM halfstep.task t LEFT JOIN halfstep.pod p ON p.attempt_id = t.attempt_id
WHERE t.state = 'running' AND t.worker_id = %(worker)s::uuid ORDER BY t.id

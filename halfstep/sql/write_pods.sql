-- What is known of pods, from whoever holds the claim: first the intent, later the facts. An acknowledged uid is never forgotten.
INSERT INTO halfstep.pod AS p (attempt_id, task_id, attempt, cluster, namespace, name, uid, facts, keep_until)
SELECT attempt_id, task_id, attempt, cluster, namespace, name, uid, facts, clock_timestamp() + make_interval(secs => keep_seconds)
FROM json_to_recordset(%(pods)s::json) AS r (attempt_id uuid, task_id bigint, attempt int, cluster text, namespace text, name text, uid text,
                                           facts jsonb, keep_seconds float8, token uuid)
WHERE r.token IS NULL OR EXISTS (SELECT FROM halfstep.task t WHERE t.id = r.task_id AND t.claim_token = r.token)
ORDER BY attempt_id
ON CONFLICT (attempt_id) DO UPDATE
SET uid = coalesce(excluded.uid, p.uid), facts = coalesce(excluded.facts, p.facts), keep_until = coalesce(excluded.keep_until, p.keep_until),
    updated_at = clock_timestamp()
RETURNING attempt_id::text AS attempt_id

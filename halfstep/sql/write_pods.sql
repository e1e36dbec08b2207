-- What is known of pods, from whoever holds the claim: first the intent, later the facts. An acknowledged uid is never forgotten.
-- A launcher that is marked dead intends nothing more: a rescue that finds no intent is sure that there will be none. `mark_dead` deletes
-- the row that is locked here, so either it waits for this statement, or this one finds the launcher dead.
WITH given AS (
    SELECT * FROM json_to_recordset(%(pods)s::json) AS r (attempt_id uuid, task_id bigint, attempt int, cluster text, namespace text, name text,
                                                          uid text, facts jsonb, keep_seconds float8, token uuid)
), held AS MATERIALIZED (
    SELECT g.attempt_id, t.worker_id FROM given g JOIN halfstep.task t ON t.id = g.task_id AND t.claim_token = g.token
), living AS MATERIALIZED (
    SELECT worker_id FROM halfstep.exchange WHERE worker_id = ANY (ARRAY(SELECT worker_id FROM held)) FOR KEY SHARE
)
INSERT INTO halfstep.pod AS p (attempt_id, task_id, attempt, cluster, namespace, name, uid, facts, marked, keep_until)
SELECT attempt_id, task_id, attempt, cluster, namespace, name, uid, facts, true, clock_timestamp() + make_interval(secs => keep_seconds)
FROM given g
WHERE g.token IS NULL
   OR g.attempt_id IN (SELECT h.attempt_id FROM held h JOIN living USING (worker_id))
   OR g.attempt_id IN (SELECT h.attempt_id FROM held h JOIN halfstep.pod USING (attempt_id))
ORDER BY attempt_id
ON CONFLICT (attempt_id) DO UPDATE
SET uid = coalesce(excluded.uid, p.uid), facts = coalesce(excluded.facts, p.facts), keep_until = coalesce(excluded.keep_until, p.keep_until),
    updated_at = clock_timestamp()
RETURNING attempt_id::text AS attempt_id

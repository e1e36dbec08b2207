-- A finished task goes back to the hot table under its own id, with a fresh count of failures; its last attempt is told.
WITH gone AS (
    DELETE FROM halfstep.history WHERE id = %(id)s RETURNING *
), keyed AS (
    INSERT INTO halfstep.unique_key AS held (key, queue, task_id)
    SELECT unique_key, queue, id FROM gone WHERE unique_key IS NOT NULL
    ON CONFLICT (key, queue) DO UPDATE SET task_id = excluded.task_id,
        expires_at = CASE WHEN held.expires_at > clock_timestamp() THEN held.expires_at END  -- a period of its own runs on
        WHERE held.task_id = excluded.task_id OR held.expires_at <= clock_timestamp()
    RETURNING task_id
), back AS (
    INSERT INTO halfstep.task (id, queue, placement, cluster, state, priority, operator, args, labels, unique_key, at_most_once, timeout,
        max_attempts, backoff_base, backoff_cap, enqueued_at, run_at, attempt)
    SELECT id, queue, placement, cluster, 'ready', priority, operator, args, labels, unique_key, at_most_once, timeout,
        max_attempts, backoff_base, backoff_cap, enqueued_at, clock_timestamp(), attempt
    FROM gone WHERE unique_key IS NULL OR EXISTS (SELECT FROM keyed)
    RETURNING queue
), told AS (
    INSERT INTO halfstep.attempt (task_id, number, attempt_id, claim_token, worker_id, started_at, ended_at, outcome, reason, error)
    SELECT id, attempt, attempt_id, claim_token, worker_id, started_at, finished_at, state, reason, error
    FROM gone WHERE claim_token IS NOT NULL
), hint AS (
    SELECT pg_notify('halfstep', 'ready') WHERE EXISTS (SELECT FROM back) AND halfstep.awaited(ARRAY(SELECT queue FROM back))
)
SELECT g.id, g.unique_key, g.queue, EXISTS (SELECT FROM back) AS back, (SELECT count(*) FROM hint) AS hints FROM gone g

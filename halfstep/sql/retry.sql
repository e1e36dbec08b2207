-- The attempt failed and the task runs again after its back-off. A task whose cancel was requested ends cancelled instead.
WITH failed AS (
    SELECT e.* FROM json_to_recordset(%(attempts)s::json) AS e (id bigint, token uuid, delay float8, counts boolean, reason text, error text)
), held AS (
    SELECT t.*, f.delay, f.counts, f.reason, f.error FROM halfstep.task t JOIN failed f ON f.id = t.id
    WHERE t.id = ANY (ARRAY(SELECT id FROM failed)) AND t.claim_token = f.token
    ORDER BY t.id FOR UPDATE OF t
), again AS (
    UPDATE halfstep.task t
    SET state = CASE WHEN h.delay > 0 THEN 'scheduled' ELSE 'ready' END, run_at = clock_timestamp() + make_interval(secs => h.delay),
        failures = t.failures + h.counts::int, claim_token = NULL, attempt_id = NULL, worker_id = NULL, started_at = NULL
    FROM held h WHERE t.id = h.id AND h.cancel_requested_at IS NULL
    RETURNING t.id
), cancelled AS (
    DELETE FROM halfstep.task t USING held h WHERE t.id = h.id AND h.cancel_requested_at IS NOT NULL
    RETURNING h.*
), kept AS (
    INSERT INTO halfstep.history ({task_columns}, state, finished_at, reason, error)
    SELECT {task_columns}, 'cancelled', clock_timestamp(), 'cancelled', error
    FROM cancelled
), freed AS (
    DELETE FROM halfstep.unique_key k USING cancelled c WHERE k.key = c.unique_key AND k.task_id = c.id AND k.expires_at IS NULL
), told AS (
    INSERT INTO halfstep.attempt (task_id, number, attempt_id, claim_token, worker_id, started_at, ended_at, outcome, reason, error)
    SELECT id, attempt, attempt_id, claim_token, worker_id, started_at, clock_timestamp(), 'failed', reason, error
    FROM held WHERE cancel_requested_at IS NULL
)
SELECT ARRAY(SELECT f.id FROM failed f WHERE f.id NOT IN (SELECT h.id FROM held h)) AS refused

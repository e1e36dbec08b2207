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
), counted AS (
    SELECT worker_id, queue, placement, 'attempt' AS measure,
           CASE WHEN cancel_requested_at IS NULL THEN concat_ws(':', 'retry', reason) ELSE 'cancelled:cancelled' END AS label, 0::float8 AS seconds
    FROM held
    UNION ALL
    SELECT worker_id, queue, placement, 'run', halfstep.bucket(ran), ran
    FROM (SELECT *, greatest(0, extract(epoch FROM clock_timestamp() - started_at))::float8 AS ran FROM held) h
    UNION ALL
    SELECT h.worker_id, h.queue, h.placement, 'pod', p.facts ->> 'class', 0
    FROM held h JOIN halfstep.pod p ON p.attempt_id = h.attempt_id WHERE h.placement = 'pod' AND p.facts ->> 'class' IS NOT NULL
    UNION ALL
    SELECT '00000000-0000-0000-0000-000000000000', '', '', 'fenced', '', 0 FROM failed f WHERE f.id NOT IN (SELECT h.id FROM held h)
), tallied AS (
    INSERT INTO halfstep.tally AS y (worker_id, queue, placement, measure, label, count, sum)
    SELECT worker_id, queue, placement, measure, label, count(*), sum(seconds) FROM counted
    GROUP BY worker_id, queue, placement, measure, label ORDER BY worker_id, queue, placement, measure, label
    ON CONFLICT (worker_id, queue, placement, measure, label) DO UPDATE SET count = y.count + excluded.count, sum = y.sum + excluded.sum
)
SELECT ARRAY(SELECT f.id FROM failed f WHERE f.id NOT IN (SELECT h.id FROM held h)) AS refused

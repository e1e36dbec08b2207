-- A waiting task ends at once; a running one is told to stop, and its worker writes the end.
WITH held AS (
    SELECT * FROM halfstep.task WHERE id = %(id)s FOR UPDATE
), asked AS (
    UPDATE halfstep.task t SET cancel_requested_at = coalesce(t.cancel_requested_at, clock_timestamp())
    FROM held h WHERE t.id = h.id AND h.state = 'running'
    RETURNING t.id
), ended AS (
    DELETE FROM halfstep.task t USING held h WHERE t.id = h.id AND h.state <> 'running'
    RETURNING h.*
), kept AS (
    INSERT INTO halfstep.history ({task_columns}, state, finished_at, reason)
    SELECT {task_columns}, 'cancelled', clock_timestamp(), 'cancelled'
    FROM ended
), freed AS (
    DELETE FROM halfstep.unique_key k USING ended e WHERE k.key = e.unique_key AND k.task_id = e.id AND k.expires_at IS NULL
), counted AS (
    SELECT queue, placement, 'attempt' AS measure, 'cancelled:waiting' AS label, 0::float8 AS seconds FROM ended
), tallied AS (
    INSERT INTO halfstep.tally AS y (worker_id, queue, placement, measure, label, count, sum)
    SELECT '00000000-0000-0000-0000-000000000000', queue, placement, measure, label, count(*), sum(seconds) FROM counted
    GROUP BY queue, placement, measure, label ORDER BY queue, placement, measure, label
    ON CONFLICT (worker_id, queue, placement, measure, label) DO UPDATE SET count = y.count + excluded.count, sum = y.sum + excluded.sum
), hint AS (
    SELECT pg_notify('halfstep', 'cancel') FROM asked
)
SELECT (SELECT count(*) FROM ended)::int AS ended, (SELECT count(*) FROM asked)::int AS asked, (SELECT count(*) FROM hint) AS hints

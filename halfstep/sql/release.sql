-- Hands work back on purpose: what never started as if it had not been claimed, what was stopped as a released attempt.
-- Not the task's failure, and no attempt if it never started. At-most-once work that had started ends failed, and work whose cancel was requested ends cancelled.
WITH given AS (
    SELECT e.* FROM json_to_recordset(%(claims)s::json) AS e (id bigint, token uuid, started boolean, reason text)
), held AS (
    SELECT t.*, g.started, g.reason,
           CASE WHEN t.cancel_requested_at IS NOT NULL THEN 'cancelled' WHEN g.started AND t.at_most_once THEN 'failed' END AS final
    FROM halfstep.task t JOIN given g ON g.id = t.id
    WHERE t.id = ANY (ARRAY(SELECT id FROM given)) AND t.claim_token = g.token
    ORDER BY t.id FOR UPDATE OF t
), back AS (
    UPDATE halfstep.task t
    SET state = 'ready', attempt = t.attempt - (NOT h.started)::int, claim_token = NULL, attempt_id = NULL, worker_id = NULL, started_at = NULL,
        run_at = CASE WHEN h.started THEN clock_timestamp() ELSE t.run_at END
    FROM held h WHERE t.id = h.id AND h.final IS NULL
), ended AS (
    DELETE FROM halfstep.task t USING held h WHERE t.id = h.id AND h.final IS NOT NULL
    RETURNING h.*
), kept AS (
    INSERT INTO halfstep.history ({task_columns}, state, finished_at, reason, error)
    SELECT {task_columns}, final, clock_timestamp(), CASE final WHEN 'failed' THEN 'lost' ELSE 'cancelled' END,
        CASE final WHEN 'failed' THEN 'The worker stopped while this at-most-once task ran; it may have had its effect.' END
    FROM ended
), freed AS (
    DELETE FROM halfstep.unique_key k USING ended e WHERE k.key = e.unique_key AND k.task_id = e.id AND k.expires_at IS NULL
), told AS (
    INSERT INTO halfstep.attempt (task_id, number, attempt_id, claim_token, worker_id, started_at, ended_at, outcome, reason)
    SELECT id, attempt, attempt_id, claim_token, worker_id, started_at, clock_timestamp(), 'released', reason
    FROM held WHERE started AND final IS NULL
), counted AS (
    SELECT worker_id, queue, placement, 'attempt' AS measure,
           CASE final WHEN 'failed' THEN 'failed:lost' WHEN 'cancelled' THEN 'cancelled:cancelled' ELSE concat_ws(':', 'released', reason) END AS label,
           0::float8 AS seconds
    FROM held WHERE started OR final IS NOT NULL
    UNION ALL
    SELECT h.worker_id, h.queue, h.placement, 'pod', p.facts ->> 'class', 0
    FROM held h JOIN halfstep.pod p ON p.attempt_id = h.attempt_id WHERE h.placement = 'pod' AND p.facts ->> 'class' IS NOT NULL
    UNION ALL
    SELECT '00000000-0000-0000-0000-000000000000', '', '', 'fenced', '', 0 FROM given f WHERE f.id NOT IN (SELECT h.id FROM held h)
), tallied AS (
    INSERT INTO halfstep.tally AS y (worker_id, queue, placement, measure, label, count, sum)
    SELECT worker_id, queue, placement, measure, label, count(*), sum(seconds) FROM counted
    GROUP BY worker_id, queue, placement, measure, label ORDER BY worker_id, queue, placement, measure, label
    ON CONFLICT (worker_id, queue, placement, measure, label) DO UPDATE SET count = y.count + excluded.count, sum = y.sum + excluded.sum
), hint AS (
    SELECT pg_notify('halfstep', 'ready') WHERE EXISTS (SELECT FROM held WHERE final IS NULL) AND halfstep.awaited(ARRAY(SELECT queue FROM held WHERE final IS NULL))
)
SELECT ARRAY(SELECT g.id FROM given g WHERE g.id NOT IN (SELECT h.id FROM held h)) AS refused, (SELECT count(*) FROM hint) AS hints

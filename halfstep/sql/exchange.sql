-- Only the attempt that still holds the claim may finish the task; one commit finishes a batch and claims the next.
-- What ends and what is claimed is counted in the rows of this worker; a worker that was closed to claims claims nothing.
-- Nothing happens unless it is this exchange's turn: a commit that arrives after its sender gave it up finds the sequence moved on.
WITH turn AS (
    UPDATE halfstep.exchange SET sequence = sequence + 1, waiting = %(waiting)s
    WHERE worker_id = %(worker)s::uuid AND sequence = %(sequence)s
    RETURNING worker_id, closed
), ended AS (
    SELECT e.id, e.token, e.state, e.reason, e.result::jsonb AS result, e.error, e.seconds FROM turn, json_to_recordset(%(finished)s::json)
        AS e (id bigint, token uuid, state text, reason text, result text, error text, seconds float8)
), gone AS (
    DELETE FROM halfstep.task t USING ended e
    WHERE t.id = e.id AND t.claim_token = e.token  -- only a running task has a token; `state` would lure the planner to task_running
      AND t.id = ANY (ARRAY(SELECT id FROM ended))
    RETURNING t.*, e.state AS final, e.reason, e.result, e.error, e.seconds
), kept AS (
    INSERT INTO halfstep.history ({task_columns}, state, finished_at, reason, result, error, seconds)
    SELECT {task_columns}, final, clock_timestamp(), reason, result, error, seconds
    FROM gone
), freed AS (
    DELETE FROM halfstep.unique_key k USING gone g
    WHERE g.unique_key IS NOT NULL AND k.key = g.unique_key AND k.task_id = g.id AND k.expires_at IS NULL
), claimable AS (
    SELECT c.id FROM unnest(%(queues)s::text[]) WITH ORDINALITY AS q (name, place)
    CROSS JOIN LATERAL (
        SELECT t.id FROM halfstep.task t
        WHERE t.state = 'ready' AND t.alone = %(alone)s
          AND t.queue = q.name AND t.placement = %(placement)s AND t.cluster = %(cluster)s
          AND NOT EXISTS (SELECT FROM halfstep.queue p WHERE p.name = q.name AND p.paused_at IS NOT NULL)
          AND (SELECT worker_id FROM turn WHERE NOT closed) IS NOT NULL  -- asked first, whatever the plan: no row is locked out of turn
        ORDER BY t.priority DESC, t.id
        LIMIT %(want)s
        FOR UPDATE OF t SKIP LOCKED
    ) c
    LIMIT %(want)s
), claimed AS (
    UPDATE halfstep.task t
    SET state = 'running', claim_token = %(token)s::uuid, attempt_id = gen_random_uuid(), worker_id = %(worker)s::uuid,
        started_at = clock_timestamp(), attempt = t.attempt + 1, progress = NULL
    WHERE t.id = ANY (ARRAY(SELECT id FROM claimable))
    RETURNING t.*
), counted AS (
    SELECT queue, placement, 'attempt' AS measure, concat_ws(':', final, reason) AS label, 0::float8 AS seconds FROM gone
    UNION ALL
    SELECT queue, placement, 'run', halfstep.bucket(coalesce(seconds, 0)), coalesce(seconds, 0) FROM gone
    UNION ALL
    SELECT queue, placement, 'wait', halfstep.bucket(seconds), seconds
    FROM (SELECT queue, placement, greatest(0, extract(epoch FROM started_at - run_at))::float8 AS seconds FROM claimed) w
    UNION ALL
    SELECT g.queue, g.placement, 'pod', p.facts ->> 'class', 0
    FROM gone g JOIN halfstep.pod p ON p.attempt_id = g.attempt_id WHERE %(placement)s = 'pod' AND p.facts ->> 'class' IS NOT NULL
    UNION ALL
    SELECT '', '', 'fenced', '', 0 FROM ended e WHERE e.id NOT IN (SELECT g.id FROM gone g)
), tallied AS (
    INSERT INTO halfstep.tally AS y (worker_id, queue, placement, measure, label, count, sum)
    SELECT %(worker)s::uuid, queue, placement, measure, label, count(*), sum(seconds) FROM counted GROUP BY queue, placement, measure, label
    ON CONFLICT (worker_id, queue, placement, measure, label) DO UPDATE SET count = y.count + excluded.count, sum = y.sum + excluded.sum
)
SELECT NULL::bigint AS id, (SELECT count(*) FROM turn)::int AS turn,
       ARRAY(SELECT e.id FROM ended e WHERE e.id NOT IN (SELECT g.id FROM gone g)) AS refused,
       EXISTS (SELECT FROM halfstep.task t WHERE t.state = 'ready' AND t.alone AND t.queue = ANY (%(queues)s::text[])
               AND t.placement = %(placement)s AND t.cluster = %(cluster)s
               AND NOT EXISTS (SELECT FROM halfstep.queue p WHERE p.name = t.queue AND p.paused_at IS NOT NULL)) AS suspects,
       NULL AS queue, NULL AS operator, NULL AS args, NULL::int AS attempt, NULL::int AS failures, NULL::int AS max_attempts,
       NULL::float8 AS timeout, NULL::float8 AS backoff_base, NULL::float8 AS backoff_cap, NULL::boolean AS at_most_once, NULL::boolean AS alone,
       NULL AS attempt_id, NULL AS pod_namespace, NULL AS pod_uid, NULL::boolean AS pod_kept
UNION ALL
SELECT id, NULL, NULL, NULL, queue, operator, args::text, attempt, failures, max_attempts, timeout, backoff_base, backoff_cap, at_most_once, alone,
       attempt_id::text, NULL, NULL, NULL
FROM claimed

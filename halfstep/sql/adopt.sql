-- Takes over pod tasks of dead launchers, a batch at a time: a new token, the same attempt, and so the same pod.
WITH turn AS (
    UPDATE halfstep.exchange SET sequence = sequence + 1 WHERE worker_id = %(worker)s::uuid AND sequence = %(sequence)s RETURNING worker_id, closed
), orphaned AS (
    SELECT t.id FROM halfstep.task t
    WHERE t.state = 'running' AND t.placement = %(placement)s AND t.cluster = %(cluster)s AND t.queue = ANY (%(queues)s::text[])
      AND t.worker_id = ANY (ARRAY(SELECT worker_id FROM halfstep.lease WHERE dead_at IS NOT NULL))
      AND (SELECT worker_id FROM turn WHERE NOT closed) IS NOT NULL
    ORDER BY t.id LIMIT %(batch)s FOR UPDATE OF t SKIP LOCKED
), adopted AS (
    UPDATE halfstep.task t SET claim_token = %(token)s::uuid, worker_id = %(worker)s::uuid
    WHERE t.id = ANY (ARRAY(SELECT id FROM orphaned))
    RETURNING t.*
)
SELECT NULL::bigint AS id, (SELECT count(*) FROM turn)::int AS turn, NULL AS queue, NULL AS operator, NULL AS args, NULL::int AS attempt,
       NULL::int AS failures, NULL::int AS max_attempts, NULL::float8 AS timeout, NULL::float8 AS backoff_base, NULL::float8 AS backoff_cap,
       NULL::boolean AS at_most_once, NULL::boolean AS alone, NULL AS attempt_id, NULL AS pod_namespace, NULL AS pod_uid, NULL::boolean AS pod_kept
UNION ALL
SELECT a.id, NULL, a.queue, a.operator, a.args::text, a.attempt, a.failures, a.max_attempts, a.timeout, a.backoff_base, a.backoff_cap,
       a.at_most_once, a.alone, a.attempt_id::text, p.namespace, p.uid, p.keep_until > clock_timestamp()
FROM adopted a LEFT JOIN halfstep.pod p ON p.attempt_id = a.attempt_id

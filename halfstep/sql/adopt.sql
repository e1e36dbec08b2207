-- Takes over pod tasks of dead launchers, a batch at a time: a new token, the same attempt, and so the same pod.
-- What a launcher that died had intended, and got no answer for, is a suspect, as in `rescue` (which has those that were not intended yet).
-- From its second such death on it is taken alone, by a launcher that makes no other pod; the last allowed one stands in its facts: poison.
WITH turn AS (
    UPDATE halfstep.exchange SET sequence = sequence + 1 WHERE worker_id = %(worker)s::uuid AND sequence = %(sequence)s RETURNING worker_id, closed
), died AS (  -- and did not leave
    SELECT l.worker_id FROM halfstep.lease l JOIN halfstep.worker w ON w.id = l.worker_id WHERE l.dead_at IS NOT NULL AND w.state = 'dead'
), orphaned AS (
    SELECT t.id, t.worker_id, s.suspect, s.suspect AND t.deaths >= 1 AS lone
    FROM halfstep.task t LEFT JOIN halfstep.pod p ON p.attempt_id = t.attempt_id
    CROSS JOIN LATERAL (SELECT p.uid IS NULL AND p.facts IS NULL AND t.worker_id = ANY (ARRAY(SELECT worker_id FROM died)) AS suspect) s
    WHERE t.state = 'running' AND t.placement = %(placement)s AND t.cluster = %(cluster)s AND t.queue = ANY (%(queues)s::text[])
      AND t.worker_id = ANY (ARRAY(SELECT worker_id FROM halfstep.lease WHERE dead_at IS NOT NULL))
      AND NOT (s.suspect AND p.attempt_id IS NULL)
      AND (SELECT worker_id FROM turn WHERE NOT closed) IS NOT NULL
    ORDER BY lone, t.id LIMIT %(batch)s FOR UPDATE OF t SKIP LOCKED
), taken AS MATERIALIZED (
    SELECT * FROM orphaned WHERE NOT lone
    UNION ALL
    (SELECT * FROM orphaned WHERE lone AND %(free)s AND NOT EXISTS (SELECT FROM orphaned WHERE NOT lone) ORDER BY id LIMIT 1)
), adopted AS (
    UPDATE halfstep.task t
    SET claim_token = %(token)s::uuid, worker_id = %(worker)s::uuid, deaths = t.deaths + n.suspect::int,
        lone_deaths = t.lone_deaths + (n.suspect AND t.alone)::int, alone = t.alone OR n.lone
    FROM taken n
    WHERE t.id = n.id AND t.id = ANY (ARRAY(SELECT id FROM taken))
    RETURNING t.*, n.suspect, n.worker_id AS left_by
), found_out AS (
    UPDATE halfstep.pod p
    SET facts = jsonb_build_object('poison', format(
        '%%s launchers died while they made this task''s pod, %%s of them while they made no other: it probably kills them. %%s',
        a.deaths, a.lone_deaths, halfstep.death_words(a.left_by)))
    FROM adopted a WHERE p.attempt_id = a.attempt_id AND a.suspect AND a.lone_deaths >= %(lone_deaths)s
)
SELECT NULL::bigint AS id, (SELECT count(*) FROM turn)::int AS turn, NULL AS queue, NULL AS operator, NULL AS args, NULL::int AS attempt,
       NULL::int AS failures, NULL::int AS max_attempts, NULL::float8 AS timeout, NULL::float8 AS backoff_base, NULL::float8 AS backoff_cap,
       NULL::boolean AS at_most_once, NULL::boolean AS alone, NULL AS attempt_id, NULL AS pod_namespace, NULL AS pod_uid, NULL::boolean AS pod_kept
UNION ALL
SELECT a.id, NULL, a.queue, a.operator, a.args::text, a.attempt, a.failures, a.max_attempts, a.timeout, a.backoff_base, a.backoff_cap,
       a.at_most_once, a.alone, a.attempt_id::text, p.namespace, p.uid, p.keep_until > clock_timestamp()
FROM adopted a LEFT JOIN halfstep.pod p ON p.attempt_id = a.attempt_id

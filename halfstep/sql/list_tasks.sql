-- Tasks, newest first; live ones and those that have ended. A cluster is asked for by pod tasks only.
WITH live AS (
    SELECT id, state, queue, operator, priority, placement, cluster, attempt, enqueued_at, run_at, started_at, NULL::timestamptz AS finished_at,
           NULL::text AS reason, NULL::text AS error, labels
    FROM halfstep.task
    WHERE (%(states)s::text[] IS NULL OR state = ANY (%(states)s::text[])) AND (%(queue)s::text IS NULL OR queue = %(queue)s)
      AND (%(operator)s::text IS NULL OR operator = %(operator)s)
      AND (%(cluster)s::text IS NULL OR (cluster = %(cluster)s AND placement = 'pod'))
      AND (%(label_key)s::text IS NULL OR labels ->> %(label_key)s = %(label_value)s)
    ORDER BY id DESC LIMIT %(limit)s
), ended AS (
    SELECT id, state, queue, operator, priority, placement, cluster, attempt, enqueued_at, run_at, started_at, finished_at, reason, error, labels
    FROM halfstep.history
    WHERE (%(states)s::text[] IS NULL OR state = ANY (%(states)s::text[])) AND (%(queue)s::text IS NULL OR queue = %(queue)s)
      AND (%(operator)s::text IS NULL OR operator = %(operator)s)
      AND (%(cluster)s::text IS NULL OR (cluster = %(cluster)s AND placement = 'pod'))
      AND (%(label_key)s::text IS NULL OR labels ->> %(label_key)s = %(label_value)s)
    ORDER BY id DESC LIMIT %(limit)s
)
SELECT * FROM live UNION ALL SELECT * FROM ended ORDER BY id DESC LIMIT %(limit)s

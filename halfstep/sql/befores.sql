-- What a launcher needs of these tasks before it makes their pods, and no exchange carries: labels, and how often memory ran out.
-- Only labels that one line can tell: no objects, lists or nulls.
SELECT a.attempt_id::text AS attempt_id, l.labels, e.ooms, e."limit"
FROM unnest(%(ids)s::bigint[], %(attempts)s::int[], %(names)s::uuid[]) AS a (id, attempt, attempt_id)
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_object_agg(k.name, t.labels ->> k.name), '{}') AS labels
    FROM halfstep.task t CROSS JOIN unnest(%(labels)s::text[]) AS k (name)
    WHERE t.id = a.id AND jsonb_typeof(t.labels -> k.name) IN ('string', 'number', 'boolean')
) l CROSS JOIN LATERAL (
    SELECT count(*)::int AS ooms, (array_agg(p.facts #>> '{memory,limit}' ORDER BY x.number))[1] AS "limit"
    FROM halfstep.attempt x LEFT JOIN halfstep.pod p ON p.attempt_id = x.attempt_id
    WHERE x.task_id = a.id AND x.number < a.attempt AND x.reason = 'oom'
) e

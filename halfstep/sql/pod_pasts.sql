-- What earlier owners of these attempts left: how far each stream of their logs is written, and what they last knew of the pods, how long ago.
-- `since`: of each stream the second before that of its last line; a container's two outputs may be written slightly out of order.
WITH asked AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(attempts)s::int[], %(names)s::uuid[]) AS a (id, attempt, attempt_id)
), seconds AS (
    SELECT l.task_id, l.attempt, line ->> 1 AS stream, floor((line ->> 0)::float8)::bigint AS second, max((line ->> 0)::float8) AS last_at,
           count(*) AS lines
    FROM asked a JOIN halfstep.log l ON l.task_id = a.id AND l.attempt = a.attempt CROSS JOIN LATERAL jsonb_array_elements(l.lines) AS e (line)
    GROUP BY 1, 2, 3, 4
), streams AS (
    SELECT task_id, attempt, jsonb_object_agg(stream, jsonb_build_array(since, lines, last_at)) AS streams
    FROM (SELECT task_id, attempt, stream, newest - 1 AS since, sum(lines) FILTER (WHERE second >= newest - 1) AS lines, max(last_at) AS last_at
          FROM (SELECT s.*, max(second) OVER (PARTITION BY task_id, attempt, stream) AS newest FROM seconds s) n
          GROUP BY task_id, attempt, stream, newest) s
    GROUP BY task_id, attempt
), written AS (
    SELECT a.attempt_id, max(l.chunk) + 1 AS chunk, sum(octet_length(l.lines::text)) AS bytes
    FROM asked a JOIN halfstep.log l ON l.task_id = a.id AND l.attempt = a.attempt GROUP BY a.attempt_id
)
SELECT a.attempt_id::text AS attempt_id, coalesce(w.chunk, 0)::int AS chunk, coalesce(w.bytes, 0)::bigint AS bytes,
       coalesce(s.streams, '{}') AS streams, coalesce(p.facts, '{}') AS facts,
       coalesce(greatest(0, extract(epoch FROM clock_timestamp() - p.updated_at)), 0)::float8 AS age,
       p.attempt_id IS NULL OR p.marked IS TRUE AS marked
FROM asked a LEFT JOIN written w ON w.attempt_id = a.attempt_id LEFT JOIN streams s ON s.task_id = a.id AND s.attempt = a.attempt
    LEFT JOIN halfstep.pod p ON p.attempt_id = a.attempt_id

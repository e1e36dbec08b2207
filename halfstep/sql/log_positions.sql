-- How far the logs of these attempts have been written: for whoever goes on with them.
SELECT a.id, coalesce(max(l.chunk) + 1, 0)::int AS chunk, coalesce(sum(octet_length(l.lines::text)), 0)::bigint AS bytes,
       max((l.lines -> -1 ->> 0)::float8) AS last_at
FROM unnest(%(ids)s::bigint[], %(attempts)s::int[]) AS a (id, attempt)
LEFT JOIN halfstep.log l ON l.task_id = a.id AND l.attempt = a.attempt
GROUP BY a.id

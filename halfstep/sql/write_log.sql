-- Lines of running attempts, a chunk at a time; a chunk that is already there (its reply was lost) is passed over.
INSERT INTO halfstep.log (task_id, attempt, chunk, lines)
SELECT task_id, attempt, chunk, lines FROM json_to_recordset(%(chunks)s::json) AS c (task_id bigint, attempt int, chunk int, lines jsonb)
WHERE NOT EXISTS (SELECT FROM halfstep.log l WHERE l.task_id = c.task_id AND l.attempt = c.attempt AND l.chunk = c.chunk)

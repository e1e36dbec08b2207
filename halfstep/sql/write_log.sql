-- Lines of running attempts, a chunk at a time.
INSERT INTO halfstep.log (task_id, attempt, chunk, lines)
SELECT task_id, attempt, chunk, lines FROM json_to_recordset(%(chunks)s::json) AS c (task_id bigint, attempt int, chunk int, lines jsonb)

-- Lines of pods, a chunk at a time, from whoever holds the claim: a launcher that was frozen must not take the number of an adopter's chunk.
-- A chunk that is already there (its reply was lost) is passed over.
INSERT INTO halfstep.log (task_id, attempt, chunk, lines)
SELECT task_id, attempt, chunk, lines
FROM json_to_recordset(%(chunks)s::json) AS c (task_id bigint, attempt int, chunk int, token uuid, lines jsonb)
WHERE EXISTS (SELECT FROM halfstep.task t WHERE t.id = c.task_id AND t.claim_token = c.token)
  AND NOT EXISTS (SELECT FROM halfstep.log l WHERE l.task_id = c.task_id AND l.attempt = c.attempt AND l.chunk = c.chunk)

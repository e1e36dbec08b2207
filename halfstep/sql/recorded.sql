-- Which of these attempts have already been written as ended under their own token (the reply was lost, the commit was not).
SELECT a.id FROM unnest(%(ids)s::bigint[], %(tokens)s::uuid[]) AS a (id, token)
WHERE EXISTS (SELECT FROM halfstep.history h WHERE h.id = a.id AND h.claim_token = a.token)
   OR EXISTS (SELECT FROM halfstep.attempt t WHERE t.task_id = a.id AND t.claim_token = a.token)

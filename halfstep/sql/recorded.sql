-- Which of these attempts their own worker has already written as ended (the reply was lost, the commit was not).
-- What a rescue wrote about them is not that: their late results must meet the fence, and be counted.
SELECT a.id FROM unnest(%(ids)s::bigint[], %(tokens)s::uuid[]) AS a (id, token)
WHERE EXISTS (SELECT FROM halfstep.history h WHERE h.id = a.id AND h.claim_token = a.token
              AND h.reason IS DISTINCT FROM 'lost' AND h.reason IS DISTINCT FROM 'poison')
   OR EXISTS (SELECT FROM halfstep.attempt t WHERE t.task_id = a.id AND t.claim_token = a.token AND t.outcome <> 'lost')

-- The last progress of running attempts, by those who still hold the claim.
UPDATE halfstep.task t SET progress = r.progress::jsonb
FROM json_to_recordset(%(records)s::json) AS r (id bigint, token uuid, progress text)
WHERE t.id = r.id AND t.state = 'running' AND t.claim_token = r.token

-- Which of these attempts this database has never heard of: their pods are somebody else's.
SELECT given.attempt_id::text AS attempt_id FROM unnest(%(attempts)s::uuid[]) AS given (attempt_id)
WHERE NOT EXISTS (SELECT FROM halfstep.pod p WHERE p.attempt_id = given.attempt_id)

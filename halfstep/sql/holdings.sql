-- What this worker holds in SQL: the truth after a lost reply.
SELECT id, claim_token::text AS token, queue, operator, args::text AS args, attempt, failures, max_attempts, timeout, backoff_base, backoff_cap,
       at_most_once, alone
FROM halfstep.task WHERE state = 'running' AND worker_id = %(worker)s::uuid ORDER BY id

-- The worker says that it claims no more.
UPDATE halfstep.worker SET state = 'draining' WHERE id = %(worker)s::uuid AND state = 'running'

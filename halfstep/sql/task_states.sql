-- Where these tasks are.
SELECT id, state FROM halfstep.task WHERE id = ANY (%(ids)s::bigint[])
UNION ALL
SELECT id, state FROM halfstep.history WHERE id = ANY (%(ids)s::bigint[])

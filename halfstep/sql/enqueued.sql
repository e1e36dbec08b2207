-- The newest waiting or running task like this one, and what there is instead; for tests.
SELECT max(id) FILTER (WHERE wanted) AS found, coalesce(string_agg(format('%%s %%s %%s in %%s', id, operator, args, queue), '; ' ORDER BY id DESC), 'none') AS others
FROM (SELECT id, operator, args, queue, operator = %(operator)s AND args @> %(args)s::jsonb AND queue = coalesce(%(queue)s::text, queue) AS wanted
      FROM halfstep.task ORDER BY id DESC LIMIT 1000) t

-- Who holds a unique key.
SELECT task_id FROM halfstep.unique_key WHERE key = %(key)s

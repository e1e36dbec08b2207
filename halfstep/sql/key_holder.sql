-- Who holds a unique key of a queue.
SELECT task_id FROM halfstep.unique_key WHERE key = %(key)s AND queue = %(queue)s

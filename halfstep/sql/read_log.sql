-- The log of a task from a position on.
SELECT attempt, chunk, lines FROM halfstep.log
WHERE task_id = %(id)s AND (attempt, chunk) > (%(attempt)s, %(chunk)s)
ORDER BY attempt, chunk LIMIT 1000

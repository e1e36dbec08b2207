-- The state of a task that has ended.
SELECT state FROM halfstep.history WHERE id = %(id)s

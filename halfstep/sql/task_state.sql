-- The state of a live task.
SELECT state FROM halfstep.task WHERE id = %(id)s

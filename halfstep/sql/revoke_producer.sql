-- A role may enqueue nowhere.
DELETE FROM halfstep.producer WHERE role = %(role)s

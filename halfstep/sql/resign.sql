-- The holder gives its role up.
DELETE FROM halfstep.election WHERE role = %(role)s AND holder = %(holder)s::uuid

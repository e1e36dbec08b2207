-- Where a role may enqueue by what was granted to its name, or to groups that it is in. The name counts, whoever it was when it was granted.
SELECT DISTINCT p.queue
FROM halfstep.producer p LEFT JOIN pg_catalog.pg_roles me ON me.rolname = %(role)s LEFT JOIN pg_catalog.pg_roles r ON r.rolname = p.role
WHERE p.role = %(role)s OR pg_catalog.pg_has_role(me.oid, r.oid, 'MEMBER')
ORDER BY p.queue

-- What others than the owner and its members may do here beyond what a producer needs and the view that is made for scalers. '': everybody.
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
WITH here AS (
    SELECT oid, nspowner FROM pg_namespace WHERE nspname = 'halfstep'
), granted (object, revoke, grantee, privilege) AS (
    SELECT 'schema halfstep', 'SCHEMA halfstep', a.grantee, a.privilege_type
    FROM pg_namespace n JOIN here h USING (oid) CROSS JOIN LATERAL aclexplode(n.nspacl) a
    WHERE a.privilege_type = 'CREATE' OR a.grantee = 0
    UNION ALL
    SELECT 'halfstep.' || c.relname, CASE WHEN c.relkind = 'S' THEN 'SEQUENCE ' ELSE '' END || 'halfstep.' || quote_ident(c.relname), a.grantee, a.privilege_type
    FROM pg_class c JOIN here h ON h.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) a
    WHERE NOT (c.relname = 'demand' AND c.relkind = 'v' AND a.privilege_type = 'SELECT' AND a.grantee <> 0)
    UNION ALL
    SELECT 'halfstep.' || c.relname, 'halfstep.' || quote_ident(c.relname), a.grantee, a.privilege_type
    FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid JOIN here h ON h.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(t.attacl) a
    UNION ALL
    SELECT 'halfstep.' || p.proname, 'FUNCTION ' || p.oid::regprocedure, a.grantee, a.privilege_type
    FROM pg_proc p JOIN here h ON h.oid = p.pronamespace CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    WHERE p.proname NOT IN ('enqueue', 'enqueue_many') OR a.grantee = 0
)
SELECT g.object, g.revoke, coalesce(r.rolname::text, '') AS role, string_agg(DISTINCT g.privilege, ', ' ORDER BY g.privilege) AS privileges
FROM granted g CROSS JOIN here h LEFT JOIN pg_roles r ON r.oid = g.grantee
WHERE g.grantee <> h.nspowner AND (r.oid IS NULL OR NOT pg_has_role(r.oid, h.nspowner, 'MEMBER'))
GROUP BY g.object, g.revoke, r.rolname ORDER BY role, object

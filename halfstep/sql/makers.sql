-- Who else may make objects in the schema. '': everybody.
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
SELECT coalesce(r.rolname::text, '') AS role
FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE n.nspname = 'halfstep' AND a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner
  AND (r.oid IS NULL OR NOT pg_has_role(r.oid, n.nspowner, 'MEMBER'))
ORDER BY 1

-- Who owns the schema, and what this session is to them. Reads catalogs only: nothing of the schema is executed, whoever made it.
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
WITH here AS (
    SELECT n.oid, n.nspowner, d.datdba, r.rolname AS owner, r.rolsuper OR n.nspowner = d.datdba AS grand
    FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner JOIN pg_database d ON d.datname = current_database()
    WHERE n.nspname = 'halfstep'
), ours AS (  -- what is executed has the rights of both: a function may RESET ROLE, and SET ROLE to whatever the login may
    SELECT w.oid, w.rolname::text AS name, w.rolsuper FROM pg_roles w WHERE w.rolname IN (session_user, current_user)
)
SELECT h.owner, current_user::text AS role, h.owner = current_user AS mine, h.grand,
       pg_has_role(current_user, h.nspowner, 'USAGE') AS member,
       (SELECT min(o.name) FROM ours o WHERE o.rolsuper) AS superuser,
       (SELECT min(o.name) FROM ours o
        WHERE (o.rolsuper OR NOT (h.owner = current_user OR pg_has_role(o.oid, h.nspowner, 'USAGE')))
          AND (pg_has_role(o.oid, h.datdba, 'MEMBER')
               OR EXISTS (SELECT FROM pg_roles s WHERE s.rolsuper AND pg_has_role(o.oid, s.oid, 'MEMBER')))) AS mighty,
       b.relkind::text AS books, coalesce(b.relrowsecurity, false)
           OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = b.oid AND a.attnum > 0 AND NOT a.attisdropped
                      AND a.atttypid <> ALL ('{integer,text,timestamptz}'::regtype[])) AS strange
FROM here h LEFT JOIN pg_class b ON b.relnamespace = h.oid AND b.relname = 'migration'

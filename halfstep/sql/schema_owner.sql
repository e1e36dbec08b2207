-- Who owns the schema, and what this session is to them. Reads catalogs only: nothing of the schema is executed, whoever made it.
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
SELECT r.rolname AS owner, current_user::text AS role, r.rolname = current_user AS mine,
       pg_has_role(current_user, n.nspowner, 'USAGE') AS member,
       (SELECT s.rolsuper FROM pg_roles s WHERE s.rolname = session_user) AS superuser,
       pg_has_role(current_user, d.datdba, 'USAGE') AS chief, r.rolsuper OR n.nspowner = d.datdba AS trusted,
       b.relkind::text AS books, coalesce(b.relrowsecurity, false)
           OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = b.oid AND a.attnum > 0 AND NOT a.attisdropped
                      AND a.atttypid <> ALL ('{integer,text,timestamptz}'::regtype[])) AS strange
FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner JOIN pg_database d ON d.datname = current_database()
LEFT JOIN pg_class b ON b.relnamespace = n.oid AND b.relname = 'migration'
WHERE n.nspname = 'halfstep'

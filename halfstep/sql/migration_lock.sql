-- Who holds the lock of migrations in this database.
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
SELECT l.pid, a.usename::text AS role, a.application_name AS program, host(a.client_addr) AS address
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.pid <> pg_backend_pid() AND l.classid::bigint = 0 AND l.objid::bigint = %(lock)s AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY l.pid LIMIT 1

-- Partitions whose last day is past retention, and empty ones that an earlier prune could not drop.
SELECT c.relname AS name
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
JOIN pg_namespace n ON n.oid = p.relnamespace AND n.nspname = 'halfstep'
WHERE p.relname IN ('history', 'attempt', 'log') AND c.relname ~ '_\d{8}$'
  AND to_date(right(c.relname, 8), 'YYYYMMDD') < (clock_timestamp() AT TIME ZONE 'UTC')::date
      - (SELECT history_days FROM halfstep.installation)
ORDER BY c.relname

-- The days from today on that have no partition yet.
SELECT t.parent, t.column_name, d.day
FROM (VALUES ('history', 'finished_at'), ('attempt', 'ended_at'), ('log', 'written_at')) AS t (parent, column_name)
CROSS JOIN LATERAL (SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date + ahead AS day FROM generate_series(0, %(ahead)s) AS ahead) d
WHERE to_regclass(format('halfstep.%%I', t.parent || to_char(d.day, '_YYYYMMDD'))) IS NULL
ORDER BY t.parent, d.day

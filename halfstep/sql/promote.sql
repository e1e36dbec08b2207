-- Due tasks become ready, a batch at a time, by one promoter at a time.
WITH turn AS (
    SELECT pg_try_advisory_xact_lock(%(lock)s) AS mine
), due AS (
    SELECT id FROM halfstep.task
    WHERE state = 'scheduled' AND run_at <= (SELECT clock_timestamp()) AND (SELECT mine FROM turn)
    ORDER BY run_at, id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), promoted AS (
    UPDATE halfstep.task t SET state = 'ready' WHERE t.id = ANY (ARRAY(SELECT id FROM due)) RETURNING t.queue
), hint AS (
    SELECT pg_notify('halfstep', 'ready') WHERE EXISTS (SELECT FROM promoted) AND halfstep.awaited(ARRAY(SELECT queue FROM promoted))
)
SELECT (SELECT count(*) FROM promoted)::int AS promoted, (SELECT count(*) FROM hint) AS hints

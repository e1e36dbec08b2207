-- Due tasks become ready, a batch at a time, by one promoter at a time.
WITH turn AS MATERIALIZED (  -- asked for when something is due only: a lock writes
    SELECT FROM halfstep.turn
    WHERE name = 'promote'
      AND (SELECT run_at FROM halfstep.task WHERE state = 'scheduled' ORDER BY run_at LIMIT 1) <= (SELECT clock_timestamp())
    FOR NO KEY UPDATE SKIP LOCKED
), due AS (
    SELECT id FROM halfstep.task
    WHERE state = 'scheduled' AND run_at <= (SELECT clock_timestamp()) AND EXISTS (SELECT FROM turn)
    ORDER BY run_at, id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), promoted AS (
    UPDATE halfstep.task t SET state = 'ready' WHERE t.id = ANY (ARRAY(SELECT id FROM due)) RETURNING t.queue
), hint AS (
    SELECT pg_notify('halfstep', 'ready') WHERE EXISTS (SELECT FROM promoted) AND halfstep.awaited(ARRAY(SELECT queue FROM promoted))
)
SELECT (SELECT count(*) FROM promoted)::int AS promoted, (SELECT count(*) FROM hint) AS hints

-- Pausing is a property of the queue: claims leave it out, and no task is rewritten.
WITH named AS (
    UPDATE halfstep.queue SET paused_at = CASE WHEN %(paused)s THEN coalesce(paused_at, clock_timestamp()) END WHERE name = %(queue)s RETURNING name
), hint AS (
    SELECT pg_notify('halfstep', 'ready') FROM named WHERE NOT %(paused)s
)
SELECT name, (SELECT count(*) FROM hint) AS hints FROM named

-- A new id for a copy. What ran in pods when it was made runs in pods of the other one: here it waits again, or is cancelled if it may not
-- start twice. Nothing here remembers those pods, so nobody reads or deletes them.
WITH renewed AS (
    UPDATE halfstep.installation SET id = gen_random_uuid(), home = %(here)s RETURNING id
), running AS (
    SELECT id, worker_id, attempt_id, at_most_once FROM halfstep.task WHERE state = 'running' AND placement = 'pod'
), gone AS (
    UPDATE halfstep.worker SET state = 'dead', ended_at = coalesce(ended_at, clock_timestamp()) WHERE id = ANY (ARRAY(SELECT worker_id FROM running))
), ended AS (
    UPDATE halfstep.lease SET dead_at = coalesce(dead_at, clock_timestamp()) WHERE worker_id = ANY (ARRAY(SELECT worker_id FROM running))
), once AS (
    UPDATE halfstep.task SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
    WHERE id = ANY (ARRAY(SELECT id FROM running WHERE at_most_once))
), forgotten AS (
    DELETE FROM halfstep.pod WHERE attempt_id = ANY (ARRAY(SELECT attempt_id FROM running))
), free AS (
    UPDATE halfstep.pod SET keep_until = NULL
    WHERE keep_until IS NOT NULL AND attempt_id <> ALL (ARRAY(SELECT attempt_id FROM running WHERE attempt_id IS NOT NULL))
)
SELECT (SELECT id::text FROM renewed) AS id, (SELECT count(*) FROM running)::int AS running

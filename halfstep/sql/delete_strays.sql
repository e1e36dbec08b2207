-- Rows past retention that fell into a default partition, a batch of each; workers, expired keys and clusters that no task names likewise.
-- Strangers that no launcher has seen for a day: it would have said so.
WITH past AS (
    SELECT clock_timestamp() - make_interval(days => history_days) AS moment FROM halfstep.installation
), a AS (
    DELETE FROM halfstep.history_default WHERE ctid = ANY (ARRAY(SELECT d.ctid FROM halfstep.history_default d, past WHERE d.finished_at < past.moment LIMIT %(batch)s)) RETURNING 1
), b AS (
    DELETE FROM halfstep.attempt_default WHERE ctid = ANY (ARRAY(SELECT d.ctid FROM halfstep.attempt_default d, past WHERE d.ended_at < past.moment LIMIT %(batch)s)) RETURNING 1
), c AS (
    DELETE FROM halfstep.log_default WHERE ctid = ANY (ARRAY(SELECT d.ctid FROM halfstep.log_default d, past WHERE d.written_at < past.moment LIMIT %(batch)s)) RETURNING 1
), d AS (
    DELETE FROM halfstep.worker WHERE id = ANY (ARRAY(SELECT w.id FROM halfstep.worker w, past WHERE w.ended_at < past.moment LIMIT %(batch)s)) RETURNING 1
), e AS (
    DELETE FROM halfstep.unique_key WHERE ctid = ANY (ARRAY(SELECT k.ctid FROM halfstep.unique_key k WHERE k.expires_at < clock_timestamp() LIMIT %(batch)s
        FOR UPDATE SKIP LOCKED)) RETURNING 1
), f AS (
    DELETE FROM halfstep.pod WHERE attempt_id = ANY (ARRAY(SELECT p.attempt_id FROM halfstep.pod p, past WHERE p.updated_at < past.moment
        AND NOT EXISTS (SELECT FROM halfstep.task t WHERE t.id = p.task_id) LIMIT %(batch)s)) RETURNING 1
), g AS (
    DELETE FROM halfstep.cluster WHERE ctid = ANY (ARRAY(
        SELECT c.ctid FROM halfstep.cluster c WHERE c.place IS NOT NULL AND c.name <> ALL (ARRAY(
            SELECT DISTINCT t.cluster FROM halfstep.task t
            WHERE t.cluster <> '' AND EXISTS (SELECT FROM halfstep.cluster WHERE place IS NOT NULL)))
        FOR UPDATE SKIP LOCKED)) RETURNING 1
), h AS (
    DELETE FROM halfstep.stranger WHERE ctid = ANY (ARRAY(
        SELECT s.ctid FROM halfstep.stranger s WHERE s.seen_at < clock_timestamp() - interval '1 day' LIMIT %(batch)s FOR UPDATE SKIP LOCKED)) RETURNING 1
)
SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b) + (SELECT count(*) FROM c) + (SELECT count(*) FROM d) + (SELECT count(*) FROM e)
       + (SELECT count(*) FROM f) + (SELECT count(*) FROM g) + (SELECT count(*) FROM h) AS deleted

-- What keeps a launcher from getting on, as it is now. What is over goes, and what launchers left that hold no lease any more.
WITH given AS (
    SELECT e.* FROM json_to_recordset(%(troubles)s::json) AS e (cluster text, namespace text, part text, sentence text, seconds float8)
), over AS (
    DELETE FROM halfstep.trouble r
    WHERE r.worker_id = %(worker)s::uuid
      AND NOT EXISTS (SELECT FROM given g WHERE (g.cluster, g.namespace, g.part) = (r.cluster, r.namespace, r.part))
), left_behind AS (
    DELETE FROM halfstep.trouble r USING (
        SELECT b.worker_id, b.cluster, b.namespace, b.part FROM halfstep.trouble b
        WHERE b.worker_id <> %(worker)s::uuid
          AND NOT EXISTS (SELECT FROM halfstep.lease l WHERE l.worker_id = b.worker_id AND l.dead_at IS NULL)
        FOR UPDATE OF b SKIP LOCKED
    ) b
    WHERE (r.worker_id, r.cluster, r.namespace, r.part) = (b.worker_id, b.cluster, b.namespace, b.part)
)
INSERT INTO halfstep.trouble (worker_id, cluster, namespace, part, sentence, since)
SELECT %(worker)s::uuid, g.cluster, g.namespace, g.part, g.sentence, clock_timestamp() - make_interval(secs => g.seconds) FROM given g
WHERE EXISTS (SELECT FROM halfstep.lease l WHERE l.worker_id = %(worker)s::uuid AND l.dead_at IS NULL)
ON CONFLICT (worker_id, cluster, namespace, part) DO UPDATE SET sentence = excluded.sentence

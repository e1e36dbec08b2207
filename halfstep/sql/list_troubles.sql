-- What keeps launchers from getting on that live, the oldest first.
SELECT w.name AS launcher, r.cluster, r.namespace, r.part, r.sentence, r.since
FROM halfstep.trouble r JOIN halfstep.worker w ON w.id = r.worker_id
    JOIN halfstep.lease l ON l.worker_id = r.worker_id AND l.dead_at IS NULL
ORDER BY r.since, w.name, r.cluster, r.namespace, r.part

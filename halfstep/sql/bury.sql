-- A dead worker that holds nothing any more leaves; who it was stays readable in halfstep.worker.
WITH empty AS (
    SELECT l.worker_id FROM halfstep.lease l
    WHERE l.dead_at IS NOT NULL AND NOT EXISTS (SELECT FROM halfstep.task t WHERE t.state = 'running' AND t.worker_id = l.worker_id)
    ORDER BY l.worker_id FOR UPDATE SKIP LOCKED
), unleased AS (
    DELETE FROM halfstep.lease l USING empty e WHERE l.worker_id = e.worker_id
)
DELETE FROM halfstep.exchange x USING empty e WHERE x.worker_id = e.worker_id

-- A dead worker that holds nothing any more leaves; who it was stays readable in halfstep.worker. Its turn went when it was marked.
DELETE FROM halfstep.lease WHERE worker_id = ANY (ARRAY(
    SELECT l.worker_id FROM halfstep.lease l
    WHERE l.dead_at IS NOT NULL AND NOT EXISTS (SELECT FROM halfstep.task t WHERE t.state = 'running' AND t.worker_id = l.worker_id)
    ORDER BY l.worker_id FOR UPDATE SKIP LOCKED
))

-- Which of this worker's tasks somebody wants cancelled.
SELECT id FROM halfstep.task WHERE state = 'running' AND worker_id = %(worker)s::uuid AND cancel_requested_at IS NOT NULL

-- The queues there are.
SELECT name, weight FROM halfstep.queue

-- A role may enqueue to a queue.
INSERT INTO halfstep.producer (role, queue) VALUES (%(role)s, %(queue)s) ON CONFLICT DO NOTHING

-- Whether a task may name a queue that nobody made.
UPDATE halfstep.installation SET fixed_queues = %(fixed)s

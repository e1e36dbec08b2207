-- After a lost reply: moves the sequence on first, so that the lost exchange can do no harm if it arrives later.
UPDATE halfstep.exchange SET sequence = sequence + 1 WHERE worker_id = %(worker)s::uuid RETURNING sequence

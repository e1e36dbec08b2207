-- After a lost reply: moves the sequence on first, so that the lost exchange can do no harm if it arrives later.
-- The lease is locked before the turn, as `mark_dead` does: a worker that is marked gets no turn.
WITH living AS (
    SELECT worker_id FROM halfstep.lease WHERE worker_id = %(worker)s::uuid AND dead_at IS NULL FOR UPDATE
)
UPDATE halfstep.exchange e SET sequence = sequence + 1 FROM living l WHERE e.worker_id = l.worker_id RETURNING sequence

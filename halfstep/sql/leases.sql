-- What an observer looks at: the counters of the leases that are not marked dead, and whether dead workers still hold leases.
SELECT worker_id::text AS worker, counter, seconds, dead_at IS NOT NULL AS dead FROM halfstep.lease

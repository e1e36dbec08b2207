-- A worker begins: who it is, its lease, its turn. Claims need all three.
-- One that was asked to leave under the registration before, and was taken for dead since, is still to leave.
WITH asked AS (
    SELECT max(drain_requested_at) AS at FROM halfstep.worker WHERE id = %(follows)s::uuid
), worker AS (
    INSERT INTO halfstep.worker (id, name, host, pid, version, placement, cluster, queues, slots, drain_requested_at)
    SELECT %(worker)s::uuid, %(name)s, %(host)s, %(pid)s, %(version)s, %(placement)s, %(cluster)s, %(queues)s::text[], %(slots)s, at FROM asked
), served AS (  -- from now on tasks of every queue may name it
    INSERT INTO halfstep.cluster (name, queue) SELECT %(cluster)s, '' WHERE %(cluster)s <> '' ON CONFLICT DO NOTHING
), lease AS (
    INSERT INTO halfstep.lease (worker_id, seconds) VALUES (%(worker)s::uuid, %(lease_seconds)s)
)
INSERT INTO halfstep.exchange (worker_id, closed) SELECT %(worker)s::uuid, at IS NOT NULL FROM asked

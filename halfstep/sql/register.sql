-- A worker begins: who it is, its lease, its turn. Claims need all three.
WITH worker AS (
    INSERT INTO halfstep.worker (id, name, host, pid, version, placement, queues, slots)
    VALUES (%(worker)s::uuid, %(name)s, %(host)s, %(pid)s, %(version)s, %(placement)s, %(queues)s::text[], %(slots)s)
), lease AS (
    INSERT INTO halfstep.lease (worker_id, seconds) VALUES (%(worker)s::uuid, %(lease_seconds)s)
)
INSERT INTO halfstep.exchange (worker_id) VALUES (%(worker)s::uuid)

-- Who would take which tasks: workers that live, and scalers for whose ScaledObjects KEDA would start some. Null: all of them.
SELECT kind, placement, cluster, queues FROM halfstep.serving GROUP BY kind, placement, cluster, queues

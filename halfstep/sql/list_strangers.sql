-- Pods that carry our labels and are not ours, as launchers have seen them.
SELECT cluster, namespace, name, uid, why, first_seen, seen_at FROM halfstep.stranger
ORDER BY cluster, namespace, name, uid LIMIT %(limit)s

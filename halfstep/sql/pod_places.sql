-- The clusters and namespaces of all pods that are remembered.
SELECT DISTINCT cluster, namespace FROM halfstep.pod ORDER BY cluster, namespace

-- What a launcher sees in its namespaces takes the place of what was known of them; what is there still keeps its first time.
WITH given AS (
    SELECT * FROM json_to_recordset(%(strangers)s::json) AS r (namespace text, name text, uid text, why text)
), gone AS (
    DELETE FROM halfstep.stranger WHERE ctid = ANY (ARRAY(
        SELECT s.ctid FROM halfstep.stranger s
        WHERE s.cluster = %(cluster)s AND s.namespace = ANY (%(namespaces)s::text[])
          AND NOT EXISTS (SELECT FROM given g WHERE (g.namespace, g.name, g.uid) = (s.namespace, s.name, s.uid))
        FOR UPDATE SKIP LOCKED))
)
INSERT INTO halfstep.stranger AS s (cluster, namespace, name, uid, why)
SELECT %(cluster)s, namespace, name, uid, why FROM given ORDER BY namespace, name, uid
ON CONFLICT (cluster, namespace, name, uid) DO UPDATE SET why = excluded.why, seen_at = clock_timestamp()

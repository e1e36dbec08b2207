-- The ScaledObjects that scalers refuse now, and why.
SELECT DISTINCT r.namespace, r.name, r.sentence
FROM halfstep.scaler s
    CROSS JOIN LATERAL jsonb_path_query(s.refused, 'lax $[*] ? (@.type() == "object")') AS e (told)  -- what is no list of objects stumbles nobody
    CROSS JOIN LATERAL (SELECT e.told ->> 'namespace', e.told ->> 'name', e.told ->> 'sentence') AS r (namespace, name, sentence)
WHERE s.seen_at > clock_timestamp() - interval '60 seconds' ORDER BY r.namespace, r.name, r.sentence

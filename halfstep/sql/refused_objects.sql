-- The ScaledObjects that scalers refuse now, and why.
SELECT DISTINCT r.namespace, r.name, r.sentence
FROM halfstep.scaler s CROSS JOIN LATERAL jsonb_to_recordset(s.refused) AS r (namespace text, name text, sentence text)
WHERE s.seen_at > clock_timestamp() - interval '60 seconds' ORDER BY r.namespace, r.name, r.sentence

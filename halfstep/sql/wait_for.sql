-- A scaler says of which queues it wants to hear; it says so again and again, and those that do not any more are forgotten.
WITH gone AS (
    DELETE FROM halfstep.scaler WHERE seen_at < clock_timestamp() - interval '1 hour' AND id <> %(id)s::uuid
)
INSERT INTO halfstep.scaler AS s (id, name, waiting) VALUES (%(id)s::uuid, %(name)s, %(queues)s::text[])
ON CONFLICT (id) DO UPDATE SET name = excluded.name, waiting = excluded.waiting, seen_at = clock_timestamp()

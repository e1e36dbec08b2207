-- A scaler says of which queues it wants to hear, for what it would start workers, and whom it refuses; it says so again and again, and
-- those that do not any more are forgotten.
WITH gone AS (
    DELETE FROM halfstep.scaler WHERE seen_at < clock_timestamp() - interval '1 hour' AND id <> %(id)s::uuid
)
INSERT INTO halfstep.scaler AS s (id, name, waiting, targets, refused)
VALUES (%(id)s::uuid, %(name)s, %(queues)s::text[], %(targets)s::jsonb, %(refused)s::jsonb)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, waiting = excluded.waiting, targets = excluded.targets, refused = excluded.refused,
    seen_at = clock_timestamp()

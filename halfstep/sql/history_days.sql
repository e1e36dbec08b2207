-- Retention in days.
UPDATE halfstep.installation SET history_days = coalesce(%(days)s::int, history_days) RETURNING history_days

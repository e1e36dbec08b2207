-- oldest code: 3
-- The pods of pod tasks. Older code would rescue a dead launcher's tasks and run their pods again: it must not work here any more.

-- A row stands before its pod is asked for, so that whoever comes later knows where to look.
CREATE TABLE halfstep.pod (
    attempt_id  uuid PRIMARY KEY,
    task_id     bigint NOT NULL,
    attempt     integer NOT NULL,
    cluster     text NOT NULL,
    namespace   text NOT NULL,
    name        text NOT NULL,
    uid         text,                               -- null: the API server has not acknowledged it
    facts       jsonb,                              -- node, phase, times, exit code, why it waits; for people
    keep_until  timestamptz,                        -- a create of an earlier owner may still arrive: the name stays taken until then
    intended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX pod_task ON halfstep.pod (task_id);
CREATE INDEX pod_updated ON halfstep.pod (updated_at);

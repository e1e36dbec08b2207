-- oldest code: 1
-- The queue: live tasks in one narrow hot table, everything that has ended in history, partitioned by day.

CREATE TABLE halfstep.installation (
    singleton     boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id            uuid NOT NULL DEFAULT gen_random_uuid(),
    fixed_queues  boolean NOT NULL DEFAULT false,   -- true: a task for a queue that has no row is refused
    args_bytes    integer NOT NULL DEFAULT 262144,
    history_days  integer NOT NULL DEFAULT 14 CHECK (history_days >= 1)
);
INSERT INTO halfstep.installation DEFAULT VALUES;

CREATE TABLE halfstep.queue (
    name       text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$'),
    weight     integer NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 1000),
    paused_at  timestamptz,
    operators  text[],                              -- null: any operator
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO halfstep.queue (name) VALUES ('default');

CREATE TABLE halfstep.producer (
    role  name NOT NULL,
    queue text NOT NULL,
    PRIMARY KEY (role, queue)
);

-- A worker is three rows: who it is, its lease (written by its heartbeat only), its turn in the exchange.
CREATE TABLE halfstep.worker (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    host       text NOT NULL,
    pid        integer NOT NULL,
    version    text NOT NULL,
    placement  text NOT NULL,
    queues     text[],                              -- null: every queue
    slots      integer NOT NULL,
    state      text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'draining', 'stopped', 'dead')),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz,
    drain_requested_at timestamptz
);
CREATE TABLE halfstep.lease (
    worker_id  uuid PRIMARY KEY,
    counter    bigint NOT NULL DEFAULT 0,
    seconds    double precision NOT NULL CHECK (seconds > 0),
    renewed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    dead_at    timestamptz,
    busy       integer NOT NULL DEFAULT 0,
    fenced     bigint NOT NULL DEFAULT 0            -- late writes that the fence refused, as this worker counted them
) WITH (fillfactor = 50);
CREATE TABLE halfstep.exchange (
    worker_id uuid PRIMARY KEY,
    sequence  bigint NOT NULL DEFAULT 0,
    waiting   boolean NOT NULL DEFAULT false        -- enqueue notifies only while somebody waits
) WITH (fillfactor = 50);

CREATE SEQUENCE halfstep.task_id AS bigint CACHE 1;

CREATE TABLE halfstep.task (
    id            bigint PRIMARY KEY,
    queue         text NOT NULL,
    placement     text NOT NULL,
    cluster       text NOT NULL,
    state         text NOT NULL CHECK (state IN ('scheduled', 'ready', 'running')),
    priority      integer NOT NULL,
    operator      text NOT NULL,
    args          jsonb NOT NULL,
    labels        jsonb,
    unique_key    text,
    at_most_once  boolean NOT NULL,
    timeout       double precision,                 -- seconds
    max_attempts  integer NOT NULL,                 -- for failures of the body; worker deaths and releases don't count
    backoff_base  double precision NOT NULL,        -- seconds
    backoff_cap   double precision NOT NULL,        -- seconds
    enqueued_at   timestamptz NOT NULL,
    run_at        timestamptz NOT NULL,             -- when it is or was due
    -- what has happened to it
    attempt       integer NOT NULL DEFAULT 0,
    failures      integer NOT NULL DEFAULT 0,
    deaths        integer NOT NULL DEFAULT 0,       -- workers that died while they held it
    lone_deaths   integer NOT NULL DEFAULT 0,       -- those that held nothing else
    alone         boolean NOT NULL DEFAULT false,   -- to be claimed by a worker that holds nothing else
    -- the running attempt
    claim_token   uuid,
    attempt_id    uuid,
    worker_id     uuid,
    started_at    timestamptz,
    cancel_requested_at timestamptz,
    progress      jsonb,
    CHECK ((state = 'running') = (claim_token IS NOT NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0.05);

-- Equality columns first, then the order: a claim is a pure range scan whatever else the table holds.
CREATE INDEX task_claim ON halfstep.task (queue, placement, cluster, priority DESC, id) WHERE state = 'ready' AND NOT alone;
CREATE INDEX task_alone ON halfstep.task (queue, placement, cluster, id) WHERE state = 'ready' AND alone;
CREATE INDEX task_due ON halfstep.task (run_at, id) WHERE state = 'scheduled';
CREATE INDEX task_running ON halfstep.task (queue, placement, cluster, worker_id) WHERE state = 'running';

CREATE TABLE halfstep.unique_key (
    key        text PRIMARY KEY,
    task_id    bigint NOT NULL,
    expires_at timestamptz                          -- null: while the task lives
);

CREATE TABLE halfstep.history (
    LIKE halfstep.task,
    finished_at timestamptz NOT NULL,
    reason      text,
    result      jsonb,
    error       text,
    seconds     double precision                    -- how long the last body ran, by its worker's monotonic clock
) PARTITION BY RANGE (finished_at);
ALTER TABLE halfstep.history ADD PRIMARY KEY (id, finished_at);
CREATE INDEX history_failed ON halfstep.history (id) WHERE state = 'failed';

-- The last attempt of a task is told by the task's own row; earlier ones stand here.
CREATE TABLE halfstep.attempt (
    task_id     bigint NOT NULL,
    number      integer NOT NULL,
    attempt_id  uuid,
    claim_token uuid,
    worker_id   uuid,
    started_at  timestamptz,
    ended_at    timestamptz NOT NULL,
    outcome     text NOT NULL CHECK (outcome IN ('succeeded', 'failed', 'cancelled', 'lost', 'released')),
    reason      text,
    error       text
) PARTITION BY RANGE (ended_at);
CREATE INDEX attempt_task ON halfstep.attempt (task_id, number);

CREATE TABLE halfstep.log (
    task_id    bigint NOT NULL,
    attempt    integer NOT NULL,
    chunk      integer NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lines      jsonb NOT NULL                       -- [[seconds since 1970, stream, text], ...]
) PARTITION BY RANGE (written_at);
CREATE INDEX log_task ON halfstep.log (task_id, attempt, chunk);

-- A finish can never fail for want of a partition.
CREATE TABLE halfstep.history_default PARTITION OF halfstep.history DEFAULT;
CREATE TABLE halfstep.attempt_default PARTITION OF halfstep.attempt DEFAULT;
CREATE TABLE halfstep.log_default PARTITION OF halfstep.log DEFAULT;

-- Makes the partition of one day of one table, if it is missing and the default partition holds no row of that day.
-- Built apart and attached, so that it waits for no reader and no finish waits for it longer than lock_timeout.
CREATE FUNCTION halfstep.add_partition(parent text, column_name text, day date) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    child text := parent || to_char(day, '_YYYYMMDD');
    strays boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('halfstep.add_partition'));  -- several may prune at once
    IF to_regclass('halfstep.' || quote_ident(child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM halfstep.%I WHERE %I >= %L AND %I < %L)', parent || '_default',
                   column_name, day::timestamp AT TIME ZONE 'UTC', column_name, (day + 1)::timestamp AT TIME ZONE 'UTC') INTO strays;
    IF strays THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE halfstep.%I (LIKE halfstep.%I INCLUDING ALL)', child, parent);
    EXECUTE format('ALTER TABLE halfstep.%I ATTACH PARTITION halfstep.%I FOR VALUES FROM (%L) TO (%L)', parent, child,
                   day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
    RETURN true;
END $$;

SELECT halfstep.add_partition(t.parent, t.column_name, ((now() AT TIME ZONE 'UTC')::date + ahead))
FROM (VALUES ('history', 'finished_at'), ('attempt', 'ended_at'), ('log', 'written_at')) AS t (parent, column_name),
     generate_series(0, 7) AS ahead;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA halfstep FROM PUBLIC;

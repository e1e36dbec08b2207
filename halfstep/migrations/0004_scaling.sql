-- oldest code: 3
-- Scaling and metrics: what has ended and how long it took, who scales, who shows the figures, and demand for whoever asks by SQL.
-- Code of schema 3 works on, and does not count what it ends.

-- Counted by the statement that makes an end, in the row of the worker that made it: no two workers ever write the same row.
-- Ends that no worker made, and the rows of workers that are gone, stand under the nil id.
--   measure   label                                                 sum
--   attempt   succeeded, failed:REASON, retry:REASON, lost:REASON,  0
--             released:REASON, cancelled:REASON
--   wait      a bucket: from due to claimed, one for each claim     seconds
--   run       a bucket: an attempt that ended by itself             seconds
--   pod       the class of the verdict                              0
--   fenced    '': late writes that were refused; queue ''           0
CREATE TABLE halfstep.tally (
    worker_id uuid NOT NULL,
    queue     text NOT NULL,
    placement text NOT NULL,
    measure   text NOT NULL,
    label     text NOT NULL,
    count     bigint NOT NULL,
    sum       double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (worker_id, queue, placement, measure, label)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- The upper limit, in seconds, of the bucket that a duration falls into. The same list stands in halfstep/metrics/names.py.
-- (Turned round, so that a duration that equals a limit falls below it, as Prometheus has it.)
CREATE FUNCTION halfstep.bucket(seconds double precision) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT ('{+Inf,28800,7200,1800,300,60,30,10,5,2.5,1,0.5,0.25,0.1,0.05,0.025,0.01}'::text[])
        [1 + width_bucket(-seconds, '{-28800,-7200,-1800,-300,-60,-30,-10,-5,-2.5,-1,-0.5,-0.25,-0.1,-0.05,-0.025,-0.01}'::double precision[])]
$$;

-- A scaler says which queues it wants to hear of: those of targets that have nothing to do. Forgotten when it is not said again.
CREATE TABLE halfstep.scaler (
    id      uuid PRIMARY KEY,
    name    text NOT NULL,
    waiting text[] NOT NULL,                        -- names of queues; '*': every queue
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- Who does what only one may do. The holder itself goes by its own monotonic clock.
CREATE TABLE halfstep.election (
    role       text PRIMARY KEY,
    holder     uuid NOT NULL,
    name       text NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- An idle worker that is to leave claims nothing more from the very statement on that saw it idle.
ALTER TABLE halfstep.exchange ADD COLUMN closed boolean NOT NULL DEFAULT false;

-- Does anybody wait to hear of these queues: an idle worker, or a scaler?
CREATE FUNCTION halfstep.awaited(queues text[]) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM halfstep.exchange WHERE waiting)
        OR EXISTS (SELECT FROM halfstep.scaler s
                   WHERE s.seen_at > clock_timestamp() - interval '60 seconds' AND ('*' = ANY (s.waiting) OR s.waiting && queues));
END $$;

-- Enqueues an array of tasks in the caller's transaction; returns their ids in order. All or none.
-- A task whose unique key is held gets the id of the holder, and no second task is made.
-- The array is read once: what is wrong is told after the rest was written, and the error takes that back.
CREATE OR REPLACE FUNCTION halfstep.enqueue_many(tasks jsonb) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    most_bytes int := (SELECT args_bytes FROM halfstep.installation);
    done record;
BEGIN
    WITH given AS MATERIALIZED (
        SELECT t.*, nextval('halfstep.task_id') AS id,
               halfstep.objection(t.operator, t.args, t.placement, t.timeout, t.max_attempts, t.backoff_base, t.backoff_cap, t.labels,
                                  t.unique_key, t.unique_for, t.run_at, most_bytes) AS objection
        FROM ROWS FROM (jsonb_to_recordset(tasks) AS (queue text, placement text, cluster text, priority int, operator text, args jsonb,
                   labels jsonb, unique_key text, unique_for interval, at_most_once boolean, timeout float8, max_attempts int,
                   backoff_base float8, backoff_cap float8, run_at timestamptz)) WITH ORDINALITY
             AS t (queue, placement, cluster, priority, operator, args, labels, unique_key, unique_for, at_most_once, timeout, max_attempts,
                   backoff_base, backoff_cap, run_at, n)
    ), keyed AS MATERIALIZED (  -- in the keys' order, so that two callers never wait for each other
        SELECT k.n, halfstep.take_key(k.unique_key, k.id, k.unique_for) AS holder
        FROM (SELECT * FROM given WHERE unique_key IS NOT NULL AND objection IS NULL ORDER BY unique_key, n) k
    ), added AS (
        INSERT INTO halfstep.task (id, queue, placement, cluster, state, priority, operator, args, labels, unique_key, at_most_once, timeout,
                                   max_attempts, backoff_base, backoff_cap, enqueued_at, run_at)
        SELECT g.id, coalesce(g.queue, 'default'), coalesce(g.placement, 'worker'), coalesce(g.cluster, ''),
               CASE WHEN g.run_at > moment THEN 'scheduled' ELSE 'ready' END, coalesce(g.priority, 0), g.operator, g.args, g.labels,
               g.unique_key, coalesce(g.at_most_once, false), g.timeout, coalesce(g.max_attempts, 3), coalesce(g.backoff_base, least(1, g.backoff_cap)),
               coalesce(g.backoff_cap, greatest(300, g.backoff_base)), moment, coalesce(g.run_at, moment)
        FROM given g
        WHERE g.objection IS NULL AND (g.unique_key IS NULL OR g.n IN (SELECT k.n FROM keyed k WHERE k.holder = g.id))
    )
    SELECT (SELECT array_agg(coalesce(k.holder, g.id) ORDER BY g.n) FROM given g LEFT JOIN keyed k USING (n)) AS ids,
           (SELECT CASE WHEN jsonb_array_length(tasks) = 1 THEN g.objection
                        ELSE format('Task %s of %s: %s', g.n, jsonb_array_length(tasks), g.objection) END
            FROM given g WHERE g.objection IS NOT NULL ORDER BY g.n LIMIT 1) AS objection,
           (SELECT jsonb_agg(r) FROM (SELECT DISTINCT coalesce(queue, 'default') AS queue, operator FROM given) r) AS routes
    INTO done;
    IF done.objection IS NOT NULL THEN
        PERFORM halfstep.refuse(done.objection);
    END IF;
    PERFORM halfstep.check_queues(done.routes);
    IF halfstep.awaited(ARRAY(SELECT r ->> 'queue' FROM jsonb_array_elements(done.routes) AS r)) THEN
        PERFORM pg_notify('halfstep', 'ready');
    END IF;
    RETURN done.ids;
END $$;

-- What there is to do, for whoever asks by plain SQL (KEDA's postgresql trigger). Counted no further than 10,000 a group and kind:
-- never a scan of the backlog. The same as sql/backlogs.sql, which says more.
CREATE VIEW halfstep.demand AS
SELECT b.queue, b.placement, b.cluster, b.paused, b.ready, b.alone, b.due, b.running, b.orphaned,
       b.orphaned + CASE WHEN b.paused THEN 0 ELSE b.ready + b.alone + b.due END AS waiting, b.oldest_seconds
FROM (
    WITH RECURSIVE ready AS (
        (SELECT queue, placement, cluster FROM halfstep.task WHERE state = 'ready' AND NOT alone ORDER BY queue, placement, cluster LIMIT 1)
        UNION ALL
        SELECT n.queue, n.placement, n.cluster FROM ready g CROSS JOIN LATERAL (
            SELECT t.queue, t.placement, t.cluster FROM halfstep.task t
            WHERE t.state = 'ready' AND NOT t.alone AND (t.queue, t.placement, t.cluster) > (g.queue, g.placement, g.cluster)
            ORDER BY t.queue, t.placement, t.cluster LIMIT 1) n
    ), running AS (
        (SELECT queue, placement, cluster FROM halfstep.task WHERE state = 'running' ORDER BY queue, placement, cluster LIMIT 1)
        UNION ALL
        SELECT n.queue, n.placement, n.cluster FROM running g CROSS JOIN LATERAL (
            SELECT t.queue, t.placement, t.cluster FROM halfstep.task t
            WHERE t.state = 'running' AND (t.queue, t.placement, t.cluster) > (g.queue, g.placement, g.cluster)
            ORDER BY t.queue, t.placement, t.cluster LIMIT 1) n
    ), suspects AS MATERIALIZED (
        SELECT queue, placement, cluster, count(*) AS number, min(run_at) AS oldest
        FROM (SELECT queue, placement, cluster, run_at FROM halfstep.task WHERE state = 'ready' AND alone
              ORDER BY queue, placement, cluster LIMIT 10000) a
        GROUP BY queue, placement, cluster
    ), due AS MATERIALIZED (
        SELECT queue, placement, cluster, count(*) AS number, min(run_at) AS oldest
        FROM (SELECT queue, placement, cluster, run_at FROM halfstep.task
              WHERE state = 'scheduled' AND run_at <= (SELECT clock_timestamp()) ORDER BY run_at LIMIT 10000) d
        GROUP BY queue, placement, cluster
    ), dead AS MATERIALIZED (
        SELECT worker_id FROM halfstep.lease WHERE dead_at IS NOT NULL
    ), groups AS (
        SELECT name AS queue, 'worker' AS placement, '' AS cluster FROM halfstep.queue
        UNION SELECT queue, placement, cluster FROM ready
        UNION SELECT queue, placement, cluster FROM running
        UNION SELECT queue, placement, cluster FROM suspects
        UNION SELECT queue, placement, cluster FROM due
    )
    SELECT g.queue, g.placement, g.cluster, coalesce(q.weight, 1) AS weight, q.paused_at IS NOT NULL AS paused, r.number AS ready,
           coalesce(s.number, 0)::int AS alone, coalesce(d.number, 0)::int AS due, u.number AS running, o.number AS orphaned,
           greatest(0, extract(epoch FROM clock_timestamp() - least(w.oldest, s.oldest, d.oldest)))::float8 AS oldest_seconds
    FROM groups g
    LEFT JOIN halfstep.queue q ON q.name = g.queue
    LEFT JOIN suspects s ON (s.queue, s.placement, s.cluster) = (g.queue, g.placement, g.cluster)
    LEFT JOIN due d ON (d.queue, d.placement, d.cluster) = (g.queue, g.placement, g.cluster)
    CROSS JOIN LATERAL (
        SELECT count(*)::int AS number FROM (
            SELECT FROM halfstep.task t WHERE t.state = 'ready' AND NOT t.alone
                AND t.queue = g.queue AND t.placement = g.placement AND t.cluster = g.cluster ORDER BY t.priority DESC, t.id LIMIT 10000) x
    ) r
    CROSS JOIN LATERAL (
        SELECT count(*)::int AS number FROM (
            SELECT FROM halfstep.task t WHERE t.state = 'running' AND t.queue = g.queue AND t.placement = g.placement AND t.cluster = g.cluster
                AND t.worker_id <> ALL (ARRAY(SELECT worker_id FROM dead)) ORDER BY t.worker_id LIMIT 10000) x
    ) u
    CROSS JOIN LATERAL (
        SELECT count(*)::int AS number FROM (
            SELECT FROM halfstep.task t WHERE t.state = 'running' AND t.queue = g.queue AND t.placement = g.placement AND t.cluster = g.cluster
                AND t.worker_id = ANY (ARRAY(SELECT worker_id FROM dead)) LIMIT 10000) x
    ) o
    CROSS JOIN LATERAL (
        WITH RECURSIVE priorities AS (
            (SELECT t.priority FROM halfstep.task t WHERE t.state = 'ready' AND NOT t.alone
                AND t.queue = g.queue AND t.placement = g.placement AND t.cluster = g.cluster ORDER BY t.priority DESC LIMIT 1)
            UNION ALL
            SELECT n.priority FROM priorities p CROSS JOIN LATERAL (
                SELECT t.priority FROM halfstep.task t WHERE t.state = 'ready' AND NOT t.alone AND t.priority < p.priority
                    AND t.queue = g.queue AND t.placement = g.placement AND t.cluster = g.cluster ORDER BY t.priority DESC LIMIT 1) n
        )
        SELECT min(f.run_at) AS oldest FROM (SELECT priority FROM priorities LIMIT 1000) p CROSS JOIN LATERAL (
            SELECT t.run_at FROM halfstep.task t WHERE t.state = 'ready' AND NOT t.alone AND t.priority <= p.priority
                AND t.queue = g.queue AND t.placement = g.placement AND t.cluster = g.cluster ORDER BY t.priority DESC, t.id LIMIT 10) f
    ) w
    ORDER BY g.queue, g.placement, g.cluster
) b;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA halfstep FROM PUBLIC;

-- oldest code: 1
-- The door. Whoever may call these functions may enqueue and do nothing else; whatever is wrong is refused here, in one sentence.

-- May the role that logged in enqueue to this queue? The owner of the schema and its members may; others need a grant.
CREATE FUNCTION halfstep.may_enqueue(wanted text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_has_role(session_user, (SELECT nspowner FROM pg_namespace WHERE nspname = 'halfstep'), 'member')
        OR EXISTS (SELECT FROM halfstep.producer p JOIN pg_roles r ON r.rolname = p.role
                   WHERE p.queue = wanted AND pg_has_role(session_user, r.oid, 'member'))
$$;

CREATE FUNCTION halfstep.refuse(message text, code text DEFAULT 'HS001') RETURNS void
LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', message USING ERRCODE = code; END $$;

-- Makes sure that each queue exists, may be used by this role and takes these operators. routes: [{"queue", "operator"}, ...], distinct.
CREATE FUNCTION halfstep.check_queues(routes jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    fixed boolean := (SELECT fixed_queues FROM halfstep.installation);
BEGIN
    FOR wanted IN
        SELECT t.queue, t.operator, q.name IS NOT NULL AS known, q.operators
        FROM jsonb_to_recordset(routes) AS t (queue text, operator text) LEFT JOIN halfstep.queue q ON q.name = t.queue
        ORDER BY 1, 2
    LOOP
        IF NOT halfstep.may_enqueue(wanted.queue) THEN
            PERFORM halfstep.refuse(format('Role %s may not enqueue to queue %s; ask for: halfstep grant producer %s --queue %s',
                                           session_user, wanted.queue, session_user, wanted.queue), 'HS002');
        ELSIF NOT wanted.known AND fixed THEN
            PERFORM halfstep.refuse(format('There is no queue %s, and the queues here are fixed; known: %s', wanted.queue,
                                           (SELECT string_agg(name, ', ' ORDER BY name) FROM halfstep.queue)));
        ELSIF NOT wanted.known AND wanted.queue !~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$' THEN
            PERFORM halfstep.refuse(format('A queue name has 1 to 63 letters, digits, dots, dashes or underscores, not %L', wanted.queue));
        ELSIF NOT wanted.known THEN
            INSERT INTO halfstep.queue (name) VALUES (wanted.queue) ON CONFLICT DO NOTHING;
        ELSIF wanted.operators IS NOT NULL AND wanted.operator <> ALL (wanted.operators) THEN
            PERFORM halfstep.refuse(format('Queue %s takes only the operators %s, not %s', wanted.queue,
                                           array_to_string(wanted.operators, ', '), wanted.operator), 'HS002');
        END IF;
    END LOOP;
END $$;

-- What is wrong with this task, or null. STABLE and without settings of its own, so that the planner puts its body into the query.
CREATE FUNCTION halfstep.objection(operator text, args jsonb, placement text, timeout float8, max_attempts int, backoff_base float8,
                                   backoff_cap float8, labels jsonb, unique_key text, unique_for interval, run_at timestamptz,
                                   limit_bytes int) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN operator IS NULL OR length(operator) > 128 OR operator !~ '^[A-Za-z0-9_][A-Za-z0-9_.-]*$'  -- a bounded {0,127} costs 3 us a row
            THEN 'The operator must be a name of 1 to 128 letters, digits, dots, dashes or underscores'
        WHEN args IS NULL OR jsonb_typeof(args) <> 'object' THEN 'The args must be a JSON object, like {"command": "true"}'
        WHEN octet_length(args::text) > limit_bytes THEN format('The args are %s bytes; the limit is %s', octet_length(args::text), limit_bytes)
        WHEN placement NOT IN ('worker', 'pod') THEN format('The placement must be worker or pod, not %L', placement)
        WHEN NOT (timeout > 0 AND timeout <= 31536000) THEN 'The timeout must be more than 0 seconds and at most a year'
        WHEN NOT (max_attempts BETWEEN 1 AND 1000) THEN 'max_attempts must be 1 to 1000'
        WHEN NOT (coalesce(backoff_base, backoff_cap, 1) >= 0 AND coalesce(backoff_cap, 31536000) BETWEEN coalesce(backoff_base, 0) AND 31536000) THEN 'The back-off needs 0 <= backoff_base <= backoff_cap, in seconds'
        WHEN labels IS NOT NULL AND (jsonb_typeof(labels) <> 'object' OR octet_length(labels::text) > 4096) THEN 'The labels must be a JSON object of at most 4096 bytes'
        WHEN octet_length(unique_key) NOT BETWEEN 1 AND 512 THEN 'A unique_key has 1 to 512 bytes'
        WHEN NOT (unique_for > interval '0') THEN 'unique_for must be more than 0 seconds'
        WHEN NOT isfinite(run_at) THEN 'run_at must be a point in time'
    END
$$;

-- Takes the unique key for a new task, or returns the task that holds it. Waits for a concurrent enqueue of the same key to end.
-- A key that is held is not locked: whoever enqueues and keeps the transaction open must not make the holder's finish wait.
CREATE FUNCTION halfstep.take_key(wanted text, newcomer bigint, period interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder bigint;
BEGIN
    LOOP
        INSERT INTO halfstep.unique_key (key, task_id, expires_at) VALUES (wanted, newcomer, clock_timestamp() + period)
        ON CONFLICT (key) DO NOTHING RETURNING task_id INTO holder;
        EXIT WHEN holder IS NOT NULL;
        UPDATE halfstep.unique_key SET task_id = newcomer, expires_at = clock_timestamp() + period
        WHERE key = wanted AND expires_at <= clock_timestamp() RETURNING task_id INTO holder;
        EXIT WHEN holder IS NOT NULL;
        SELECT task_id INTO holder FROM halfstep.unique_key WHERE key = wanted;
        EXIT WHEN holder IS NOT NULL;
    END LOOP;
    RETURN holder;
END $$;

-- Enqueues an array of tasks in the caller's transaction; returns their ids in order. All or none.
-- A task whose unique key is held gets the id of the holder, and no second task is made.
-- The array is read once: what is wrong is told after the rest was written, and the error takes that back.
CREATE FUNCTION halfstep.enqueue_many(tasks jsonb) RETURNS bigint[]
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
    IF EXISTS (SELECT FROM halfstep.exchange WHERE waiting) THEN
        PERFORM pg_notify('halfstep', 'ready');
    END IF;
    RETURN done.ids;
END $$;

-- One task, from any language: SELECT halfstep.enqueue('bash', '{"command": "true"}', queue => 'etl')
CREATE FUNCTION halfstep.enqueue(
    operator text, args jsonb DEFAULT '{}', queue text DEFAULT 'default', priority int DEFAULT 0, run_at timestamptz DEFAULT NULL,
    unique_key text DEFAULT NULL, unique_for interval DEFAULT NULL, placement text DEFAULT 'worker', cluster text DEFAULT '',
    timeout float8 DEFAULT NULL, max_attempts int DEFAULT 3, backoff_base float8 DEFAULT 1, backoff_cap float8 DEFAULT 300,
    at_most_once boolean DEFAULT false, labels jsonb DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (halfstep.enqueue_many(jsonb_build_array(jsonb_build_object(
        'operator', operator, 'args', args, 'queue', queue, 'priority', priority, 'run_at', run_at, 'unique_key', unique_key,
        'unique_for', unique_for, 'placement', placement, 'cluster', cluster, 'timeout', timeout, 'max_attempts', max_attempts,
        'backoff_base', backoff_base, 'backoff_cap', backoff_cap, 'at_most_once', at_most_once, 'labels', labels))))[1];
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA halfstep FROM PUBLIC;

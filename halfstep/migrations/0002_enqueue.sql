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

-- Makes sure that each queue exists, may be used by this role and takes these operators.
CREATE FUNCTION halfstep.check_queues(tasks jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    fixed boolean := (SELECT fixed_queues FROM halfstep.installation);
BEGIN
    FOR wanted IN
        SELECT DISTINCT coalesce(t.queue, 'default') AS queue, t.operator, q.name IS NOT NULL AS known, q.operators
        FROM jsonb_to_recordset(tasks) AS t (queue text, operator text)
        LEFT JOIN halfstep.queue q ON q.name = coalesce(t.queue, 'default')
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

-- What is wrong with this task, or null.
CREATE FUNCTION halfstep.objection(operator text, args jsonb, placement text, timeout float8, max_attempts int, backoff_base float8,
                                   backoff_cap float8, labels jsonb, unique_key text, run_at timestamptz, limit_bytes int) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN operator IS NULL OR operator !~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$' THEN 'The operator must be a name of letters, digits, dots, dashes or underscores'
        WHEN args IS NULL OR jsonb_typeof(args) <> 'object' THEN 'The args must be a JSON object, like {"command": "true"}'
        WHEN octet_length(args::text) > limit_bytes THEN format('The args are %s bytes; the limit is %s', octet_length(args::text), limit_bytes)
        WHEN placement NOT IN ('worker', 'pod') THEN format('The placement must be worker or pod, not %L', placement)
        WHEN NOT (timeout > 0 AND timeout <= 31536000) THEN 'The timeout must be more than 0 seconds and at most a year'
        WHEN NOT (max_attempts BETWEEN 1 AND 1000) THEN 'max_attempts must be 1 to 1000'
        WHEN NOT (backoff_base >= 0 AND backoff_cap >= backoff_base AND backoff_cap <= 31536000) THEN 'The back-off needs 0 <= backoff_base <= backoff_cap, in seconds'
        WHEN labels IS NOT NULL AND (jsonb_typeof(labels) <> 'object' OR octet_length(labels::text) > 4096) THEN 'The labels must be a JSON object of at most 4096 bytes'
        WHEN octet_length(unique_key) NOT BETWEEN 1 AND 512 THEN 'A unique_key has 1 to 512 bytes'
        WHEN NOT isfinite(run_at) THEN 'run_at must be a point in time'
    END
$$;

-- Takes the unique key for a new task, or returns the task that holds it. Waits for a concurrent enqueue of the same key to end.
CREATE FUNCTION halfstep.take_key(wanted text, newcomer bigint, period interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder bigint;
BEGIN
    LOOP
        INSERT INTO halfstep.unique_key AS held (key, task_id, expires_at) VALUES (wanted, newcomer, clock_timestamp() + period)
        ON CONFLICT (key) DO UPDATE SET task_id = excluded.task_id, expires_at = excluded.expires_at
            WHERE held.expires_at <= clock_timestamp()
        RETURNING task_id INTO holder;
        IF holder IS NULL THEN
            SELECT task_id INTO holder FROM halfstep.unique_key WHERE key = wanted;
        END IF;
        EXIT WHEN holder IS NOT NULL;
    END LOOP;
    RETURN holder;
END $$;

-- Enqueues an array of tasks in the caller's transaction; returns their ids in order. All or none.
-- A task whose unique key is held gets the id of the holder, and no second task is made.
CREATE FUNCTION halfstep.enqueue_many(tasks jsonb) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids bigint[];
    held bigint[] := '{}';
    keyed record;
    wrong record;
    moment timestamptz := clock_timestamp();
BEGIN
    SELECT t.n, o.objection INTO wrong
    FROM halfstep.installation i,
         ROWS FROM (jsonb_to_recordset(tasks) AS (operator text, args jsonb, placement text, timeout float8, max_attempts int,
                    backoff_base float8, backoff_cap float8, labels jsonb, unique_key text, run_at timestamptz)) WITH ORDINALITY
         AS t (operator, args, placement, timeout, max_attempts, backoff_base, backoff_cap, labels, unique_key, run_at, n),
         LATERAL halfstep.objection(t.operator, t.args, t.placement, t.timeout, t.max_attempts, t.backoff_base, t.backoff_cap,
                                    t.labels, t.unique_key, t.run_at, i.args_bytes) AS o (objection)
    WHERE o.objection IS NOT NULL LIMIT 1;
    IF wrong.objection IS NOT NULL THEN
        PERFORM halfstep.refuse(CASE WHEN jsonb_array_length(tasks) = 1 THEN wrong.objection
                                     ELSE format('Task %s of %s: %s', wrong.n, jsonb_array_length(tasks), wrong.objection) END);
    END IF;
    PERFORM halfstep.check_queues(tasks);

    SELECT array_agg(nextval('halfstep.task_id')) INTO ids FROM generate_series(1, jsonb_array_length(tasks));
    FOR keyed IN  -- in the keys' order, so that two callers never wait for each other
        SELECT t.n, t.unique_key, t.unique_for
        FROM ROWS FROM (jsonb_to_recordset(tasks) AS (unique_key text, unique_for interval)) WITH ORDINALITY AS t (unique_key, unique_for, n)
        WHERE t.unique_key IS NOT NULL ORDER BY t.unique_key, t.n
    LOOP
        DECLARE
            newcomer bigint := ids[keyed.n];
        BEGIN
            ids[keyed.n] := halfstep.take_key(keyed.unique_key, newcomer, keyed.unique_for);
            IF ids[keyed.n] <> newcomer THEN
                held := held || keyed.n::bigint;
            END IF;
        END;
    END LOOP;

    INSERT INTO halfstep.task (id, queue, placement, cluster, state, priority, operator, args, labels, unique_key, at_most_once, timeout,
                               max_attempts, backoff_base, backoff_cap, enqueued_at, run_at)
    SELECT i.id, coalesce(t.queue, 'default'), coalesce(t.placement, 'worker'), coalesce(t.cluster, ''),
           CASE WHEN t.run_at > moment THEN 'scheduled' ELSE 'ready' END, coalesce(t.priority, 0), t.operator, t.args, t.labels, t.unique_key,
           coalesce(t.at_most_once, false), t.timeout, coalesce(t.max_attempts, 3), coalesce(t.backoff_base, 1),
           coalesce(t.backoff_cap, greatest(300, t.backoff_base)), moment, coalesce(t.run_at, moment)
    FROM ROWS FROM (jsonb_to_recordset(tasks) AS (queue text, placement text, cluster text, priority int, operator text, args jsonb, labels jsonb,
                    unique_key text, at_most_once boolean, timeout float8, max_attempts int, backoff_base float8, backoff_cap float8,
                    run_at timestamptz)) WITH ORDINALITY
         AS t (queue, placement, cluster, priority, operator, args, labels, unique_key, at_most_once, timeout, max_attempts, backoff_base,
               backoff_cap, run_at, n)
    JOIN unnest(ids) WITH ORDINALITY AS i (id, n) USING (n)
    WHERE n <> ALL (held)
    ORDER BY n;

    IF EXISTS (SELECT FROM halfstep.exchange WHERE waiting) THEN
        PERFORM pg_notify('halfstep', 'ready');
    END IF;
    RETURN ids;
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

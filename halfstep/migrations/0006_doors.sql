-- oldest code: 3
-- Doors: what nobody could read is refused, and a producer reaches no further than its queue. Code of schemas 3 to 5 works on, but for
-- two things: its `halfstep retry` of a finished task and its `halfstep grant producer` are refused by the server.

-- Who does what one at a time may do. Its rows are locked, and never written: an advisory lock could be taken, and kept, by any role of
-- the database.
CREATE TABLE halfstep.turn (name text PRIMARY KEY);
INSERT INTO halfstep.turn (name) VALUES ('promote'), ('fold'), ('partition');

-- (With the owner's rights: whoever prunes may be a member of the owner, and what it makes is the owner's like the rest.)
CREATE OR REPLACE FUNCTION halfstep.add_partition(parent text, column_name text, day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    child text := parent || to_char(day, '_YYYYMMDD');
    strays boolean;
BEGIN
    PERFORM FROM halfstep.turn WHERE name = 'partition' FOR UPDATE;  -- several may prune at once
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

ALTER TABLE halfstep.queue ADD COLUMN placements text[]       -- null: any placement
    CHECK (placements <@ '{worker,pod}' AND cardinality(placements) > 0);

-- A unique key is its queue's: no other queue's producer can hold it, or wait for it. (The key comes first: older code asks by key alone.)
ALTER TABLE halfstep.unique_key ADD COLUMN queue text;
UPDATE halfstep.unique_key k SET queue = coalesce(
    (SELECT t.queue FROM halfstep.task t WHERE t.id = k.task_id),
    (SELECT h.queue FROM halfstep.history h WHERE h.id = k.task_id ORDER BY h.finished_at DESC LIMIT 1));
ALTER TABLE halfstep.unique_key DROP CONSTRAINT unique_key_pkey;
INSERT INTO halfstep.unique_key (key, task_id, expires_at, queue)  -- whose task is forgotten: it was every queue's
SELECT k.key, k.task_id, k.expires_at, q.name FROM halfstep.unique_key k CROSS JOIN halfstep.queue q
WHERE k.queue IS NULL AND k.expires_at > clock_timestamp();
DELETE FROM halfstep.unique_key WHERE queue IS NULL;
ALTER TABLE halfstep.unique_key ADD PRIMARY KEY (key, queue);

-- Which clusters the tasks of a queue may name: those that launchers serve (queue ''), and a few whose launcher is still to come, each
-- in a place of its own.
CREATE TABLE halfstep.cluster (
    name  text NOT NULL CHECK (name ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$'),
    queue text NOT NULL,
    place integer CHECK (place BETWEEN 1 AND 5),
    PRIMARY KEY (name, queue),
    UNIQUE (queue, place),
    CHECK ((queue = '') = (place IS NULL))
);

-- What was let in before, and would stop a promotion or whoever lists tasks.
UPDATE halfstep.task SET cluster = left(cluster, 63) WHERE state = 'scheduled' AND length(cluster) > 63;
UPDATE halfstep.task SET run_at = CASE WHEN run_at > '2000-01-01' THEN '9999-12-30 UTC'::timestamptz ELSE enqueued_at END
WHERE state = 'scheduled' AND run_at NOT BETWEEN '0001-01-02 UTC' AND '9999-12-30 UTC';

-- Counts read an index alone where rows are known to be visible to all: also after much was enqueued and nothing ended yet.
ALTER TABLE halfstep.task SET (autovacuum_vacuum_insert_scale_factor = 0.05);

-- Where there were pods by now counts as served: the launchers there will say so when they begin anew.
INSERT INTO halfstep.cluster (name, queue)
SELECT cluster, '' FROM (SELECT cluster FROM halfstep.pod UNION SELECT cluster FROM halfstep.task WHERE placement = 'pod' AND attempt > 0) c
WHERE cluster ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$';

-- Seconds as text: a number, or an interval such as '5 minutes' or 'PT5M'. Nothing is written here, so the block costs no transaction id.
CREATE FUNCTION halfstep.read_seconds(given text) RETURNS double precision
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF given ~ '^\s*[-+]?([0-9]|\.[0-9])[0-9.]*([eE][-+]?[0-9]+)?\s*$' THEN
        RETURN given::double precision;
    END IF;
    RETURN extract(epoch FROM given::interval);
EXCEPTION WHEN data_exception THEN
    RAISE EXCEPTION '%', halfstep.shown(given) || ' is neither a number of seconds nor an interval such as ''5 minutes''' USING ERRCODE = 'HS001';
END $$;

-- May a double hold this number, not being a denormal one?
CREATE FUNCTION halfstep.is_in_range(given numeric) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT given = 0 OR abs(given) BETWEEN 2.2250738585072014e-308 AND 1.7976931348623157e308 $$;

-- What of this value no reader would get as it was given, or null: nesting and numbers that readers of JSON refuse, and digits that a
-- double loses. (A number that a double keeps is the same when it is written again: that is what extra_float_digits is for.)
CREATE FUNCTION halfstep.unreadable(given jsonb) RETURNS text
LANGUAGE sql STABLE SET extra_float_digits = 1 SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN jsonb_path_exists(given, '$.**{65}') THEN 'are nested deeper than 64 levels' ELSE (
        SELECT CASE WHEN NOT halfstep.is_in_range(n) THEN 'have a number beyond the range of a double; send it as a string'
                    ELSE format('have the number %s, of which a double keeps %s; send it as a string', left(n::text, 40), n::double precision) END
        FROM (SELECT v::numeric AS n FROM jsonb_path_query(given, 'strict $.** ? (@.type() == "number")') AS v OFFSET 0) numbers
        WHERE CASE WHEN NOT halfstep.is_in_range(n) THEN true
                   WHEN scale(n) = 0 THEN false  -- written without a point it is a whole number to its readers, of any length
                   ELSE n::double precision::text::numeric <> n END
        LIMIT 1
    ) END
$$;

-- Has this value something for `unreadable` to look at? Cheap, and right about all that it lets pass: nesting and large numbers take room,
-- and a number with a fraction has a point.
CREATE FUNCTION halfstep.is_doubtful(given jsonb, as_text text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN octet_length(as_text) > 128 AND jsonb_path_exists(given, '$.**{65}') THEN true
        WHEN as_text LIKE '%.%'
            THEN jsonb_path_exists(given, '$.** ? (@ > 10000000000 || @ < -10000000000 || @ % 0.00001 != 0)')
        WHEN octet_length(as_text) > 300 THEN jsonb_path_exists(given, '$.** ? (@ > 1e300 || @ < -1e300)')
        ELSE false END
$$;

-- What somebody sent, as it may stand in a sentence: its beginning, on one line.
CREATE FUNCTION halfstep.shown(given text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT quote_literal(regexp_replace(left(given, 80), '[[:cntrl:]]', '?', 'g')) $$;

-- Does a task of another operator say what runs in its pod? Whoever may do that may do all that operator `pod` may.
CREATE FUNCTION halfstep.brings_code(args jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE jsonb_typeof(args -> 'pod')
        WHEN 'object' THEN (args -> 'pod') - '{resources,node_selector,tolerations,affinity,priority_class,active_deadline_seconds,labels,annotations,cluster,namespace,on_finish,grace_seconds,startup_timeout,connections}'::text[] <> '{}'
        WHEN 'null' THEN false
        ELSE args ? 'pod' END
$$;

DROP FUNCTION halfstep.take_key(text, bigint, interval);

-- What is wrong with this task, or null. STABLE and without settings of its own, so that the planner puts its body into the query.
-- args_text: the args as text.
CREATE FUNCTION halfstep.objection(operator text, args jsonb, queue text, placement text, cluster text, priority bigint, timeout float8, max_attempts bigint,
                                   backoff_base float8, backoff_cap float8, labels jsonb, unique_key text, unique_for interval,
                                   run_at timestamptz, args_text text, limit_bytes int) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN operator IS NULL OR length(operator) > 128 OR operator !~ '^[A-Za-z0-9_][A-Za-z0-9_.-]*$'  -- a bounded {0,127} costs 3 us a row
            THEN 'The operator must be a name of 1 to 128 letters, digits, dots, dashes or underscores'
        WHEN args IS NULL OR jsonb_typeof(args) <> 'object' THEN 'The args must be a JSON object, like {"command": "true"}'
        WHEN octet_length(args_text) > limit_bytes THEN format('The args are %s bytes; the limit is %s', octet_length(args_text), limit_bytes)
        WHEN halfstep.is_doubtful(args, args_text) AND halfstep.unreadable(args) IS NOT NULL THEN 'The args ' || halfstep.unreadable(args)
        WHEN length(queue) > 63 THEN format('A queue name has 1 to 63 letters, digits, dots, dashes or underscores, not %s', halfstep.shown(queue))
        WHEN placement NOT IN ('worker', 'pod') THEN format('The placement must be worker or pod, not %s', halfstep.shown(placement))
        WHEN cluster NOT IN ('', 'default') AND placement IS DISTINCT FROM 'pod'
            THEN format('A cluster is for tasks with the placement pod, and this one names cluster %s; leave it out', halfstep.shown(cluster))
        WHEN cluster <> '' AND cluster !~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$'
            THEN format('A cluster name has 1 to 63 letters, digits, dots, dashes or underscores, not %s', halfstep.shown(cluster))
        WHEN priority NOT BETWEEN -2147483648 AND 2147483647 THEN 'The priority must be a whole number from -2147483648 to 2147483647'
        WHEN NOT (timeout > 0 AND timeout <= 31622400)  -- 366 days: a year as an interval is 365.25
            THEN 'The timeout must be more than 0 seconds and at most a year'
        WHEN max_attempts NOT BETWEEN 1 AND 1000 THEN 'max_attempts must be 1 to 1000'
        WHEN NOT (coalesce(backoff_base, backoff_cap, 1) >= 0 AND coalesce(backoff_cap, 31622400) BETWEEN coalesce(backoff_base, 0) AND 31622400)
            THEN 'The back-off needs 0 <= backoff_base <= backoff_cap, in seconds'
        WHEN labels IS NOT NULL AND (jsonb_typeof(labels) <> 'object' OR octet_length(labels::text) > 4096)
            THEN 'The labels must be a JSON object of at most 4096 bytes'
        WHEN labels IS NOT NULL AND (octet_length(labels::text) > 128 OR labels::text LIKE '%.%') AND halfstep.unreadable(labels) IS NOT NULL
            THEN 'The labels ' || halfstep.unreadable(labels)
        WHEN octet_length(unique_key) NOT BETWEEN 1 AND 512 THEN 'A unique_key has 1 to 512 bytes'
        WHEN unique_for IS NOT NULL AND unique_key IS NULL THEN 'unique_for says how long a unique_key is kept, and there is no unique_key'
        WHEN NOT (unique_for > interval '0' AND unique_for <= interval '366 days') THEN 'unique_for must be more than 0 seconds and at most a year'
        WHEN run_at NOT BETWEEN '0001-01-02 00:00:00Z' AND '9999-12-30 00:00:00Z' THEN 'run_at must be a point in time of the years 1 to 9999'
    END
$$;

-- Takes the unique key of a queue for a new task, or returns the task that holds it. Waits for a concurrent enqueue of the same to end.
-- A key that is held is not locked: whoever enqueues and keeps the transaction open must not make the holder's finish wait.
CREATE FUNCTION halfstep.take_key(wanted text, of_queue text, newcomer bigint, period interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder bigint;
BEGIN
    LOOP
        INSERT INTO halfstep.unique_key (key, queue, task_id, expires_at) VALUES (wanted, of_queue, newcomer, clock_timestamp() + period)
        ON CONFLICT (key, queue) DO NOTHING RETURNING task_id INTO holder;
        EXIT WHEN holder IS NOT NULL;
        UPDATE halfstep.unique_key SET task_id = newcomer, expires_at = clock_timestamp() + period
        WHERE key = wanted AND queue = of_queue AND expires_at <= clock_timestamp() RETURNING task_id INTO holder;
        EXIT WHEN holder IS NOT NULL;
        SELECT task_id INTO holder FROM halfstep.unique_key WHERE key = wanted AND queue = of_queue;
        EXIT WHEN holder IS NOT NULL;
    END LOOP;
    RETURN holder;
END $$;

-- Lets the tasks of a queue name a cluster. Those that launchers serve are known; of others a queue has a few places, so that nobody makes
-- groups of demand without end. Who waits here waits for a transaction of the same queue; its row is not locked: it may be paused.
CREATE FUNCTION halfstep.admit_cluster(wanted text, of_queue text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    free integer;
BEGIN
    IF EXISTS (SELECT FROM halfstep.cluster WHERE name = wanted AND queue = '') THEN
        RETURN;
    END IF;
    LOOP  -- the lock keeps the place from being freed as long as nobody else sees the task
        PERFORM FROM halfstep.cluster WHERE name = wanted AND queue = of_queue FOR KEY SHARE;
        EXIT WHEN FOUND;
        SELECT min(p) INTO free FROM generate_series(1, 5) AS p WHERE p NOT IN (SELECT place FROM halfstep.cluster WHERE queue = of_queue);
        IF free IS NULL THEN
            PERFORM halfstep.refuse(format(
                'Cluster %s is served by no launcher, and queue %s names 5 such clusters already; correct the name, or start its launcher first',
                wanted, of_queue));
        END IF;
        INSERT INTO halfstep.cluster (name, queue, place) VALUES (wanted, of_queue, free) ON CONFLICT DO NOTHING;
    END LOOP;
END $$;

-- Makes sure that each queue exists, may be used by this role and takes these tasks.
-- routes: [{"queue", "operator", "placement", "cluster", "brings_code"}, ...], distinct.
CREATE OR REPLACE FUNCTION halfstep.check_queues(routes jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    fixed boolean := (SELECT fixed_queues FROM halfstep.installation);
BEGIN
    FOR wanted IN
        SELECT t.*, q.name IS NOT NULL AS known, q.operators, q.placements
        FROM jsonb_to_recordset(routes) AS t (queue text, operator text, placement text, cluster text, brings_code boolean)
        LEFT JOIN halfstep.queue q ON q.name = t.queue
        ORDER BY 1, 2, 3, 4, 5
    LOOP
        IF NOT halfstep.may_enqueue(wanted.queue) THEN
            PERFORM halfstep.refuse(format('Role %s may not enqueue to queue %s; ask for: halfstep grant producer %s --queue %s',
                                           session_user, btrim(halfstep.shown(wanted.queue), ''''), session_user, btrim(halfstep.shown(wanted.queue), '''')), 'HS002');
        ELSIF NOT wanted.known AND wanted.queue !~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$' THEN
            PERFORM halfstep.refuse(format('A queue name has 1 to 63 letters, digits, dots, dashes or underscores, not %s', halfstep.shown(wanted.queue)));
        ELSIF NOT wanted.known AND fixed THEN
            PERFORM halfstep.refuse(format('There is no queue %s, and the queues here are fixed; known: %s', wanted.queue,
                (SELECT left(string_agg(name, ', ' ORDER BY name), 1000) FROM halfstep.queue WHERE halfstep.may_enqueue(name))));
        ELSIF NOT wanted.known AND (SELECT count(*) FROM halfstep.queue) >= 1000 THEN
            PERFORM halfstep.refuse(format(
                'There is no queue %s, and of 1000 queues on no more are made by use; an administrator makes it with: halfstep queue set %s',
                wanted.queue, wanted.queue));
        ELSIF NOT wanted.known THEN
            INSERT INTO halfstep.queue (name) VALUES (wanted.queue) ON CONFLICT DO NOTHING;
        ELSIF wanted.operators IS NOT NULL AND wanted.operator <> ALL (wanted.operators) THEN
            PERFORM halfstep.refuse(format('Queue %s takes only the operators %s, not %s', wanted.queue,
                                           array_to_string(wanted.operators, ', '), wanted.operator), 'HS002');
        ELSIF wanted.placements IS NOT NULL AND wanted.placement <> ALL (wanted.placements) THEN
            PERFORM halfstep.refuse(format('Queue %s takes only tasks with the placement %s, not %s', wanted.queue,
                                           array_to_string(wanted.placements, ', '), wanted.placement), 'HS002');
        ELSIF wanted.operators IS NOT NULL AND wanted.brings_code AND 'pod' <> ALL (wanted.operators) THEN
            PERFORM halfstep.refuse(format(
                'Queue %s takes only the operators %s, and this task says under "pod" what is to run, as only operator pod may; it may ask for resources and places there',
                wanted.queue, array_to_string(wanted.operators, ', ')), 'HS002');
        END IF;
        IF wanted.cluster <> '' THEN
            PERFORM halfstep.admit_cluster(wanted.cluster, wanted.queue);
        END IF;
    END LOOP;
END $$;

-- Makes the tasks of an array, and returns their ids in order. All or none.
-- A task whose unique key is held in its queue gets the id of the holder, and no second task is made.
-- The array is read once: what is wrong is told after the rest was written, and the error takes that back. But in a queue that the role may
-- not use nothing is written, not even for that long: others would wait for its keys, and read past its rows.
CREATE FUNCTION halfstep.make_tasks(tasks jsonb) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    most_bytes int := (SELECT args_bytes FROM halfstep.installation);
    done record;
BEGIN
    WITH given AS MATERIALIZED (
        SELECT n, queue, placement, cluster, priority, operator, args, labels, unique_key, unique_for, at_most_once, max_attempts, run_at,
               timeout, backoff_base, backoff_cap, nextval('halfstep.task_id') AS id,
               halfstep.objection(t.operator, t.args, t.queue, t.placement, t.cluster, t.priority, t.timeout, t.max_attempts, t.backoff_base, t.backoff_cap,
                                  t.labels, t.unique_key, t.unique_for, t.run_at, t.args_text, most_bytes) AS objection
        FROM (
            SELECT n, coalesce(queue, 'default') AS queue, placement, cluster, priority, operator, args, labels, unique_key, unique_for,
                   at_most_once, max_attempts, run_at, args::text AS args_text, timeout, backoff_base, backoff_cap
            FROM ROWS FROM (jsonb_to_recordset(tasks) AS (queue text, placement text, cluster text, priority bigint, operator text, args jsonb,
                       labels jsonb, unique_key text, unique_for interval, at_most_once boolean, timeout float8, max_attempts bigint,
                       backoff_base float8, backoff_cap float8, run_at timestamptz)) WITH ORDINALITY
                 AS r (queue, placement, cluster, priority, operator, args, labels, unique_key, unique_for, at_most_once, timeout, max_attempts,
                       backoff_base, backoff_cap, run_at, n)
            OFFSET 0  -- so that each is worked out once
        ) t
    ), allowed AS MATERIALIZED (
        SELECT array_agg(queue) AS queues
        FROM (SELECT DISTINCT queue COLLATE "C" AS queue FROM given OFFSET 0) q  -- asked for each queue once, not for each row
        WHERE halfstep.may_enqueue(queue)
    ), keyed AS MATERIALIZED (  -- in the keys' order, so that two callers never wait for each other
        SELECT k.n, halfstep.take_key(k.unique_key, k.queue, k.id, k.unique_for) AS holder
        FROM (SELECT * FROM given WHERE unique_key IS NOT NULL AND objection IS NULL AND queue = ANY ((SELECT queues FROM allowed)::text[])
              ORDER BY unique_key, queue, n) k
    ), added AS (
        INSERT INTO halfstep.task (id, queue, placement, cluster, state, priority, operator, args, labels, unique_key, at_most_once, timeout,
                                   max_attempts, backoff_base, backoff_cap, enqueued_at, run_at)
        SELECT g.id, g.queue, coalesce(g.placement, 'worker'), coalesce(nullif(g.cluster, 'default'), ''),
               CASE WHEN g.run_at > moment THEN 'scheduled' ELSE 'ready' END, coalesce(g.priority, 0), g.operator, g.args, g.labels,
               g.unique_key, coalesce(g.at_most_once, false), g.timeout, coalesce(g.max_attempts, 3), coalesce(g.backoff_base, least(1, g.backoff_cap)),
               coalesce(g.backoff_cap, greatest(300, g.backoff_base)), moment, coalesce(g.run_at, moment)
        FROM given g
        WHERE g.objection IS NULL AND g.queue = ANY ((SELECT queues FROM allowed)::text[])
            AND (g.unique_key IS NULL OR g.n IN (SELECT k.n FROM keyed k WHERE k.holder = g.id))
    )
    SELECT (SELECT coalesce(array_agg(coalesce(k.holder, g.id) ORDER BY g.n), '{}') FROM given g LEFT JOIN keyed k USING (n)) AS ids,
           (SELECT CASE WHEN jsonb_array_length(tasks) = 1 THEN g.objection
                        ELSE format('Task %s of %s: %s', g.n, jsonb_array_length(tasks), g.objection) END
            FROM given g WHERE g.objection IS NOT NULL ORDER BY g.n LIMIT 1) AS objection,
           (SELECT jsonb_agg(r) FROM (
                SELECT DISTINCT queue, operator, coalesce(placement, 'worker') AS placement, coalesce(nullif(cluster, 'default'), '') AS cluster,
                       placement = 'pod' AND operator <> 'pod' AND halfstep.brings_code(args) AS brings_code
                FROM given) r) AS routes
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

-- Refuses what is no object, and keys that are no argument's.
CREATE FUNCTION halfstep.check_records(tasks jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known text[] := '{operator,args,queue,priority,run_at,unique_key,unique_for,placement,cluster,timeout,max_attempts,backoff_base,backoff_cap,at_most_once,labels}';
    wrong record;
BEGIN
    SELECT * INTO wrong FROM jsonb_array_elements(tasks) WITH ORDINALITY AS t (task, n)
    WHERE CASE WHEN jsonb_typeof(t.task) = 'object' THEN t.task - known <> '{}' ELSE true END LIMIT 1;
    IF wrong.n IS NOT NULL AND jsonb_typeof(wrong.task) <> 'object' THEN
        PERFORM halfstep.refuse(format('Task %s of %s: A task must be a JSON object, not %s', wrong.n, jsonb_array_length(tasks), halfstep.shown(wrong.task::text)));
    ELSIF wrong.n IS NOT NULL THEN
        PERFORM halfstep.refuse(format('Task %s of %s: There is no task option %s; known: %s', wrong.n, jsonb_array_length(tasks),
            (SELECT halfstep.shown(string_agg(key, ', ')) FROM jsonb_object_keys(wrong.task - known) AS key), array_to_string(known, ', ')));
    END IF;
END $$;

-- Enqueues an array of tasks in the caller's transaction; returns their ids in order. All or none.
CREATE OR REPLACE FUNCTION halfstep.enqueue_many(tasks jsonb) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF tasks IS NULL OR jsonb_typeof(tasks) <> 'array' THEN
        PERFORM halfstep.refuse('The tasks must be a JSON array of objects, like [{"operator": "bash", "args": {"command": "true"}}]');
    END IF;
    PERFORM halfstep.check_records(tasks);
    RETURN halfstep.make_tasks(tasks);
END $$;

-- The same array as `json`, or as text: from drivers that know no `jsonb`, and a literal.
CREATE FUNCTION halfstep.enqueue_many(tasks json) RETURNS bigint[]
LANGUAGE sql AS 'SELECT halfstep.enqueue_many(tasks::jsonb)';
CREATE FUNCTION halfstep.enqueue_many(tasks text) RETURNS bigint[]
LANGUAGE sql AS 'SELECT halfstep.enqueue_many(tasks::jsonb)';

CREATE DOMAIN halfstep.duration AS text;

-- One task, from any language: SELECT halfstep.enqueue('bash', '{"command": "true"}', queue => 'etl')
-- args and labels may be jsonb, json or text, and the three durations numbers of seconds, intervals or text: so drivers that send typed
-- parameters find a function that takes them. What has no type, such as a literal or a null, PostgreSQL takes for text here.
-- (Of arguments without names the first ten are of the same kinds in all of them, so that those without a type, too, are told apart: where
-- the timeout is the third, the queue is the last. And a domain is no type that somebody sends as a queue.)
DO $do$
DECLARE
    former oid := 'halfstep.enqueue(text, jsonb, text, int, timestamptz, text, interval, text, text, float8, int, float8, float8, boolean, jsonb)'::regprocedure;
    callers text[] := ARRAY(
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
                        || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
        FROM pg_proc f CROSS JOIN LATERAL aclexplode(f.proacl) a
        WHERE f.oid IN (former, 'halfstep.enqueue_many(jsonb)'::regprocedure) AND a.grantee <> f.proowner);
    json_type text;
    duration_type text;
    in_seconds text;
    plain boolean;
    made record;
BEGIN
    FOREACH json_type IN ARRAY '{jsonb,json,text}'::text[] LOOP
        FOREACH duration_type IN ARRAY '{float8,interval,halfstep.duration}'::text[] LOOP
            plain := duration_type = 'float8';
            in_seconds := CASE duration_type WHEN 'interval' THEN 'extract(epoch FROM %s)' WHEN 'halfstep.duration' THEN 'halfstep.read_seconds(%s)' ELSE '%s' END;
            EXECUTE format($ddl$
                CREATE FUNCTION halfstep.enqueue(
                    operator text, args %1$s %3$s, %4$s priority bigint DEFAULT 0, run_at timestamptz DEFAULT NULL,
                    unique_key text DEFAULT NULL, unique_for interval DEFAULT NULL, placement text DEFAULT 'worker', cluster text DEFAULT '',
                    %5$s at_most_once boolean DEFAULT false, labels %1$s DEFAULT NULL %6$s
                ) RETURNS bigint
                LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $body$
                BEGIN
                    RETURN (halfstep.make_tasks(jsonb_build_array(jsonb_build_object(
                        'operator', operator, 'args', args::jsonb, 'queue', queue, 'priority', priority, 'run_at', run_at, 'unique_key', unique_key,
                        'unique_for', unique_for, 'placement', placement, 'cluster', cluster, 'timeout', %7$s, 'max_attempts', max_attempts,
                        'backoff_base', %8$s, 'backoff_cap', %9$s, 'at_most_once', at_most_once, 'labels', labels::jsonb))))[1];
                END $body$ $ddl$,
                json_type, duration_type,
                CASE WHEN plain AND json_type = 'jsonb' THEN 'DEFAULT ''{}''' END,
                CASE WHEN plain THEN 'queue text DEFAULT ''default'',' ELSE format('timeout %s,', duration_type) END,
                CASE WHEN plain THEN 'timeout float8 DEFAULT NULL, max_attempts bigint DEFAULT 3, backoff_base float8 DEFAULT NULL, backoff_cap float8 DEFAULT NULL,'
                     ELSE 'max_attempts bigint DEFAULT 3,' END,
                CASE WHEN NOT plain THEN format(', backoff_base %1$s DEFAULT NULL, backoff_cap %1$s DEFAULT NULL, queue text DEFAULT ''default''', duration_type) END,
                format(in_seconds, 'timeout'), format(in_seconds, 'backoff_base'), format(in_seconds, 'backoff_cap'));
        END LOOP;
    END LOOP;
    EXECUTE format('DROP FUNCTION %s', former::regprocedure);
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA halfstep FROM PUBLIC;
    FOR made IN  -- whoever might call the former functions may call these
        SELECT p.oid::regprocedure AS signature, c AS caller FROM pg_proc p, unnest(callers) AS c
        WHERE p.pronamespace = 'halfstep'::regnamespace AND p.proname IN ('enqueue', 'enqueue_many')
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', made.signature, made.caller);
    END LOOP;
END $do$;

DROP FUNCTION halfstep.objection(text, jsonb, text, float8, int, float8, float8, jsonb, text, interval, timestamptz, int);

-- What there is to do, for whoever asks by plain SQL (KEDA's postgresql trigger). Counted no further than 10,000 a group and kind:
-- never a scan of the backlog, and of 50 priorities a group: whoever enqueues
-- chooses how many there are. The same as sql/backlogs.sql, which says more.
CREATE OR REPLACE VIEW halfstep.demand AS
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
    ), named AS (
        SELECT name AS queue, 'worker' AS placement, '' AS cluster FROM halfstep.queue
        UNION SELECT queue, placement, cluster FROM ready
        UNION SELECT queue, placement, cluster FROM running
        UNION SELECT queue, placement, cluster FROM suspects
        UNION SELECT queue, placement, cluster FROM due
    ), groups AS (  -- of clusters that nobody serves a few are enough to see that there are some
        SELECT n.*, CASE WHEN n.cluster = '' OR EXISTS (SELECT FROM halfstep.cluster c WHERE c.name = n.cluster AND c.queue = '')
                         THEN 10000 ELSE least(10000, 500) END AS most
        FROM named n
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
                AND t.queue = g.queue AND t.placement = g.placement AND t.cluster = g.cluster ORDER BY t.priority DESC, t.id LIMIT g.most) x
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
        SELECT min(f.run_at) AS oldest FROM (SELECT priority FROM priorities LIMIT 50) p CROSS JOIN LATERAL (
            SELECT t.run_at FROM halfstep.task t WHERE t.state = 'ready' AND NOT t.alone AND t.priority <= p.priority
                AND t.queue = g.queue AND t.placement = g.placement AND t.cluster = g.cluster ORDER BY t.priority DESC, t.id LIMIT 10) f
    ) w
    ORDER BY g.queue, g.placement, g.cluster
) b;

-- Where the database lives, so that a copy of it, which has the same installation id, can be told from it. Older code does not look.
ALTER TABLE halfstep.installation ADD COLUMN home text;       -- as sql/home.sql tells it; null: no launcher has begun yet

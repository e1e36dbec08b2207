-- oldest code: 3
-- What launchers find in their clusters that no task explains, and what keeps them from working there.

-- Pods that carry our labels and are not ours. Written by launchers, for people: nothing is decided by it.
CREATE TABLE halfstep.stranger (
    cluster    text NOT NULL,
    namespace  text NOT NULL,
    name       text NOT NULL,
    uid        text NOT NULL,
    why        text NOT NULL,                       -- a sentence
    first_seen timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (cluster, namespace, name, uid)
);

-- Why a launcher does not get on: with an API server, with a namespace, or with a part of itself. Gone when it is over.
CREATE TABLE halfstep.trouble (
    worker_id uuid NOT NULL,
    cluster   text NOT NULL,
    namespace text NOT NULL,
    part      text NOT NULL,                        -- what does not get on: create, watch, logs, ...
    sentence  text NOT NULL,                        -- what happened and what to do
    since     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (worker_id, cluster, namespace, part)
);

-- Who is there for which tasks. Null everywhere: of an older program, which does not say.
ALTER TABLE halfstep.worker ADD COLUMN cluster text;            -- the one that it serves; '': the default one
ALTER TABLE halfstep.scaler ADD COLUMN targets jsonb;           -- [{"placement", "cluster", "queues": null (all) or [name, ...]}, ...]
ALTER TABLE halfstep.scaler ADD COLUMN refused jsonb;           -- [{"namespace", "name", "sentence"}, ...]: ScaledObjects that it refuses

-- Workers that live and do not leave, and what scalers would start workers for. A null column: whatever it is.
CREATE VIEW halfstep.serving AS
SELECT 'worker' AS kind, w.name, w.placement, w.cluster, w.queues
FROM halfstep.worker w JOIN halfstep.lease l ON l.worker_id = w.id
WHERE w.state = 'running' AND w.drain_requested_at IS NULL AND l.dead_at IS NULL
  AND l.renewed_at > clock_timestamp() - make_interval(secs => greatest(60, 3 * l.seconds))  -- nobody may be there to mark the last one dead
UNION ALL
SELECT 'scaler', s.name, t.placement, t.cluster, t.queues
FROM halfstep.scaler s CROSS JOIN LATERAL (
    SELECT e.target ->> 'placement', e.target ->> 'cluster',
           CASE WHEN jsonb_typeof(e.target -> 'queues') = 'array' THEN ARRAY(SELECT jsonb_array_elements_text(e.target -> 'queues')) END
    FROM jsonb_path_query(s.targets, 'lax $[*] ? (@.type() == "object")') AS e (target)  -- what is no list of objects stumbles nobody
    WHERE coalesce(jsonb_typeof(e.target -> 'queues'), 'null') IN ('array', 'null')
    UNION ALL SELECT NULL, NULL, NULL WHERE s.targets IS NULL
) AS t (placement, cluster, queues)
WHERE s.seen_at > clock_timestamp() - interval '60 seconds';

-- As in 0006, and how memory grows, which runtime class, and how long a pod may be held: they say where and how a pod runs, not what.
CREATE OR REPLACE FUNCTION halfstep.brings_code(args jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE jsonb_typeof(args -> 'pod')
        WHEN 'object' THEN (args -> 'pod') - '{resources,on_oom,node_selector,tolerations,affinity,priority_class,runtime_class,active_deadline_seconds,labels,annotations,cluster,namespace,on_finish,grace_seconds,startup_timeout,queue_timeout,connections}'::text[] <> '{}'
        WHEN 'null' THEN false
        ELSE args ? 'pod' END
$$;

-- Whoever intended the pod puts a mark into it, by which it is known until the API server has acknowledged it. Null: an older launcher did not.
ALTER TABLE halfstep.pod ADD COLUMN marked boolean;

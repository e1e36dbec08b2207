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

-- Takes a batch of tasks from workers that are marked dead. Their attempts are told as lost. Pod tasks are left for `adopt`, but for those
-- whose pod was not even intended when their launcher died: no such pod is there or ever will be, and planning it may be what killed it.
-- From its second worker death on a task is claimed alone; deaths while alone count against it, and the last allowed one fails it.
WITH dead AS (
    SELECT worker_id FROM halfstep.lease WHERE dead_at IS NOT NULL
), died AS (  -- and did not leave: what a launcher hands over has done it no harm
    SELECT w.id FROM halfstep.worker w WHERE w.id = ANY (ARRAY(SELECT worker_id FROM dead)) AND w.state = 'dead'
), orphaned AS MATERIALIZED (  -- apart from the order and the limit, which would lure the planner to walk all tasks by id
    SELECT id FROM halfstep.task t
    WHERE state = 'running' AND worker_id = ANY (ARRAY(SELECT worker_id FROM dead))
      AND (placement <> 'pod' OR worker_id = ANY (ARRAY(SELECT id FROM died))
                                 AND NOT EXISTS (SELECT FROM halfstep.pod p WHERE p.attempt_id = t.attempt_id))
), held AS (
    SELECT t.*,
           CASE WHEN t.cancel_requested_at IS NOT NULL THEN 'cancelled'
                WHEN t.at_most_once AND t.placement <> 'pod' OR t.alone AND t.lone_deaths + 1 >= %(lone_deaths)s THEN 'failed' END AS final
    FROM halfstep.task t
    WHERE t.id = ANY (ARRAY(SELECT id FROM orphaned)) AND t.worker_id = ANY (ARRAY(SELECT worker_id FROM dead))
    ORDER BY t.id LIMIT %(batch)s FOR UPDATE OF t SKIP LOCKED
), back AS (
    UPDATE halfstep.task t
    SET state = 'ready', deaths = t.deaths + 1, lone_deaths = t.lone_deaths + t.alone::int, alone = t.deaths + 1 >= 2, run_at = clock_timestamp(),
        claim_token = NULL, attempt_id = NULL, worker_id = NULL, started_at = NULL
    FROM held h WHERE t.id = h.id AND h.final IS NULL
    RETURNING t.queue
), ended AS (
    DELETE FROM halfstep.task t USING held h WHERE t.id = h.id AND h.final IS NOT NULL
    RETURNING t AS task, h.final
), kept AS (
    INSERT INTO halfstep.history ({task_columns}, state, finished_at, reason, error)
    SELECT {task_columns}, final, clock_timestamp(),
        CASE WHEN final = 'cancelled' THEN 'cancelled' WHEN at_most_once AND placement <> 'pod' THEN 'lost' ELSE 'poison' END,
        CASE WHEN final = 'cancelled' THEN 'Cancelled; its worker died before it could say so.'
             WHEN at_most_once AND placement <> 'pod' THEN 'The worker was lost while it held this at-most-once task; it may have had its effect. ' || halfstep.death_words(worker_id)
             WHEN placement = 'pod' THEN format('%%s launchers died while they planned this task''s pod, %%s of them while they planned no other: '
                                                'it probably kills them. %%s', deaths, lone_deaths, halfstep.death_words(worker_id))
             ELSE format('%%s workers died while they held this task, %%s of them while it ran alone: it probably kills them. %%s%%s',
                         deaths, lone_deaths, halfstep.death_words(worker_id), halfstep.last_lines(id, attempt, 5)) END
    FROM ended, jsonb_populate_record(task, jsonb_build_object('deaths', (task).deaths + 1,
                                                               'lone_deaths', (task).lone_deaths + (task).alone::int))
), freed AS (
    DELETE FROM halfstep.unique_key k USING ended e WHERE k.key = (e.task).unique_key AND k.task_id = (e.task).id AND k.expires_at IS NULL
), told AS (
    INSERT INTO halfstep.attempt (task_id, number, attempt_id, claim_token, worker_id, started_at, ended_at, outcome, reason, error)
    SELECT id, attempt, attempt_id, claim_token, worker_id, started_at, clock_timestamp(), 'lost', 'worker_lost',
           CASE placement WHEN 'pod' THEN 'The launcher was lost before it asked for the pod. '
                          ELSE 'The worker was lost while it held the task. ' END || words
    FROM held JOIN (SELECT worker_id, halfstep.death_words(worker_id) AS words FROM held GROUP BY worker_id) d USING (worker_id)
    WHERE final IS NULL
), counted AS (  -- under the nil id: many may rescue, and the worker is gone
    SELECT queue, placement, 'attempt' AS measure,
           CASE WHEN final IS NULL THEN 'lost:worker_lost' WHEN final = 'cancelled' THEN 'cancelled:cancelled'
                WHEN at_most_once AND placement <> 'pod' THEN 'failed:lost' ELSE 'failed:poison' END AS label, 0::float8 AS seconds
    FROM held
), tallied AS (
    INSERT INTO halfstep.tally AS y (worker_id, queue, placement, measure, label, count, sum)
    SELECT '00000000-0000-0000-0000-000000000000', queue, placement, measure, label, count(*), sum(seconds) FROM counted
    GROUP BY queue, placement, measure, label ORDER BY queue, placement, measure, label
    ON CONFLICT (worker_id, queue, placement, measure, label) DO UPDATE SET count = y.count + excluded.count, sum = y.sum + excluded.sum
), hint AS (
    SELECT pg_notify('halfstep', 'ready') WHERE EXISTS (SELECT FROM back) AND halfstep.awaited(ARRAY(SELECT queue FROM back))
)
SELECT (SELECT count(*) FROM held)::int AS rescued, (SELECT count(*) FROM hint) AS hints

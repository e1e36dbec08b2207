-- The counts of workers that are gone go over to the nil id, in one commit: whoever adds up never sees a sum go down.
WITH turn AS MATERIALIZED (  -- two at once could wait for each other
    SELECT FROM halfstep.turn
    WHERE name = 'fold' AND EXISTS (SELECT FROM halfstep.tally t WHERE t.worker_id <> '00000000-0000-0000-0000-000000000000'
                                    AND NOT EXISTS (SELECT FROM halfstep.lease l WHERE l.worker_id = t.worker_id))
    FOR NO KEY UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM halfstep.tally t
    WHERE t.worker_id <> '00000000-0000-0000-0000-000000000000' AND EXISTS (SELECT FROM turn)
      AND NOT EXISTS (SELECT FROM halfstep.lease l WHERE l.worker_id = t.worker_id)
    RETURNING t.*
), folded AS (
    INSERT INTO halfstep.tally AS y (worker_id, queue, placement, measure, label, count, sum)
    SELECT '00000000-0000-0000-0000-000000000000', queue, placement, measure, label, sum(count), sum(sum) FROM gone
    GROUP BY queue, placement, measure, label ORDER BY queue, placement, measure, label
    ON CONFLICT (worker_id, queue, placement, measure, label) DO UPDATE SET count = y.count + excluded.count, sum = y.sum + excluded.sum
)
SELECT count(DISTINCT worker_id)::int AS folded FROM gone

-- What has ended so far, added up over all workers, those that are gone included. Sums only grow.
SELECT queue, placement, measure, label, sum(count)::bigint AS count, sum(sum)::float8 AS sum FROM halfstep.tally
GROUP BY queue, placement, measure, label ORDER BY queue, placement, measure, label

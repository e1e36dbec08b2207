-- How many bodies have run, and for how many seconds in all.
SELECT queue, placement, sum(count)::bigint AS count, sum(sum)::float8 AS seconds FROM halfstep.tally WHERE measure = 'run'
GROUP BY queue, placement

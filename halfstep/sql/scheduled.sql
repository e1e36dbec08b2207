-- How many tasks are due later, among the `cap` that are due next.
SELECT queue, placement, count(*)::int AS number
FROM (SELECT queue, placement FROM halfstep.task WHERE state = 'scheduled' AND run_at > (SELECT clock_timestamp())
      ORDER BY run_at LIMIT %(cap)s) s
GROUP BY queue, placement

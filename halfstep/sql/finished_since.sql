-- How many tasks have ended since a moment.
SELECT count(*) AS finished FROM halfstep.history WHERE finished_at > %(moment)s

-- Which of these attempts still need their pods: those that run, and those whose name must stay taken for a while.
SELECT p.attempt_id::text AS attempt_id FROM halfstep.pod p
WHERE p.attempt_id = ANY (%(attempts)s::uuid[])
  AND (p.keep_until > clock_timestamp()
       OR EXISTS (SELECT FROM halfstep.task t WHERE t.id = p.task_id AND t.attempt_id = p.attempt_id AND t.state = 'running'))

-- What pods are that no claim of their launcher's explains. A pod is ours by the uid that is known of its attempt, or where none is, by its mark.
-- Only garbage may be deleted. `taken`: somebody else's pod had the name before ours could be made.
SELECT g.uid,
       CASE WHEN p.attempt_id IS NULL THEN 'unknown'
            WHEN p.uid <> g.uid THEN 'foreign'
            WHEN p.keep_until > clock_timestamp()
              OR EXISTS (SELECT FROM halfstep.task t WHERE t.id = p.task_id AND t.attempt_id = p.attempt_id AND t.state = 'running') THEN 'live'
            WHEN p.uid IS NULL AND (p.namespace <> g.namespace OR p.facts ->> 'class' = 'taken'
                                    OR NOT (g.marked OR g.older AND p.marked IS NOT TRUE)) THEN 'foreign'
            ELSE 'garbage' END AS word
FROM json_to_recordset(%(pods)s::json) AS g (attempt_id uuid, uid text, namespace text, marked boolean, older boolean)
     LEFT JOIN halfstep.pod p ON p.attempt_id = g.attempt_id

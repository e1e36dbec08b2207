-- Whose pods with a launcher's name are: ours by the uid that is known of their attempt; where none is known, or the attempt is forgotten, by
-- their mark. Unlike `doubted_pods` it asks nobody whether they are still needed.
SELECT g.uid,
       CASE WHEN p.attempt_id IS NULL THEN CASE WHEN g.marked OR g.older THEN 'ours' ELSE 'unknown' END
            WHEN p.uid = g.uid THEN 'ours'
            WHEN p.uid IS NULL AND p.namespace = g.namespace AND p.facts ->> 'class' IS DISTINCT FROM 'taken'
             AND (g.marked OR g.older AND p.marked IS NOT TRUE) THEN 'ours'
            ELSE 'foreign' END AS word
FROM json_to_recordset(%(pods)s::json) AS g (attempt_id uuid, uid text, namespace text, marked boolean, older boolean)
     LEFT JOIN halfstep.pod p ON p.attempt_id = g.attempt_id

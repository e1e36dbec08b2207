-- The functions that enqueue.
SELECT oid::regprocedure::text AS signature FROM pg_proc
WHERE pronamespace = 'halfstep'::regnamespace AND proname IN ('enqueue', 'enqueue_many') ORDER BY signature

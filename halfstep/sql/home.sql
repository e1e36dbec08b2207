-- The installation's id, where it was given, and where this is: server, database, major version, and the oids of our oldest tables.
SELECT i.id::text AS id, i.home,
       concat_ws('/', (SELECT system_identifier FROM pg_control_system()), (SELECT oid FROM pg_database WHERE datname = current_database()),
                 current_setting('server_version_num')::int / 10000,
                 (SELECT string_agg(c.oid::text, '.' ORDER BY c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = 'halfstep' AND c.relname = ANY ('{installation,queue,task,worker}'::name[]))) AS here
FROM halfstep.installation i

-- This installation's own id.
SELECT id::text AS id FROM halfstep.installation

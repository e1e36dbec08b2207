-- This database is where the installation's id is at home.
UPDATE halfstep.installation SET home = %(here)s

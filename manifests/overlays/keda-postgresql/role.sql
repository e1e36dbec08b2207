-- The role that KEDA asks as: it may read the demand and nothing else. Once, as a role that may make roles, right after the first
-- migration (until then KEDA tries again after ever longer pauses):
--   psql "$URL" --set=ON_ERROR_STOP=1 --set=password=… --file=manifests/overlays/keda-postgresql/role.sql
CREATE ROLE halfstep_keda LOGIN PASSWORD :'password';
GRANT USAGE ON SCHEMA halfstep TO halfstep_keda;
GRANT SELECT ON halfstep.demand TO halfstep_keda;
-- The planner takes the view for expensive: compiling it takes seconds, at every look, where running it takes milliseconds.
ALTER ROLE halfstep_keda SET jit = off;
ALTER ROLE halfstep_keda SET default_transaction_read_only = on;

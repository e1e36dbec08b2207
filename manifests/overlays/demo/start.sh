# Starts PostgreSQL of any image that has its programs; on an empty folder it makes the database first.
set -eu
PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --username=halfstep --pwfile=/run/secrets/database/password --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8
  echo 'CREATE DATABASE halfstep' | postgres --single postgres > /dev/null
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp -c max_connections=300

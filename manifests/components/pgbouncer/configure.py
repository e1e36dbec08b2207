"""Writes the pooler's configuration from the database's URL, so that the password stands in one Secret only."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

FOLDER = Path("/etc/pgbouncer")
SETTINGS = """\
[databases]
{name} = host={host} port={port} dbname={name}

[pgbouncer]
listen_addr = *
listen_port = 6432
unix_socket_dir =
auth_type = scram-sha-256
auth_file = /etc/pgbouncer/users.txt
pool_mode = transaction
max_client_conn = 5000
default_pool_size = {size}
reserve_pool_size = 5
query_wait_timeout = 15
server_login_retry = 1
server_tls_sslmode = prefer
"""


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


url = urlsplit(os.environ["HALFSTEP_DIRECT_DATABASE_URL"])
name, user, password = (unquote(part or "") for part in (url.path.lstrip("/"), url.username, url.password))
place = {"name": name, "host": url.hostname, "port": url.port or 5432, "size": os.environ["POOL_SIZE"]}
(FOLDER / "pgbouncer.ini").write_text(SETTINGS.format(**place))
(FOLDER / "users.txt").write_text(f"{quoted(user)} {quoted(password)}\n")

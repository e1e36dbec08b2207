"""A role of the database that may enqueue, once it is granted a queue, and is nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from halfstep.administration import Administration
from halfstep.database import Database
from waiting import wait_until


@dataclass
class Producer:
    """A login role and its connection. url: for connections of its own."""

    role: str
    url: str
    database: Database


@contextmanager
def producer_of(server: Any, database: Database) -> Iterator[Producer]:
    """A role that logs in with a password and was granted nothing yet."""
    role = server.make_role()
    url = server.url(database.execute("SELECT current_database() AS name")[0]["name"], role)
    with closing(Database(url)) as connection:
        yield Producer(role[0], url, connection)
    Administration(database).revoke_producer(role[0])
    left = f"SELECT 1 FROM pg_stat_activity WHERE usename = '{role[0]}'"
    wait_until(lambda: not server.admin(left), what="the end of the producer's session, and of its temporary tables")
    server.admin(f"DROP ROLE {role[0]}")

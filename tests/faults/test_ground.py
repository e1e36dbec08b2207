"""The ground that the tests of faults stand on: the server that may crash, and the proxy."""

from __future__ import annotations

from contextlib import closing

import pytest

from halfstep.database import ConnectionSettings, Database
from halfstep.errors import DatabaseUnavailable
from own_server import OwnServer
from proxy import Proxy


def test_a_crashed_server_comes_back_with_what_was_committed(own_server: OwnServer) -> None:
    with closing(Database(own_server.url)) as database:
        database.execute("INSERT INTO halfstep.queue (name) VALUES ('kept')")
        own_server.crash()
        with pytest.raises(DatabaseUnavailable):
            database.execute("SELECT 1")
        own_server.start()
        assert database.execute("SELECT name FROM halfstep.queue WHERE name = 'kept'")


def test_nothing_passes_a_black_hole_until_it_ends(database_url: str, proxy: Proxy) -> None:
    impatient = ConnectionSettings(connect_timeout=2)
    with closing(Database(proxy.url)) as first, closing(Database(proxy.url, impatient)) as late:
        first.execute("SELECT 1")
        proxy.swallow()
        with pytest.raises(DatabaseUnavailable):
            late.execute("SELECT 1")
        proxy.let_pass()
        assert first.execute("SELECT 1 AS one")[0]["one"] == 1


def test_a_reset_ends_connections_and_the_next_one_works(proxy: Proxy) -> None:
    with closing(Database(proxy.url)) as database:
        database.execute("SELECT 1")
        proxy.reset()
        with pytest.raises(DatabaseUnavailable):
            database.execute("SELECT 1")
        assert database.execute("SELECT 1 AS one")[0]["one"] == 1

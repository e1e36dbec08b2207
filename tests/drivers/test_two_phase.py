"""A task in a transaction of two phases: it is there when the second phase has committed, and not before."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pg8000.dbapi
import psycopg
import psycopg2
import pytest
import sqlalchemy as sa

from drivers.looking import Look
from drivers.python_callers import engine_for, keywords
from halfstep import enqueue
from halfstep.database import Database
from own_server import own_server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A database of a server that takes prepared transactions."""
    with own_server(settings={"max_prepared_transactions": "5"}) as server:
        yield server.url


@pytest.fixture
def look(url: str) -> Iterator[Look]:
    with closing(Database(url)) as database:
        yield Look(database, f"q{secrets.token_hex(6)}")


@pytest.mark.parametrize("how", ["commit", "rollback"])
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg", "pg8000"])
def test_of_a_drivers_own(driver: str, how: str, url: str, look: Look) -> None:
    connect: dict[str, Any] = {"psycopg2": psycopg2.connect, "psycopg": psycopg.connect}
    with closing(connect[driver](url) if driver in connect else pg8000.dbapi.connect(**keywords(url))) as connection:
        connection.tpc_begin(connection.xid(0, secrets.token_hex(6), ""))
        enqueue(connection, "bash", queue=look.queue)
        connection.tpc_prepare()
        assert look.ids() == []
        getattr(connection, f"tpc_{how}")()
    assert len(look.ids()) == (how == "commit")


@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_of_sqlalchemy(how: str, url: str, look: Look) -> None:
    with engine_for(url, "psycopg2") as engine, engine.connect() as connection:
        transaction: sa.TwoPhaseTransaction = connection.begin_twophase()
        enqueue(connection, "bash", queue=look.queue)
        transaction.prepare()
        assert look.ids() == []
        getattr(transaction, how)()
    assert len(look.ids()) == (how == "commit")

"""The one place that talks to PostgreSQL: reconnecting, time limits, and what errors mean."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import pytest

from halfstep.database import ConnectionSettings, Database, execute_on, parse_url
from halfstep.errors import DatabaseUnavailable, HalfstepError, InvalidSettings, NotPermitted, RefusedValue, SchemaMismatch
from halfstep.producer import enqueue
from waiting import PATIENCE

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def test_our_connections_have_our_settings(database: Database) -> None:
    names = ("application_name", "jit", "statement_timeout", "lock_timeout", "TimeZone")
    assert [next(iter(database.execute(f"SHOW {name}")[0].values())) for name in names] == ["halfstep", "off", "15s", "5s", "UTC"]


@pytest.mark.parametrize(
    ("asked", "given"),
    [("off", "on"), ("local", "local"), ("remote_write", "remote_write"), ("on", "on"), ("remote_apply", "remote_apply")],
)
def test_our_commits_are_waited_for_and_whoever_asked_for_more_or_other_gets_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, asked: str, given: str
) -> None:
    level = "SELECT current_setting('synchronous_commit') AS level"
    monkeypatch.setattr("halfstep.database.statement", lambda name: level)
    database.execute(f"SET synchronous_commit = {asked}")
    assert database.run("claim") == [{"level": given}]
    with database.transaction():
        assert database.execute(level) == [{"level": given}]
    assert execute_on(database, level, {}) == (given,)
    assert database.execute(level) == [{"level": asked}], "the connection's next transaction may be somebody else's"


def test_a_callers_own_transaction_keeps_the_callers_choice(database: Database, raw_connect: Callable[[], Any]) -> None:
    theirs = raw_connect()
    theirs.cursor().execute("SET synchronous_commit = off")
    enqueue(theirs, "bash", {"command": "true"})
    assert execute_on(theirs, "SHOW synchronous_commit", {}) == ("off",)


def test_a_connection_that_was_cut_is_made_anew_by_the_next_call(database: Database, connect: Callable[[], Database]) -> None:
    assert database.execute("SELECT 1 AS one") == [{"one": 1}]
    connect().execute(CUT)
    with pytest.raises(DatabaseUnavailable):
        database.execute("SELECT 1")
    assert database.execute("SELECT 1 AS one") == [{"one": 1}]


def test_a_transaction_that_is_cut_is_not_half_done(database: Database, connect: Callable[[], Database]) -> None:
    other = connect()

    def work() -> None:
        with database.transaction():
            database.execute("INSERT INTO halfstep.queue (name) VALUES ('a')")
            other.execute(CUT)
            database.execute("INSERT INTO halfstep.queue (name) VALUES ('b')")

    with pytest.raises(DatabaseUnavailable):
        work()
    assert [row["name"] for row in database.execute("SELECT name FROM halfstep.queue")] == ["default"]


def test_any_exception_takes_a_transaction_back(database: Database) -> None:
    def work() -> None:
        with database.transaction():
            database.execute("INSERT INTO halfstep.queue (name) VALUES ('a')")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert [row["name"] for row in database.execute("SELECT name FROM halfstep.queue")] == ["default"]
    with database.transaction():
        database.execute("INSERT INTO halfstep.queue (name) VALUES ('b')")
    assert len(database.execute("SELECT FROM halfstep.queue")) == 2


def test_closing_twice_and_going_on_is_fine(database: Database) -> None:
    database.close()
    database.close()
    assert database.execute("SELECT 1 AS one") == [{"one": 1}]


def test_a_statement_in_flight_can_be_interrupted(
    database: Database, connect: Callable[[], Database], threads: ThreadPoolExecutor, raw_connect: Callable[[], Any],
    wait_for_lock_waiters: Callable[[int], None],
) -> None:  # fmt: skip
    raw_connect().cursor().execute("LOCK halfstep.queue")
    waiting = threads.submit(database.execute, "SELECT * FROM halfstep.queue")
    wait_for_lock_waiters(1)
    database.interrupt()
    with pytest.raises(DatabaseUnavailable, match="cancel"):
        waiting.result(PATIENCE)


def test_nothing_waits_longer_than_its_time_limits(database_url: str, raw_connect: Callable[[], Any]) -> None:
    raw_connect().cursor().execute("LOCK halfstep.queue")
    for settings in (ConnectionSettings(lock_timeout=0.1), ConnectionSettings(lock_timeout=0, statement_timeout=0.1)):
        with closing(Database(database_url, settings)) as hasty, pytest.raises(DatabaseUnavailable, match="timeout"):
            hasty.execute("SELECT * FROM halfstep.queue")


def test_an_interrupt_without_a_connection_does_nothing(database_url: str) -> None:
    Database(database_url).interrupt()


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT 1/0", RefusedValue),
        ("SELECT 'x'::int", RefusedValue),
        ("SELECT '\"\\u0000\"'::jsonb", RefusedValue),
        ("SELECT * FROM halfstep.nothing", SchemaMismatch),
        ("SELECT halfstep.nothing()", SchemaMismatch),
        ("SELECT * FROM pg_authid", NotPermitted),
        ("INSERT INTO halfstep.queue (name) VALUES ('default')", RefusedValue),
        ("DO $$ BEGIN RAISE 'no' USING ERRCODE = '53200'; END $$", DatabaseUnavailable),
    ],
)
def test_each_error_is_one_sentence_of_its_own_class(database: Database, statement: str, error: type[HalfstepError]) -> None:
    with pytest.raises(error) as raised:
        database.execute(statement)
    assert "\n" not in str(raised.value)
    assert database.execute("SELECT 1 AS one") == [{"one": 1}]


def test_a_nul_in_a_parameter_is_refused_before_it_is_sent(database: Database) -> None:
    with pytest.raises(RefusedValue, match="NUL"):
        database.execute("SELECT %(x)s", {"x": "a\0b"})


def test_a_wrong_password_and_an_unknown_database_are_told_apart_from_no_server(server: Any, unused_port: int) -> None:
    name, _ = server.owner
    tries = {
        server.url("nowhere"): "check the names in HALFSTEP_DATABASE_URL",
        f"postgresql://x:geheim@127.0.0.1:{unused_port}/x": "check HALFSTEP_DATABASE_URL and that the server runs",
    }
    if "HALFSTEP_TEST_SERVER_URL" not in os.environ:  # a given server may trust everybody
        tries[server.url("postgres", (name, "geheim"))] = "check the user and password"
    for url, sentence in tries.items():
        with closing(Database(url)) as database, pytest.raises(DatabaseUnavailable, match=sentence) as raised:
            database.execute("SELECT 1")
        assert "geheim" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "sentence"), [("not a url", "can't be read"), ("mysql://u:geheim@h/d", "needs PostgreSQL"), ("", "can't be read")]
)
def test_a_bad_url_is_told_without_its_password(url: str, sentence: str) -> None:
    with pytest.raises(InvalidSettings, match=sentence) as raised:
        Database(url)
    assert "geheim" not in str(raised.value)


def test_both_spellings_of_the_scheme_are_fine() -> None:
    for scheme in ("postgres", "postgresql", "postgresql+psycopg2"):
        assert parse_url(f"{scheme}://u@h/d").drivername == "postgresql+psycopg2"


class Pooler:
    """A gate before the real server that refuses start-up options, as PgBouncer does."""

    REFUSAL = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter in options: jit\0\0"

    def __init__(self, url: str) -> None:
        self._server = parse_url(url)
        self._gate = socket.create_server(("127.0.0.1", 0))
        self.url = self._server.set(drivername="postgresql", host="127.0.0.1", port=self._gate.getsockname()[1]).render_as_string(
            False
        )
        self.refused = 0
        threading.Thread(target=self._admit, daemon=True).start()

    def _admit(self) -> None:
        with suppress(OSError):  # the gate is closed
            while True:
                self._begin(self._gate.accept()[0])

    def _begin(self, client: socket.socket) -> None:
        startup = client.recv(8192)
        while len(startup) == 8:  # may it be encrypted? no
            client.sendall(b"N")
            startup = client.recv(8192)
        if b"options\0" in startup:
            self.refused += 1
            client.sendall(b"E" + (len(self.REFUSAL) + 4).to_bytes(4, "big") + self.REFUSAL)
            client.close()
            return
        server = socket.create_connection((self._server.host, self._server.port or 5432))
        server.sendall(startup)
        for ends in ((client, server), (server, client)):
            threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._gate.shutdown(socket.SHUT_RDWR)
        self._gate.close()


def test_a_pooler_that_refuses_startup_options_is_connected_to_without_them(database_url: str) -> None:
    with closing(Pooler(database_url)) as pooler, closing(Database(pooler.url)) as database:
        assert database.execute("SELECT 1 AS one") == [{"one": 1}]
        database.close()
        assert database.execute("SELECT 1 AS one") == [{"one": 1}]
        assert pooler.refused == 1


@pytest.mark.parametrize("value", ["1e5000", "[" * 3000 + "]" * 3000], ids=["digits", "depth"])
def test_a_value_that_python_does_not_read_stays_text(database: Database, value: str) -> None:
    (row,) = database.execute("SELECT CAST(%(value)s AS jsonb) AS value, CAST('{\"a\": 1}' AS jsonb) AS other", {"value": value})
    assert (type(row["value"]), row["other"]) == (str, {"a": 1})

"""Operator `sql`, and `.sql` scripts, against a real PostgreSQL."""

from __future__ import annotations

import os
import signal
import threading

import psycopg2
import pytest
import sqlalchemy as sa

from halfstep.context import Stopped
from halfstep.errors import InvalidTask
from halfstep_worker.operators import OperatorFailed, load
from waiting import wait_until


@pytest.fixture(scope="module")
def url(server):
    name = server.make_database(template="template0")
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def connections(url):
    parts = sa.make_url(url)
    broken = {
        "refused": parts.set(port=1, password="s3cret"),
        "wrong": parts.set(username="nobody_here", password="s3cret"),
        "nowhere": parts.set(database="nosuchdatabase"),
        "unknown": parts.set(drivername="nosuchdb", password="s3cret"),
        "driverless": parts.set(drivername="mysql+pymysql", password="s3cret"),
        "options": parts.update_query_dict({"nosuchoption": "s3cret"}),
    }
    return {"shop": url} | {name: value.render_as_string(hide_password=False) for name, value in broken.items()}


@pytest.fixture
def operators(connections, tmp_path):
    return load({"connections": connections, "result_bytes": 10_000, "source": str(tmp_path)})


@pytest.fixture
def run(operators):
    def run(statement, parameters=None, connection="shop"):
        return operators.run("sql", {"connection": connection, "statement": statement, "parameters": parameters})

    return run


@pytest.fixture
def table(run):
    name = f"numbers_{os.urandom(4).hex()}"
    run(f"CREATE TABLE {name} (n int, word text)")
    yield name
    run(f"DROP TABLE {name}")


def test_rows_come_as_objects(run):
    assert run("SELECT 1 AS n, 'a' AS word UNION ALL SELECT 2, NULL ORDER BY 1") == {
        "rows": [{"n": 1, "word": "a"}, {"n": 2, "word": None}]
    }


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1.50::numeric", "1.50"),
        ("1.5::float8", 1.5),
        ("true", True),
        ("date '2026-01-31'", "2026-01-31"),
        ("timestamp '2026-01-31 10:00'", "2026-01-31T10:00:00"),
        ("time '10:30'", "10:30:00"),
        ("interval '1 hour'", 3600.0),
        ("gen_random_uuid() IS NOT NULL", True),
        ("'{\"a\": [1, null]}'::jsonb", {"a": [1, None]}),
        ("ARRAY[1.5::numeric, NULL]", ["1.5", None]),
        ("9223372036854775807", 9223372036854775807),
    ],
)
def test_values_become_json(run, expression, value):
    assert run(f"SELECT {expression} AS v".replace('"a":', '"a"\\:')) == {"rows": [{"v": value}]}


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ("'\\xff'::bytea AS v", r"Column 'v' is binary; encode it, say by encode\(v, 'base64'\)"),
        ("'NaN'::float8 AS v", "Column 'v' holds nan, which JSON doesn't have; cast it to text"),
        ("'[1,2)'::int4range AS v", "Column 'v' is a NumericRange, which JSON doesn't have; cast it to text"),
        ("1 AS v, 2 AS v", "Two columns are named 'v'; name them apart with AS"),
    ],
)
def test_what_json_does_not_have_is_refused(run, columns, sentence):
    with pytest.raises(OperatorFailed, match=sentence) as caught:
        run(f"SELECT {columns}")
    assert caught.value.reason == "result"


def test_percent_signs_casts_and_colons_stay_what_they_are(run):
    row = run("SELECT '100%' AS a, 'x%s %(y)s' AS b, '7'::int AS c, '10:30' AS d, ' \\:e' AS e, 7 % 4 AS f")["rows"][0]
    assert row == {"a": "100%", "b": "x%s %(y)s", "c": 7, "d": "10:30", "e": " :e", "f": 3}


def test_parameters_are_bound_by_name_or_place(run):
    assert run("SELECT :a || '%' AS v", {"a": "x'; DROP TABLE t; --%"}) == {"rows": [{"v": "x'; DROP TABLE t; --%%"}]}
    assert run("SELECT :1 AS a, :2 AS b", [5, "z"]) == {"rows": [{"a": 5, "b": "z"}]}
    assert run("SELECT CAST(:doc AS jsonb) ->> 'k' AS v", {"doc": {"k": "w"}}) == {"rows": [{"v": "w"}]}
    assert run("SELECT 2 = ANY(:many) AS v", {"many": [1, 2]}) == {"rows": [{"v": True}]}


def test_changes_are_committed_and_counted(run, table):
    assert run(f"INSERT INTO {table} SELECT g, 'w' FROM generate_series(1, 5) g") == {"rows_affected": 5}
    assert run(f"UPDATE {table} SET word = 'x' WHERE n > :n", {"n": 3}) == {"rows_affected": 2}
    assert run(f"SELECT count(*) AS n FROM {table} WHERE word = 'x'") == {"rows": [{"n": 2}]}
    assert run(f"DELETE FROM {table} WHERE n = 1 RETURNING n") == {"rows": [{"n": 1}]}


def test_a_list_of_objects_runs_the_statement_for_each(run, table):
    rows = [{"n": n, "word": "w"} for n in range(7)]
    assert run(f"INSERT INTO {table} VALUES (:n, :word)", rows) == {"rows_affected": 7}


def test_several_statements_are_one_transaction(run, table):
    with pytest.raises(OperatorFailed, match=r"The database of connection 'shop' answered: division by zero\."):
        run(f"INSERT INTO {table} VALUES (1, 'a'); SELECT 1 / 0")
    assert run(f"SELECT count(*) AS n FROM {table}") == {"rows": [{"n": 0}]}
    assert run(f"INSERT INTO {table} VALUES (1, 'a'); INSERT INTO {table} VALUES (2, 'b'), (3, 'c')") == {"rows_affected": 2}


@pytest.mark.parametrize(
    "statement",
    [
        "WITH x AS (SELECT 1 AS n) SELECT * FROM x;",
        "-- a comment; with a semicolon\n/* another\n; */ SELECT 1 AS n",
        "TABLE (VALUES (1)) ",
        "VALUES (1)",
        "EXPLAIN SELECT 1",
        "SHOW search_path",
    ],
)
def test_whatever_gives_rows_gives_rows(run, statement):
    if statement.startswith("TABLE"):
        statement = "TABLE pg_catalog.pg_language"
    assert run(statement)["rows"]


def test_a_statement_that_writes_inside_with_works(run, table):
    added = run(f"WITH added AS (INSERT INTO {table} VALUES (1, 'a') RETURNING n) SELECT n FROM added")
    assert added == {"rows": [{"n": 1}]}
    assert run(f"SELECT n INTO TEMPORARY copied FROM {table}") == {"rows_affected": 1}


def test_reading_stops_at_the_result_limit(run):
    with pytest.raises(
        OperatorFailed, match="The result is larger than 10000 bytes: select less, or write it to a table"
    ) as caught:
        run("SELECT repeat('x', 100) AS v, generate_series(1, 1000000000) AS n")  # takes minutes and gigabytes if read whole
    assert caught.value.reason == "result"


def test_a_result_just_under_the_limit_fits(run):
    assert len(run("SELECT 'xxxxxxxxxx' AS v FROM generate_series(1, 450)")["rows"]) == 450


def test_the_session_of_one_task_does_not_meet_the_next(run):
    run("SET search_path = elsewhere; CREATE TEMPORARY TABLE mine (n int); SELECT pg_advisory_lock(5)")
    assert run("SHOW search_path")["rows"][0]["search_path"] != "elsewhere"
    assert run(
        "SELECT to_regclass('pg_temp.mine') IS NULL AS gone, count(l.*) AS locks FROM pg_locks l WHERE locktype = 'advisory'"
    ) == {"rows": [{"gone": True, "locks": 0}]}


def test_an_unknown_connection_lists_the_known_names_only(run):
    sentence = "This worker has no connection 'other'; known: driverless, nowhere, options, refused, shop, unknown, wrong."
    with pytest.raises(InvalidTask) as caught:
        run("SELECT 1", connection="other")
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("connection", "statement", "sentence"),
    [
        ("refused", "SELECT 1", "The database of connection 'refused' answered: connection to server at"),
        ("wrong", "SELECT 1", "The database of connection 'wrong' answered: connection to server at"),
        ("nowhere", "SELECT 1", "The database of connection 'nowhere' answered: connection to server at"),
        ("unknown", "SELECT 1", "Connection 'unknown' is for 'nosuchdb', which is no database known here."),
        ("driverless", "SELECT 1", "Connection 'driverless' needs the Python package 'pymysql'; install it."),
        ("options", "SELECT 1", "The database of connection 'options' answered: invalid dsn"),
        ("shop", "SELEC 1", "The database of connection 'shop' answered: syntax error at or near \"SELEC\"."),
        (
            "shop",
            "SELECT 's3cr' || 'et' FROM nosuchtable",
            "The database of connection 'shop' answered: relation \"nosuchtable\"",
        ),
        ("shop", "SELECT 1 / 0 AS s3", "The database of connection 'shop' answered: division by zero."),
    ],
)
def test_an_error_is_one_sentence_without_the_password(run, connections, connection, statement, sentence):
    with pytest.raises((OperatorFailed, InvalidTask)) as caught:
        run(statement, connection=connection)
    said = str(caught.value)
    assert said.startswith(sentence)
    assert "\n" not in said
    password = sa.make_url(connections["shop"]).password
    assert "s3cret" not in said
    assert password not in said
    assert caught.value.__cause__ is None


def test_a_nul_in_a_parameter_is_one_sentence(run):
    with pytest.raises(OperatorFailed, match="NUL"):
        run("SELECT :x AS v", {"x": "a\0b"})


def test_after_an_error_the_connection_works_on(run):
    with pytest.raises(OperatorFailed):
        run("SELECT 1 / 0")
    assert run("SELECT 1 AS n") == {"rows": [{"n": 1}]}


def test_a_stop_ends_the_statement_on_the_server(run, url):
    mark = f"sleeps_{os.urandom(4).hex()}"
    active = f"SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(60), ''{mark}%'"

    def stop(*_: object) -> None:
        raise Stopped("cancel")

    def watch() -> None:
        wait_until(lambda: count(url, active), what="the statement")
        os.kill(os.getpid(), signal.SIGUSR1)

    before, watcher = signal.signal(signal.SIGUSR1, stop), threading.Thread(target=watch)
    try:
        watcher.start()
        with pytest.raises(Stopped):
            run(f"SELECT pg_sleep(60), '{mark}', 1 AS update")  # `update` keeps it from a cursor, whose FETCH would be seen
    finally:
        signal.signal(signal.SIGUSR1, before)
        watcher.join()
    wait_until(lambda: not count(url, active), what="the end of the statement")
    assert run("SELECT 1 AS n") == {"rows": [{"n": 1}]}


def test_each_process_opens_its_own_connection(run):
    mine = run("SELECT pg_backend_pid() AS pid")["rows"][0]["pid"]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(run("SELECT pg_backend_pid() AS pid")["rows"][0]["pid"]).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reader, 100)) != mine
    assert run("SELECT pg_backend_pid() AS pid")["rows"][0]["pid"] == mine


def test_an_sql_script_runs_on_the_named_connection(operators, tmp_path, table):
    (tmp_path / "load.sql").write_text(f"INSERT INTO {table} VALUES (:n, 'a%');\nSELECT word FROM {table} WHERE n = :n\n")
    args = {"path": "load.sql", "connection": "shop", "parameters": {"n": 4}}
    assert operators.run("script", args) == {"rows": [{"word": "a%"}]}


def test_an_sql_script_can_name_its_connection_itself(operators, tmp_path):
    (tmp_path / "count.sql").write_text("-- connection: shop\nSELECT 1 AS n\n")
    assert operators.run("script", {"path": "count.sql"}) == {"rows": [{"n": 1}]}


def test_an_sql_script_without_a_value_for_a_parameter_is_refused(operators, tmp_path):
    (tmp_path / "count.sql").write_text("-- connection: shop\nSELECT :n AS n\n")
    with pytest.raises(InvalidTask, match="The statement has a parameter ':n' without a value"):
        operators.run("script", {"path": "count.sql"})


def count(url: str, statement: str) -> int:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0]
    finally:
        connection.close()

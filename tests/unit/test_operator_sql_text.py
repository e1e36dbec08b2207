"""Operator `sql`: what is a parameter and what only looks like one, on a real PostgreSQL and SQLite; errors without the URL."""

from __future__ import annotations

import os
import re

import psycopg2
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halfstep.errors import InvalidTask
from halfstep_worker.operators import OperatorFailed, load
from halfstep_worker.operators.sql_colons import OPEN_WORDS
from halfstep_worker.operators.sql_text import read_sql
from halfstep_worker.operators.sql_tokens import GRAMMARS, POSTGRESQL, grammar_of


@pytest.fixture(scope="module")
def url(server):
    name = server.make_database(template="template0")
    yield server.url(name)
    server.drop(name)


@pytest.fixture(scope="module")
def operators(url, tmp_path_factory):
    lite = tmp_path_factory.mktemp("lite") / "file"
    return load({"connections": {"shop": url, "lite": f"sqlite:///{lite}"}, "result_bytes": 1_000_000})


@pytest.fixture(scope="module")
def run(operators):
    def run(statement, parameters=None, connection="shop"):
        return operators.run("sql", {"connection": connection, "statement": statement, "parameters": parameters})

    return run


X = {"x": 7}
VALUES = {
    "a name in a string": ("SELECT ':x' AS v", None, ":x"),
    "a name behind a doubled quote": ("SELECT 'it''s :x' AS v", None, "it's :x"),
    "a name behind an escaped quote": ("SELECT E'it\\'s :x' AS v", None, "it's :x"),
    "a name behind a backslash at the end of a string": ("SELECT 'C:\\' || :x AS v", {"x": "y"}, "C:\\y"),
    "a name behind two backslashes": ("SELECT E'\\\\:x' AS v", None, "\\:x"),
    "a name in a column's name": ('SELECT 7 AS ":x", 7 AS v', None, 7),
    "a name in a line's comment": ("SELECT 7 -- not :y'\n AS v", None, 7),
    "a name in a comment": ("SELECT 7 /* not :y ' */ AS v", None, 7),
    "a name in a comment in a comment": ("SELECT 7 /* a /* b :y */ c :z */ AS v", None, 7),
    "a name in a comment at the end": ("SELECT 7 AS v -- :y", None, 7),
    "a name behind a comment that a carriage return ends": ("SELECT 7 -- :y\r + :x AS v", X, 14),
    "a name behind a comment that both ends of a line end": ("SELECT 7 -- :y\r\n + :x AS v", X, 14),
    "a name in a string that goes on": ("SELECT e'a'\n'b\\':x' AS v", None, "ab':x"),
    "a name in a string that goes on twice": ("SELECT E'a' \r \n '\\':x'\n'c\\':y' AS v", None, "a':xc':y"),
    "a name in a string that goes on behind a comment": ("SELECT E'a' -- ' :z\n -- '\n '\\':x' AS v", None, "a':x"),
    "a name behind a string that goes on": ("SELECT E'a'\n'\\'' || :x AS v", {"x": "b"}, "a'b"),
    "a name behind a plain string that goes on": ("SELECT 'a'\n'b\\' || :x AS v", {"x": "c"}, "ab\\c"),
    "a name behind a string and a comment without an end of line": ("SELECT E'a' /* ' */ || :x AS v", {"x": "b"}, "ab"),
    "a quote in a comment": ("SELECT :x /* it's */ AS v", X, 7),
    "dashes in a string": ("SELECT '--' || CAST(:x AS text) AS v", X, "--7"),
    "a comment's beginning in a string": ("SELECT '/*' || CAST(:x AS text) || '*/' AS v", X, "/*7*/"),
    "a body in dollars": ("SELECT $$it's :x$$ AS v", None, "it's :x"),
    "a body in dollars with a tag": ("SELECT $a$ $$ :x $b$ $a$ AS v", None, " $$ :x $b$ "),
    "a name with dollars": ("SELECT 7 AS a$b$, :x AS v", X, 7),
    "a cast": ("SELECT '7'::int AS v", None, 7),
    "a cast of a cast": ("SELECT '7'::text::int AS v", None, 7),
    "a cast with blanks": ("SELECT '7' :: int AS v", None, 7),
    "a CAST of a parameter": ("SELECT CAST(:x AS int) AS v", X, 7),
    "a slice": ("SELECT (ARRAY[1,2,3])[1:2] AS v", None, [1, 2]),
    "a slice with a list of values": ("SELECT (ARRAY[1,2,3])[2:3] AS v, :1 AS w", [5], [2, 3]),
    "a slice without a beginning": ("SELECT (ARRAY[1,2,3])[:2] AS v", None, [1, 2]),
    "a slice without an end": ("SELECT (ARRAY[1,2,3])[2:] AS v", None, [2, 3]),
    "a slice of columns": ("SELECT a[lo:hi] AS v FROM (SELECT ARRAY[1,2,3] AS a, 1 AS lo, 2 AS hi) t", None, [1, 2]),
    "a slice of columns with blanks": ("SELECT a[lo :hi] AS v FROM (SELECT ARRAY[1,2] AS a, 1 AS lo, 2 AS hi) t", None, [1, 2]),
    "a slice of sums": ("SELECT (ARRAY[1,2,3])[(1+0):(1+1)] AS v", None, [1, 2]),
    "a slice up to a parameter": ("SELECT (ARRAY[1,2,3])[1 : :x] AS v", {"x": 2}, [1, 2]),
    "a slice up to a column, beside a parameter of its name": (
        "SELECT a[1 :x] AS v, :x AS w FROM (SELECT ARRAY[1,2] AS a, 1 AS x) t", X, [1],
    ),
    "a choice in an array": ("SELECT ARRAY[CASE WHEN true THEN :x ELSE :y END] AS v", {"x": 7, "y": 8}, [7]),
    "a slice of parameters": ("SELECT (ARRAY[1,2,3])[:x : :y] AS v", {"x": 1, "y": 2}, [1, 2]),
    "a slice of what CASE chooses": (
        "SELECT (ARRAY[1,2,3])[CASE WHEN true THEN :x END :hi] AS v FROM (SELECT 2 AS hi) t", {"x": 1}, [1, 2],
    ),
    "a slice of sums by another operator": (
        "SELECT a[1 OPERATOR(pg_catalog.+) lo :hi] AS v FROM (SELECT ARRAY[1,2,3] AS a, 1 AS lo, 3 AS hi) t", None, [2, 3],
    ),
    "a slice of a column that is called as a word is": (
        "SELECT a[t.end :t.limit] AS v FROM (SELECT ARRAY[1,2] AS a, 1 AS end, 1 AS limit) t", None, [1],
    ),
    "a slice of a column that is called as a type is": (
        "SELECT a[date :2] AS v FROM (SELECT ARRAY[1,2,3] AS a, 1 AS date) t", None, [1, 2],
    ),
    "a slice of a slice": ("SELECT (ARRAY[[1,2],[3,4]])[1:2][2:2] AS v", None, [[2], [4]]),
    "a slice of a cast": ("SELECT (ARRAY[1,2,3])['1'::int :2] AS v", None, [1, 2]),
    "a slice of a slice's member": ("SELECT (ARRAY[1,2,3])[(ARRAY[1,2])[1] :x] AS v FROM (SELECT 2 AS x) t", None, [1, 2]),
    "a zone in an array": ("SELECT (ARRAY[time '10:30' AT TIME ZONE :x])[1] IS NOT NULL AS v", {"x": "UTC"}, True),
    "a literal of a type in an array": ("SELECT ARRAY[DATE :x] AS v", {"x": "2026-01-31"}, ["2026-01-31"]),
    "a literal of a type of two words in an array": ("SELECT ARRAY[double precision :x] AS v", {"x": "1.5"}, [1.5]),
    "a literal of a type with a length in an array": ("SELECT ARRAY[time(0) :x] AS v", {"x": "10:30:00"}, ["10:30:00"]),
    "a pattern in an array": ("SELECT ARRAY['x' SIMILAR TO :x] AS v", {"x": "x"}, [True]),
    "an escape in an array": ("SELECT ARRAY['x' LIKE 'x' ESCAPE :x] AS v", {"x": "!"}, [True]),
    "a limit in an array": ("SELECT ARRAY[(SELECT 1 FETCH FIRST :x ROWS ONLY)] AS v", {"x": 1}, [1]),
    "a condition in an array": ("SELECT ARRAY[(SELECT 1 HAVING :x)] AS v", {"x": True}, [1]),
    "a parameter behind a name in an array of a select": (
        "SELECT ARRAY(SELECT n FROM (VALUES (1)) t(n) OFFSET :x) AS v", {"x": 0}, [1],
    ),
    "an array in an array": ("SELECT ARRAY[[1, :x], [DATE :d - DATE :d, 4]] AS v", {"x": 2, "d": "2026-01-31"}, [[1, 2], [0, 4]]),
    "an array in lower case, behind a blank": ("SELECT array /* */ [DATE :x] AS v", {"x": "2026-01-31"}, ["2026-01-31"]),
    "a literal in parentheses in a subscript": (
        "SELECT (ARRAY[1,2])[(DATE :x - DATE '2026-01-30')] AS v", {"x": "2026-01-31"}, 1,
    ),
    "a literal in a call in a subscript": ("SELECT (ARRAY[1,2])[date_part('month', DATE :x)] AS v", {"x": "2026-01-31"}, 1),
    "a select in a subscript": ("SELECT (ARRAY[1,2])[(SELECT 1 FETCH FIRST :x ROWS ONLY)] AS v", {"x": 1}, 1),
    "a choice in a subscript": (
        "SELECT (ARRAY[1,2])[CASE DATE '2026-01-31' WHEN DATE :x THEN :y ELSE :z END] AS v",
        {"x": "2026-01-31", "y": 2, "z": 1}, 2,
    ),
    "a choice in a choice in a subscript": (
        "SELECT (ARRAY[1,2])[CASE WHEN true THEN CASE WHEN NOT :x THEN INT :y END END] AS v", {"x": False, "y": "2"}, 2,
    ),
    "a zone in a subscript": (
        "SELECT (ARRAY[1,2])[date_part('day', now() AT TIME ZONE :x)::int * 0 + 1 : :y] AS v", {"x": "UTC", "y": 1}, [1],
    ),
    "another operator in a subscript": ("SELECT (ARRAY[1,2])[1 OPERATOR(pg_catalog.+) :x] AS v", {"x": 1}, 2),
    "a subscript by a parameter": ("SELECT (ARRAY[1,2,3])[:x] AS v", {"x": 2}, 2),
    "an array of parameters": ("SELECT ARRAY[:x, :y, f(:x)] AS v".replace("f(", "abs("), {"x": 7, "y": 8}, [7, 8, 7]),
    "JSON in a string": ("SELECT ('{\"a\":true,\"b\":[1]}'::jsonb)->'b' AS v", None, [1]),
    "JSON with a name in it": ("SELECT '{\"a\":x}' || :x AS v", {"x": ""}, '{"a":x}'),
    "a question mark": ("SELECT '{\"a\": 1}'::jsonb ? 'a' AS v", None, True),
    "a question mark with a parameter": ("SELECT CAST(:x AS jsonb) ? 'a' AS v", {"x": {"a": 1}}, True),
    "question marks and bars": ("SELECT '{\"a\": 1}'::jsonb ?| ARRAY[:x] AS v", {"x": "a"}, True),
    "operators of JSON": ("SELECT '{\"a\": {\"b\": 7}}'::jsonb #>> '{a,b}' AS v", None, "7"),
    "a path of JSON": ("SELECT jsonb_path_exists('[7]', '$[*] ? (@ > 5)') AS v", None, True),
    "a per cent of a value": ("SELECT 7 % 4 AS v", None, 3),
    "a per cent with a parameter": ("SELECT :x % 4 AS v", X, 3),
    "per cents in a string": ("SELECT '100%' || '%s %(x)s %%' || :x AS v", {"x": "%"}, "100%%s %(x)s %%%"),
    "a per cent in a comment": ("SELECT :x /* 100% */ AS v -- 5%s", X, 7),
    "a per cent in a body": ("SELECT $$%s$$ || :x AS v", {"x": ""}, "%s"),
    "a per cent in a name": ('SELECT 7 AS "100%", :x AS v', X, 7),
    "LIKE": ("SELECT 'abc' LIKE :x || '%' AS v", {"x": "a"}, True),
    "a colon that is escaped": ("SELECT '\\:x' AS v", None, ":x"),
    "a time": ("SELECT '10:30:00' AS v, :x AS w", X, "10:30:00"),
    "an interval and a format": ("SELECT to_char(time '10:30', 'HH24:MI:SS') AS v", None, "10:30:00"),
    "a named argument": ("SELECT make_interval(hours := :x) = '7h' AS v", X, True),
    "a parameter behind an operator": ("SELECT 8-:x AS v", X, 1),
    "a parameter behind a comment": ("SELECT/**/:x AS v", X, 7),
    "a parameter that is used twice": ("SELECT :x + :x AS v", X, 14),
    "a parameter whose name begins another's": ("SELECT :x + :xy AS v", {"x": 1, "xy": 2}, 3),
    "a parameter of other letters": ("SELECT :größe AS v", {"größe": 7}, 7),
    "a regular expression with a class": ("SELECT 'a1' ~ '^[[:alpha:]][[:digit:]]$' AS v", None, True),
    "a literal of Unicode": ("SELECT U&'\\0041:x' AS v", None, "A:x"),
    "a value that looks like SQL": ("SELECT :x AS v", {"x": "'; -- :y $$ %s"}, "'; -- :y $$ %s"),
    "a value with a backslash": ("SELECT :x AS v", {"x": "\\' \\:x"}, "\\' \\:x"),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "parameters", "value"), VALUES.values(), ids=VALUES)
def test_postgresql_gets(run, statement, parameters, value):
    assert run(statement, parameters)["rows"][0]["v"] == value


def test_every_word_that_postgresql_reserves_is_a_value_or_leaves_one_open(run):
    values = {
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_time",
        "current_timestamp",
        "current_user",
    }
    values |= {"localtime", "localtimestamp", "session_user", "system_user", "user", "true", "false", "null", "end"}
    values |= {"isnull", "notnull"}
    rows = run("SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')")["rows"]
    assert {row["word"] for row in rows} - values <= OPEN_WORDS
    assert not OPEN_WORDS & values


def test_bodies_of_functions_and_do_keep_what_they_hold(run):
    run("DO $body$ DECLARE n int := 7; BEGIN IF n % 4 = 3 THEN RAISE NOTICE 'at % :x', n; END IF; END $body$")
    run("CREATE FUNCTION pg_temp.f(x int) RETURNS text LANGUAGE sql AS $$ SELECT ':x' || (x::text) || '%' $$; SELECT 1")


def test_copy_on_the_server_keeps_its_colons(run):
    """Whether the role may is the server's to say."""
    with pytest.raises(OperatorFailed, match="answered: permission denied to COPY to or from an external program"):
        run("CREATE TABLE copied (a text); COPY copied FROM PROGRAM 'echo a:b' WITH (FORMAT csv, DELIMITER ':')")


REFUSED = {
    "a parameter without a value": ("SELECT :x", {}, "The statement has a parameter ':x' without a value; for a literal colon"),
    "a value without a parameter": (
        "SELECT :x", {"x": 1, "z": 2}, "The statement has no parameter ':z' outside of quotes and comments; it has :x.",
    ),
    "a value for a name in a string": (
        "SELECT ':x'", {"x": 1}, "The statement has no parameter ':x' outside of quotes and comments; it has none.",
    ),
    "a value for a name in a comment": ("SELECT 1 -- :x", {"x": 1}, "The statement has no parameter ':x' outside of quotes"),
    "a value for a name in a body": ("SELECT $$:x$$", {"x": 1}, "The statement has no parameter ':x' outside of quotes"),
    "too many values": ("SELECT :1", [1, 2], "The statement has no parameter ':2' outside of quotes and comments; it has :1."),
    "too few values": ("SELECT :1, :2", [1], "The statement has a parameter ':2' without a value"),
    "values for none": ("SELECT 1", [1], "The statement has no parameter ':1' outside of quotes and comments; it has none."),
    "a second set without a value": ("SELECT :x", [{"x": 1}, {}], "The statement has a parameter ':x' without a value"),
    "a second set with another": ("SELECT :x", [{"x": 1}, {"x": 1, "y": 2}], "The statement has no parameter ':y' outside of"),
    "a value for the end of a slice": (
        "SELECT a[1:x]", {"x": 1},
        "':x' behind a value is the end of a slice or the value of a key; for a parameter write ': :x' there, or CAST(:x AS …)",
    ),
    "a value for a literal of a type in a subscript": (
        "SELECT a[date :x]", {"x": 1}, "':x' behind a value is the end of a slice",
    ),
    "a value for the value of a key": ("SELECT JSON_OBJECT('a':x)", {"x": 1}, "':x' behind a value is the end of a slice"),
    "a cast of a parameter": ("SELECT :x::date", {"x": 1}, "Write CAST(:x AS …) instead of :x::…, which is ambiguous."),
    "rows from a client": (
        "COPY t FROM stdin;\n1\t10:30\n\\.", {}, "COPY with STDIN needs a client that sends or takes the rows, and here is none;",
    ),
    "rows to a client": ("copy t (a) TO STDOUT WITH (FORMAT csv)", {}, "COPY with STDOUT needs a client that sends or takes"),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "parameters", "sentence"), REFUSED.values(), ids=REFUSED)
def test_one_sentence_refuses(run, statement, parameters, sentence):
    with pytest.raises(InvalidTask) as caught:
        run(statement, parameters)
    assert str(caught.value).startswith(sentence)


def test_what_is_not_closed_is_left_to_the_database(run):
    for statement in ("SELECT ':x", "SELECT 1 /* :x", "SELECT $a$ :x", 'SELECT ":x'):
        with pytest.raises(OperatorFailed, match="The database of connection 'shop' answered: unterminated "):
            run(statement)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_in_any_quotes_reaches_postgresql_as_it_is(run, text):
    text = re.sub(r"\\+:", "", text)  # the one escape, which holds everywhere
    plain = text.replace("'", "''")
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    statement = f"SELECT '{plain}' AS a, E'{escaped}' AS b, $q$ {text} $q$ AS c, :x AS d"
    wanted = {"a": text, "b": text.replace("\\:", ":"), "c": f" {text} ", "d": text}
    if "$q$" not in text:
        assert run(statement, {"x": text})["rows"] == [wanted]


@given(st.text(st.sampled_from("ab1:'\"$\\-/*[]()%?,; \n`#=E"), max_size=40))
def test_the_tokens_are_the_whole_text(text):
    for grammar in GRAMMARS:
        assert "".join(token.text for token in read_sql(text, grammar).tokens) == text


@given(st.text(st.sampled_from("ab1:'\"$\\-/*[]()%?,; \n`#=E"), max_size=40))
@settings(max_examples=500)
def test_a_text_without_values_is_compiled_to_itself(text):
    read = read_sql(text, POSTGRESQL)
    compiled = str(sa.text(read.template(())).compile(dialect=sa.dialects.postgresql.psycopg2.dialect()))
    assert compiled.replace("%%", "%") == re.sub(r"(?<!\\)((?:\\\\)*)\\:", r"\1:", text)


OPEN = (
    "DATE",
    "interval",
    "double precision",
    "a AT TIME ZONE",
    "a LIKE b ESCAPE",
    "NOT",
    "a = ANY",
    "a COLLATE c <",
    "1 +",
    "a,",
)
AROUND = (
    "ARRAY[{}]",
    "ARRAY[[b], [{}]]",
    "({})",
    "f(b, {})",
    "a[({})]",
    "a[f({})]",
    "a[CASE WHEN {} THEN b[1:2] END]",
    "a[b : ({})]",
)


@given(st.sampled_from(OPEN), st.lists(st.sampled_from(AROUND), min_size=1), st.sampled_from([" ", "\n", " /* */ ", " -- [\r"]))
def test_a_parameter_behind_any_word_is_one_in_any_brackets_but_a_subscript_s_own(words, around, blank):
    text = f"{words}{blank}:x"
    for each in around:
        text = each.format(text)
    read = read_sql(f"SELECT {text}", POSTGRESQL)
    assert (read.wanted, read.colons) == ({"x"}, {"2"} & read.colons)


def test_a_long_text_is_read_in_no_time_to_speak_of():
    for text in (
        "'" * 200_001,
        "/*" * 100_000,
        "$a" * 100_000,
        ":x" * 100_000,
        "[" * 200_000,
        "a[CASE " * 50_000,
        "E'a'\n" * 50_000,
        "(" * 200_000,
        "\\" * 200_000,
        "copy " * 40_000,
    ):
        read_sql(text, POSTGRESQL).template({"x"})


OTHERS = {
    "a key of PostgreSQL's JSON_OBJECT": ("postgresql", "SELECT JSON_OBJECT('a':x, 'b' : y, 'c': :y)", {"y"}),
    "an operator and a parameter of PostgreSQL": ("postgresql", "SELECT a->:x, b #>>:y, c?:z, (d)::int", {"x", "y", "z"}),
    "operators of several words in a subscript": (
        "postgresql",
        "SELECT a[b AT TIME ZONE :u], a[b BETWEEN :v AND :w], a[b LIKE c ESCAPE :x], a[b IS NOT DISTINCT FROM :y], a[NOT :z]",
        {"u", "v", "w", "x", "y", "z"},
    ),
    "slices that blanks and comments part": ("postgresql", "SELECT a[b /* */ :c], a[b.c :c], a[b->c\n:c], a[f(:x) :c]", {"x"}),
    "brackets that do not match": ("postgresql", "SELECT a[(b] :x, CASE ]) END :z", {"x", "z"}),
    "a string of bits, of PostgreSQL": ("postgresql", "SELECT B'01' || :y, X'1F', N':x'", {"y"}),
    "dollars that are no quotes of PostgreSQL": ("postgresql", "SELECT $1, a$x$ , :y, b$x$", {"y"}),
    "a label of PL/pgSQL": ("postgresql", "DO $$ <<a>> BEGIN x:=:y; END $$", set()),
    "an escaped colon": ("postgresql", "SELECT \\:x, :y", {"y"}),
    "a backslash of MySQL": ("mysql", "SELECT 'it\\'s :x', :y", {"y"}),
    "a comment of MySQL": ("mariadb", "SELECT 1 # :x\n, :y", {"y"}),
    "two dashes of MySQL that are none": ("mysql", "SELECT 5--:y", {"y"}),
    "a name of MySQL": ("mysql", "SELECT `:x`, :y", {"y"}),
    "a comment of MySQL that ends with the first": ("mysql", "/* /* :x */ SELECT :y", {"y"}),
    "a backslash of SQLite": ("sqlite", "SELECT 'C:\\', :y", {"y"}),
    "a name of SQLite": ("sqlite", "SELECT [:x], :y", {"y"}),
    "a name of SQL Server": ("mssql", "SELECT [a:b :x], :y /* /* */ :z */", {"y"}),
    "a backtick of PostgreSQL, which is an operator": ("postgresql", "SELECT a ` :x, b `:y", {"x", "y"}),
    "a comment of MySQL that is executed": ("mysql", "SELECT 1 /*! + :x */ /*!80000+ :y*/ /*!99999 ':a' */ /* :b */", {"x", "y"}),
    "a comment of MySQL that is executed, with a name at once": ("mysql", "SELECT /*!:x*/ + 1 /*!80000:y*/", {"x", "y"}),
    "a hint of MySQL, and a comment of MariaDB": ("mysql", "SELECT /*+ :x */ /*M! :z */ :y", {"y"}),
    "a comment of MariaDB that is executed": ("mariadb", "SELECT 1 /*M! + :x */ /*M!100100 + :y */ /*! + :z */", {"x", "y", "z"}),
    "a comment of others that looks executed": ("sqlite", "SELECT 1 /*! :x */, :y", {"y"}),
    "a body of Snowflake": ("snowflake", "SELECT $$it's :x$$, :y", {"y"}),
    "a body of DuckDB": ("duckdb", "SELECT $$:x$$, $a$ :x $$ $a$, e'\\':x', :y", {"y"}),
    "a list and a struct of DuckDB": ("duckdb", "SELECT [:x, DATE :y], {'a': :z, 'b':c}, [DATE :w]", {"x", "y", "z", "w"}),
    "a carriage return in a comment of SQLite": ("sqlite", "SELECT 1 -- \r :x", set()),
    "quotes of choice of Oracle": (
        "oracle",
        "SELECT q'[it's :a]', Q'{:b'}', nq'(:c')', q'<:d>', q'!:e'f!', NQ'\":g\"', :y FROM dual",
        {"y"},
    ),
    "a quote of choice of Oracle in itself": ("oracle", "SELECT q'[ [:a] ' ]', :y, q'x:bx', faq':c', q' :d'", {"y"}),
    "a quote of choice of Oracle that does not end": ("oracle", "SELECT :y, q'[ :a '", {"y"}),
    "dollars of Oracle": ("oracle", "SELECT :x FROM v$a$$ WHERE b = :y", {"x", "y"}),
    "a quote of choice elsewhere": ("postgresql", "SELECT q'[it' || :x || ']'", {"x"}),
    "a string of Oracle": ("oracle", "SELECT ':x', :y FROM dual", {"y"}),
    "dollars of SQL Server": ("mssql", "SELECT $1, :y", {"y"}),
}


@pytest.mark.parametrize(("database", "statement", "names"), OTHERS.values(), ids=OTHERS)
def test_other_databases_have_their_own_quotes(database, statement, names):
    assert read_sql(statement, grammar_of(database)).wanted == names


def test_what_another_database_may_mean_is_taken_at_the_door(operators):
    """Where the connection is not known, as where a task is enqueued."""
    there = load({})
    there.check("sql", {"connection": "c", "statement": "SELECT 'it\\'s :x' , :y", "parameters": {"y": 1}})
    with pytest.raises(InvalidTask, match="without a value"):
        there.check("sql", {"connection": "c", "statement": "SELECT :x"})


def test_sqlite_gets_its_parameters(run):
    row = run("SELECT ':x' AS a, :x AS b, '100%' AS c, '?' AS d, \"[:x]\" AS e FROM (SELECT 1 AS \"[:x]\") -- :y", X, "lite")
    assert row == {"rows": [{"a": ":x", "b": 7, "c": "100%", "d": "?", "e": 1}]}


def test_a_select_with_a_verb_in_a_string_is_read_by_a_cursor(run):
    """So it does not fill the memory either."""
    with pytest.raises(OperatorFailed, match="The result is larger than"):
        run("SELECT 'insert; into' AS v, repeat('x', 1000) AS w, generate_series(1, 1000000000) AS n -- update;")


SECRETS = ("s3cret", "b0b", "h1dden", "shopdb", "127.0.0.2", "5999", "0pt", "inner")
URLS = {
    "nobody listens": "postgresql://b0b:s3cret@127.0.0.2:5999/shopdb",
    "nobody listens at any of three": "postgresql://b0b:s3cret@/shopdb?host=127.0.0.2,inner.invalid,h1dden.invalid&port=5999,1,1",
    "nobody knows the host": "postgresql://b0b:s3cret@inner.invalid:5999/shopdb",
    "no such socket": "postgresql://b0b:s3cret@/shopdb?host=/h1dden/inner&port=5999",
    "an option that is none": "postgresql://b0b:s3cret@127.0.0.2:5999/shopdb?0pt=h1dden",
    "an option of another kind": "postgresql://b0b:s3cret@127.0.0.2:5999/shopdb?sslmode=h1dden",
    "a certificate that is not there": "postgresql://b0b:s3cret@localhost/shopdb?sslmode=verify-full&sslrootcert=/h1dden/0pt.pem",
    "a time-out that is none": "postgresql://b0b:s3cret@127.0.0.2:5999/shopdb?keepalives=h1dden",
    "a service that is none": "postgresql://b0b:s3cret@127.0.0.2:5999/shopdb?service=h1dden",
    "a password in the query": "postgresql://b0b@127.0.0.2:5999/shopdb?password=s3cret",
    "a file that is not there": "sqlite:////h1dden/inner/shopdb",
}


@pytest.mark.parametrize("address", URLS.values(), ids=URLS)
def test_no_part_of_the_url_is_shown_where(address):
    with pytest.raises((OperatorFailed, InvalidTask)) as caught:
        load({"connections": {"c": address}}).run("sql", {"connection": "c", "statement": "SELECT 1"})
    said = str(caught.value)
    assert said.startswith(("The database of connection 'c' answered: ", "The URL of connection 'c' has options"))
    assert len(said) > len("The database of connection 'c' answered: .")
    assert not [part for part in SECRETS if part in said], said
    assert said.isprintable()
    assert caught.value.__cause__ is None


@pytest.fixture(scope="module")
def limited(url):
    """A role that may log in, and nothing more; and its URL."""
    role, parts = f"b0b_{os.urandom(4).hex()}", sa.make_url(url)
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD 's3cret'")
    connection.close()
    yield role, parts.set(username=role, password="s3cret")
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP ROLE {role}")
    connection.close()


@pytest.mark.parametrize(
    ("change", "statement"),
    [
        ({"password": "wr0ng"}, "SELECT 1"),
        ({"database": "nosuchdb"}, "SELECT 1"),
        ({}, "SELECT current_user::text::int"),
        ({}, "SELECT current_database()::text::int"),
        ({}, "CREATE SCHEMA mine"),
        ({}, "DO $$ BEGIN RAISE EXCEPTION '%', session_user; END $$"),
        ({}, "DO $$ BEGIN RAISE EXCEPTION '%', current_database(); END $$"),
    ],
    ids=[
        *("a wrong password", "no such database", "the user as a number", "the database as a number", "no right to a schema"),
        *("the user in an error", "the database in an error"),
    ],
)
def test_user_password_and_database_are_not_in_what_the_server_says(limited, change, statement):
    role, parts = limited
    address = parts.set(**change)
    operators = load({"connections": {"c": address.render_as_string(hide_password=False)}})
    with pytest.raises(OperatorFailed, match="The database of connection 'c' answered: ") as caught:
        operators.run("sql", {"connection": "c", "statement": statement})
    said = str(caught.value)
    assert "***" in said
    for part in (role, "s3cret", "wr0ng", address.database):
        assert part not in said


def test_what_the_statement_says_itself_is_shown(limited, url):
    """Nobody is told by it, and an error without it would not be understood."""
    role, parts = limited
    operators = load({"connections": {"c": parts.render_as_string(hide_password=False)}})
    with pytest.raises(OperatorFailed, match=f'relation "{role}" does not exist'):
        operators.run("sql", {"connection": "c", "statement": f"SELECT * FROM {role}"})


@pytest.mark.parametrize("statement", ["SELECT 1 AS {}s", "SELECT 1 AS my_{}", "SELECT 'x{}' AS v", "SELECT 1 /* {}1 */"])
def test_a_part_of_the_url_within_a_word_of_the_statement_is_not_its_word(limited, statement):
    role, parts = limited
    operators = load({"connections": {"c": parts.render_as_string(hide_password=False)}})
    raising = "; DO $$ BEGIN RAISE EXCEPTION 'by %', session_user; END $$"
    with pytest.raises(OperatorFailed, match=r"answered: by \*\*\*\.$"):
        operators.run("sql", {"connection": "c", "statement": statement.format(role) + raising})


OPTIONS = {
    "a setting": ("-csearch_path=h1dden", "search_path", "***"),
    "a setting with a blank": ("-c search_path=h1dden", "search_path", "***"),
    "a setting of two dashes": ("--search_path=h1dden", "search_path", "***"),
    "a second setting": ("-cwork_mem=9999kB -c search_path=h1dden", "search_path", "***"),
    "a list": ("-csearch_path=h1dden,inner", "search_path", "***"),
    "a value with a blank that is escaped": ("-cshop.place=h1dden\\ inner", "shop.place", "***"),
    "one of a list": ("-csearch_path=h1dden,inner", "search_path", "***", "split_part(current_setting('search_path'), ',', 2)"),
    "one of a list with quotes": (
        '-csearch_path="h1dden",\\ inner', "search_path", '"***"', "split_part(current_setting('search_path'), ',', 1)",
    ),
    "a setting of one's own": ("-cshop.place=h1dden", "shop.place", "***"),
    "a number": ("-cstatement_timeout=77777", "statement_timeout", "77777ms"),
    "a switch": ("-cjit=off", "jit", "off"),
}  # fmt: skip


@pytest.mark.parametrize("case", OPTIONS.values(), ids=OPTIONS)
def test_options_of_the_url_are_not_in_what_the_server_says(url, case):
    options, setting, shown, *expression = case
    address = sa.make_url(url).update_query_dict({"options": options}).render_as_string(hide_password=False)
    asked = (expression or [f"current_setting('{setting}')"])[0]
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'it is %', {asked}; END $$"
    with pytest.raises(OperatorFailed) as caught:
        load({"connections": {"c": address}}).run("sql", {"connection": "c", "statement": statement})
    assert str(caught.value) == f"The database of connection 'c' answered: it is {shown}."


def test_words_of_every_connection_stay_in_what_the_server_says(url):
    address = sa.make_url(url).update_query_dict({"target_session_attrs": "primary"}).render_as_string(hide_password=False)
    statement = "CREATE TEMPORARY TABLE once (n int, CONSTRAINT one PRIMARY KEY (n), CONSTRAINT two PRIMARY KEY (n))"
    with pytest.raises(OperatorFailed, match="answered: multiple primary keys for table"):
        load({"connections": {"c": address}}).run("sql", {"connection": "c", "statement": statement})


def test_the_port_of_the_url_is_not_in_what_the_server_says(url):
    port = str(sa.make_url(url).port)
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'at %', convert_from(decode('{port.encode().hex()}', 'hex'), 'UTF8'); END $$"
    with pytest.raises(OperatorFailed, match=r"answered: at \*\*\*\.$"):
        load({"connections": {"c": url}}).run("sql", {"connection": "c", "statement": statement})


def test_neither_the_statement_nor_its_values_are_in_an_error(run):
    with pytest.raises(OperatorFailed) as caught:
        run("SELECT 1 / :zero AS quotient, :secret AS v", {"zero": 0, "secret": "t0psecret"})
    assert str(caught.value) == "The database of connection 'shop' answered: division by zero."


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_no_group_is_repeated_possessively_as_python_before_3_11_5_gets_it_wrong(grammar):
    assert not re.search(r"\)(?:[*+?]|\{[^}]*\})\+", grammar.pattern.pattern)


def test_controls_in_an_error_are_visible(run):
    with pytest.raises(OperatorFailed, match=r"answered: a\\x1b\[2J\\u202eb\.$"):
        run("DO $$ BEGIN RAISE EXCEPTION USING MESSAGE = U&'a\\001b[2J\\202eb'; END $$")

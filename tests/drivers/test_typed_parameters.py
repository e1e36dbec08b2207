"""Parameters as drivers type them: json, text, bigint, intervals. A call needs no cast for what its language has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import Any

import asyncpg
import pg8000.dbapi
import pg8000.native
import psycopg
import psycopg2
import psycopg2.extras
import pytest
import sqlalchemy as sa
from psycopg.types.json import Json, Jsonb

from drivers.looking import Look
from drivers.python_callers import engine_for, keywords
from drivers.toolchains import LANGUAGES, Parameter, Program, Request

ARGS = {"command": "true", "text": 'né € 😀 "quoted"'}
MOMENT = datetime(2100, 1, 2, 3, 4, 5, tzinfo=timezone.utc)  # noqa: UP017
MINUTE = timedelta(seconds=60)


def by_psycopg(url: str, queue: str, wrap: Callable[[Any], Any], options: dict[str, Any]) -> None:
    with psycopg.connect(url, **options) as connection:
        connection.execute(
            "SELECT halfstep.enqueue(%s, %s, queue => %s, priority => %s, timeout => %s, run_at => %s)",
            ["bash", wrap(ARGS), queue, 2**31 - 1, MINUTE, MOMENT],
        )


def by_psycopg2(url: str, queue: str, wrap: Callable[[Any], Any]) -> None:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT halfstep.enqueue(%s, %s, queue => %s, priority => %s, timeout => %s, run_at => %s)",
            ["bash", wrap(ARGS), queue, 2**31 - 1, MINUTE, MOMENT],
        )
        connection.commit()


def by_sqlalchemy(url: str, queue: str, driver: str) -> None:
    kinds = (sa.Text, sa.JSON, sa.String, sa.BigInteger, sa.Interval, sa.DateTime(timezone=True))
    values = ("bash", ARGS, queue, 2**31 - 1, MINUTE, MOMENT)
    names = ("operator", "args", "queue", "priority", "timeout", "run_at")
    sql = f"SELECT halfstep.enqueue({', '.join(f'{name} => :{name}' for name in names)})"
    bound = [sa.bindparam(name, value, kind) for name, value, kind in zip(names, values, kinds, strict=True)]
    with engine_for(url, driver) as engine, engine.begin() as connection:
        connection.execute(sa.text(sql).bindparams(*bound))


def by_sqlalchemys_functions(url: str, queue: str) -> None:
    with engine_for(url, "psycopg") as engine, engine.begin() as connection:
        task = connection.execute(sa.select(sa.func.halfstep.enqueue("bash", sa.cast(ARGS, sa.JSON), queue))).scalar_one()
        connection.execute(
            sa.text("UPDATE halfstep.task SET priority = 2147483647, timeout = 60, run_at = :m WHERE id = :t"),
            {"m": MOMENT, "t": task},
        )


def by_asyncpg(url: str, queue: str, kind: str, write: Callable[[Any], Any]) -> None:
    async def call() -> None:
        connection = await asyncpg.connect(url)
        named = "queue => $3, priority => $4::bigint, timeout => $5::interval, run_at => $6"
        sql = f"SELECT halfstep.enqueue($1, $2{kind}, {named})"
        await connection.fetchval(sql, "bash", write(ARGS), queue, 2**31 - 1, MINUTE, MOMENT)
        await connection.close()

    asyncio.run(call())


def by_pg8000(url: str, queue: str) -> None:
    with closing(pg8000.dbapi.connect(**keywords(url))) as connection:
        connection.cursor().execute(
            "SELECT halfstep.enqueue(%s, %s, queue => %s, priority => %s, timeout => %s, run_at => %s)",
            ("bash", json.dumps(ARGS), queue, 2**31 - 1, MINUTE, MOMENT),
        )
        connection.commit()


PYTHON: dict[str, Callable[[str, str], None]] = {
    "Json of psycopg": lambda url, queue: by_psycopg(url, queue, Json, {}),
    "Jsonb of psycopg": lambda url, queue: by_psycopg(url, queue, Jsonb, {}),
    "text of psycopg": lambda url, queue: by_psycopg(url, queue, json.dumps, {}),
    "Json of psycopg that binds on the client": lambda url, queue: by_psycopg(
        url, queue, Json, {"cursor_factory": psycopg.ClientCursor}
    ),
    "Json of psycopg2": lambda url, queue: by_psycopg2(url, queue, psycopg2.extras.Json),
    "text of psycopg2": lambda url, queue: by_psycopg2(url, queue, json.dumps),
    "JSON of SQLAlchemy on psycopg2": lambda url, queue: by_sqlalchemy(url, queue, "psycopg2"),
    "JSON of SQLAlchemy on psycopg": lambda url, queue: by_sqlalchemy(url, queue, "psycopg"),
    "JSON of SQLAlchemy on pg8000": lambda url, queue: by_sqlalchemy(url, queue, "pg8000"),
    "a function of SQLAlchemy": by_sqlalchemys_functions,
    "text of asyncpg": lambda url, queue: by_asyncpg(url, queue, "", json.dumps),
    "json of asyncpg": lambda url, queue: by_asyncpg(url, queue, "::json", json.dumps),
    "text of pg8000": by_pg8000,
}


@pytest.mark.parametrize("call", PYTHON.values(), ids=list(PYTHON))
def test_in_python_a_task_is_the_same_by(call: Callable[[str, str], None], drivers_url: str, look: Look) -> None:
    call(drivers_url, look.queue)
    task = look.task()
    assert (task["args"], task["priority"], task["timeout"], task["run_at"]) == (ARGS, 2**31 - 1, 60, MOMENT)


FORMS = {
    "as the language types them": ("{2}", "{4}", "CAST({5} AS interval)"),
    "json": ("CAST({2} AS json)", "CAST({4} AS bigint)", "CAST({5} AS interval)"),
    "jsonb": ("CAST({2} AS jsonb)", "CAST({4} AS integer)", "extract(epoch FROM CAST({5} AS interval))"),
    "text": ("CAST(CAST({2} AS json) AS text)", "CAST({4} AS bigint)", "CAST(CAST({5} AS interval) AS text)"),
}
MODES = {"Go": ("", "exec", "simple"), "Java": ("", "unspecified"), "Node": ("",)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("language", "mode"),
    [(language, mode) for language in LANGUAGES for mode in MODES[language]],
    ids=lambda word: word or "as usual",
)
def test_in_other_languages_a_task_is_the_same_with(
    programs: Callable[[str], Program], language: str, mode: str, form: str, drivers_url: str, look: Look
) -> None:
    program = programs(language)
    marks = {str(n): program.mark(n) for n in range(1, 6)}
    args, priority, timeout = FORMS[form]
    sql = f"SELECT halfstep.enqueue({{1}}, {args}, queue => {{3}}, priority => {priority}, timeout => {timeout})"
    for n, mark in marks.items():
        sql = sql.replace(f"{{{n}}}", mark)
    # pgx writes a map only where the server has told it that the parameter is one of JSON; others pass text.
    as_text = language == "Go" and (mode or form == "as the language types them")
    given = ("text", json.dumps(ARGS)) if as_text else ("json", ARGS)
    values = [("text", "bash"), given, ("text", look.queue), ("bigint", 7), ("seconds", 90)]
    answer = program.ask(drivers_url, Request(sql, [Parameter(*value) for value in values], mode=mode))
    assert answer.message is None
    task = look.task()
    assert (task["args"], task["priority"], task["timeout"]) == (ARGS, 7, 90)

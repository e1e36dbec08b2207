"""One database for all drivers: each test has a queue of its own there, so that nothing has to be emptied between them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from drivers.looking import Look
from drivers.toolchains import LANGUAGES, MissingToolchain, Program
from halfstep.database import Database


@pytest.fixture(scope="session")
def drivers_url(server: Any) -> Iterator[str]:
    """A migrated database for the tests of this folder."""
    name = server.make_database()
    yield server.url(name)
    server.drop(name)


@pytest.fixture(scope="session")
def onlooker(drivers_url: str) -> Iterator[Database]:
    """A connection of its own: what it sees is committed."""
    with closing(Database(drivers_url)) as database:
        yield database


@pytest.fixture
def look(onlooker: Database) -> Look:
    """What is committed to the queue of this test."""
    return Look(onlooker, f"q{secrets.token_hex(6)}")


@pytest.fixture(scope="session")
def programs() -> Iterator[Callable[[str], Program]]:
    """The program of a language; one serves all tests."""
    running: dict[str, Program] = {}
    missing: dict[str, str] = {}
    with ExitStack() as stack:

        def start(language: str) -> Program:
            if language in missing:
                pytest.skip(missing[language])
            if language not in running:
                try:
                    running[language] = LANGUAGES[language]()
                except MissingToolchain as error:
                    missing[language] = str(error)
                    pytest.skip(missing[language])
                stack.callback(running[language].close)
            return running[language]

        yield start

"""The SQL files: each promises something in its first line, is used, and names its parameters."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from halfstep.queue import Queue
from halfstep.statements import migrations, statement

ROOT = Path(str(files("halfstep")))
NAMES = sorted(path.stem for path in (ROOT / "sql").glob("*.sql"))
VERBS = ["exchange", "retry", "release", "rescue", "renew", "promote", "cancel", "pause", "measure"]


@pytest.mark.parametrize("name", NAMES)
def test_the_first_line_is_a_promise(name: str) -> None:
    assert re.match(r"-- [A-Z].{10,}", statement(name))
    assert "{task_columns}" not in statement(name)


def test_every_file_is_used() -> None:
    code = "\n".join(path.read_text() for path in ROOT.rglob("*.py"))
    assert [name for name in NAMES if f'"{name}"' not in code] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_a_file_and_a_method(verb: str) -> None:
    assert verb in NAMES
    assert callable(getattr(Queue, verb))


@pytest.mark.parametrize("name", NAMES)
def test_no_percent_sign_stands_alone(name: str) -> None:
    """The driver would take it for a parameter."""
    assert re.sub(r"%\(\w+\)s|%%", "", statement(name)).count("%") == 0


def test_migrations_are_numbered_without_gaps_and_state_the_oldest_code() -> None:
    found = migrations()
    assert [version for version, _, _ in found] == list(range(1, len(found) + 1))
    for version, _, text in found:
        stated = re.match(r"-- oldest code: (\d+)\n-- [A-Z]", text)
        assert stated is not None
        assert 1 <= int(stated[1]) <= version

"""The page of promises names tests; they have to exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "explanation" / "delivery.md"
LINE = re.compile(r"\| \[(?P<words>[^\]]+)\]\(\.\./\.\./tests/(?P<file>[\w/]+\.py)\) \|$", re.MULTILINE)
LINKS = [(found["file"], "test_" + found["words"].replace(" ", "_")) for found in LINE.finditer(PAGE.read_text())]


def test_every_failure_on_the_page_names_a_test() -> None:
    table = PAGE.read_text().partition("## What happens when")[2].partition("\n\nTests that show")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| When")]
    assert len(rows) == len(LINKS) > 20


@pytest.mark.parametrize(("file", "name"), LINKS)
def test_a_test_that_the_page_names_exists(file: str, name: str) -> None:
    assert f"def {name}(" in (TESTS / file).read_text()

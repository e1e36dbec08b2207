"""What the documentation says of the repository's own files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_dependency_has_its_reason_and_no_other_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    wanted += [each for extra in project["project"]["optional-dependencies"].values() for each in extra]
    names = {re.match(r"[A-Za-z0-9_-]+", each)[0] for each in wanted} - {"halfstep"}  # type: ignore[index]
    rows = re.findall(r"^\| ([^|]+) \| (?:core|build|`\[\w+\]`) \|", (ROOT / "docs/reference/dependencies.md").read_text(), re.M)
    assert {word.split()[0] for row in rows for word in row.split(", ") if "(by" not in word} == names

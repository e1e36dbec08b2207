"""The bars of isolation: no body harms another, nothing escapes, and what that costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from benchmarks import isolation_cost, isolation_escapes, isolation_mixed
from benchmarks.bars import Bar, Measure

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "tests" / "isolation"


def table_bars(url: str) -> list[Bar]:
    """The tables, which are tests: each file of the folder. The given database is not used."""
    return [_table(file) for file in sorted(TABLES.glob("test_*.py"))]


MEASUREMENTS: dict[str, Measure] = {
    "isolation tables": table_bars,
    **isolation_cost.MEASUREMENTS,
    **isolation_escapes.MEASUREMENTS,
    **isolation_mixed.MEASUREMENTS,
}


def _table(file: Path) -> Bar:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HALFSTEP_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    counts = re.findall(r"\d+ (?:passed|failed|errors?|skipped)", done.stdout.splitlines()[-1] if done.stdout else "")
    name = file.stem.removeprefix("test_").replace("_", " ")
    return Bar(f"table: {name}", ", ".join(counts) or "no tests", "no case differs", done.returncode == 0)

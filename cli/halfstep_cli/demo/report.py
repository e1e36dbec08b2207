"""What the demo prints at its end."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from halfstep.visible import visible_line
from halfstep_cli.demo.play import Outcome


def print_report(console: Console, folder: Path, outcome: Outcome) -> None:
    """The largest modules, the totals, the pace, how workers came and went, and where everything lies."""
    console.print(largest(outcome.results["largest"]))
    for line in [*totals(outcome), pace(outcome), scaling(outcome), *places(folder)]:
        console.print(visible_line(line), highlight=False, soft_wrap=True, markup=False)


def largest(rows: list[dict[str, Any]]) -> Table:
    """The table of the largest modules."""
    table = Table(title=f"The {len(rows)} largest modules", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("module", overflow="fold")
    for name in ("lines", "functions", "classes", "complexity", "documented"):
        table.add_column(name, justify="right")
    for row in rows:
        numbers = [f"{row[name]:,}" for name in ("lines", "functions", "classes", "complexity")]
        table.add_row(Text(visible_line(row["module"])), *numbers, f"{float(row['documented']):.0f} %")
    return table


def totals(outcome: Outcome) -> list[str]:
    """How much was read, and whether wc agrees."""
    row = outcome.results["totals"][0]
    words = f"{row['modules']} modules, {int(row['lines']):,} lines, {int(row['functions']):,} functions, by {row['python']}"
    words += f"; {row['unreadable']} could not be parsed" if row["unreadable"] else ""
    agrees = "the same" if int(row["wc_lines"]) == int(row["lines"]) else f"{int(row['wc_lines']):,}"
    return [f"{words}.", f"Lines as the bash tasks counted them: {agrees}."]


def pace(outcome: Outcome) -> str:
    """Tasks and their rate; what failed."""
    words = f"{outcome.tasks} tasks, {outcome.rate:.0f} tasks/s from the first start to the last end"
    return f"{words}; {outcome.failed} failed, first {outcome.failure}" if outcome.failed else f"{words}; none failed."


def scaling(outcome: Outcome) -> str:
    """How the workers scaled: 0 -> N -> 0."""
    most = max(there for _, there in outcome.scale)
    up = next(seconds for seconds, there in outcome.scale if there == most)
    gone = outcome.scale[-1][0]
    return f"Workers: 0 -> {most} after {up:.1f} s -> 0 after {gone:.1f} s, {gone - outcome.last_task:.1f} s after the last task."


def places(folder: Path) -> list[str]:
    """Where to look further."""
    data, program = shlex.quote(str(folder)), command(sys.argv[0])
    return [
        f"The database and the logs are kept in {folder}. To look around in them, start it, and leave it running:",
        f"  {program} up --data {data} --queues demo",
        "In another terminal:",
        f'  export HALFSTEP_DATABASE_URL="$(cat {data}/url)"',
        f"  {program} tasks; {program} queues",
    ]


def command(program: str) -> str:
    """How whoever started `program` calls the command again: by its name if a shell finds it, else by its path."""
    path = Path(program).absolute()
    if path.name != "halfstep":
        return f"{shlex.quote(sys.executable)} -m halfstep_cli.main"
    found = shutil.which("halfstep")
    return "halfstep" if found and Path(found).resolve() == path.resolve() else shlex.quote(str(path))

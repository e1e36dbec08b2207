"""`doctor`: each line ok, or what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from halfstep_cli.commands.checks import examine
from halfstep_cli.commands.findings import Finding, Patient
from halfstep_cli.commands.scaled_objects import Looking, examine_cluster
from halfstep_cli.errors import ExitCode
from halfstep_cli.options import Json, add
from halfstep_cli.output import is_terminal, plain, show_json
from halfstep_cli.session import Session

COLOURS = {"ok": "\033[32m", "no": "\033[31m", "--": "\033[33m"}


UnservedAfter = Annotated[
    float,
    typer.Option(
        "--unserved-after", metavar="SECONDS", min=0, max=86_400, help="How long a task may wait for somebody to serve it."
    ),
]


def doctor(session: Session, looking: Looking, unserved_after: UnservedAfter = 60.0, json: Json = False) -> int:
    """Look whether all is well.

    Each line says ok, or what to do. Exit code 0 if all is ok, else 1. With --kubernetes also the ScaledObjects that
    ask a scaler are read, and checked as the scaler checks them.
    """
    findings = []
    for finding in _findings(session, looking, unserved_after):
        findings.append(finding)
        if not json:
            _show(finding)
    well = all(finding.ok is not False for finding in findings)
    if json:
        show_json({"ok": well, "checks": [asdict(finding) for finding in findings]})
    return ExitCode.FINE if well else ExitCode.NO


def _findings(session: Session, looking: Looking, unserved_after: float) -> Iterator[Finding]:
    with session.open(checked=False) as database:
        yield from examine(Patient(database, session.direct_url, unserved_after))
    if looking.kubernetes:
        yield from examine_cluster(looking)


def _show(finding: Finding) -> None:
    mark = {True: "ok", False: "no", None: "--"}[finding.ok]
    coloured = f"{COLOURS[mark]}{mark}\033[0m" if is_terminal(sys.stdout) else mark
    advice = f" -> {finding.advice}" if finding.advice else ""
    print(f"{coloured}  {plain(finding.name)}: {plain(finding.detail)}{plain(advice)}", flush=True)


def register(app: typer.Typer) -> None:
    """doctor."""
    add(
        app,
        "doctor",
        doctor,
        examples=(
            "halfstep doctor",
            "halfstep doctor --json | jq '.checks[] | select(.ok == false)'",
            "halfstep doctor --kubernetes",
        ),
    )

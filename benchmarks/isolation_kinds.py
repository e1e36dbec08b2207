"""The tasks that `isolation_mixed` mixes: innocent ones of every operator, polluters, hostile values, and how each has to end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.isolation_values import VALUES
from benchmarks.pods_ground import shell
from isolation.polluters import POLLUTERS


@dataclass(frozen=True, slots=True)
class Kind:
    """`ends`: the first words of STATE or STATE:REASON that are right. `args`: JSON text, so that it can hold any number.

    result: of a success, where it is known. timeout: seconds.
    """

    name: str
    operator: str
    args: str
    ends: tuple[str, ...] = ("succeeded",)
    result: Any = None
    timeout: float | None = None
    placement: str = "worker"

    def complaint(self, row: Mapping[str, Any]) -> str:
        """What is wrong with how it ended; empty: nothing. row: of history."""
        end = row["state"] if row["state"] == "succeeded" else f"{row['state']}:{row['reason']}"
        if not end.startswith(self.ends):
            return f"{end} ({row['error']}) instead of {' or '.join(self.ends)}"
        if self.result is not None and row["state"] == "succeeded" and row["result"] != self.result:
            return f"result {str(row['result'])[:200]} instead of {self.result}"
        if row["state"] == "failed" and not row["error"]:
            return "failed without a word"
        return ""


def _python(function: str, *args: Any) -> str:
    return json.dumps({"function": function, "args": list(args)})


def innocent() -> Sequence[Kind]:
    """More often the cheaper they are."""
    fails = ("failed:exception",)
    calls = [Kind("python", "python", _python("isolation.witness_bodies:add", n, 1), result=n + 1) for n in range(20)]
    return [
        *calls,
        Kind("python that speaks", "python", _python("isolation.witness_bodies:speak")),
        Kind("python that fails", "python", _python("isolation.witness_bodies:fail"), fails),
        *[Kind("bash", "bash", '{"command": "echo last"}', result={"exit_code": 0, "last_line": "last"})] * 6,
        *[Kind("bash that fails", "bash", '{"command": "exit 3"}', fails)] * 3,
        Kind("script in python", "script", '{"path": "see.py"}'),
        Kind("script in bash", "script", '{"path": "see.sh"}'),
        *[Kind("sql", "sql", '{"connection": "here", "statement": "SELECT 1 AS n"}', result={"rows": [{"n": 1}]})] * 3,
        *[Kind("http", "http", '{"connection": "web", "url": "/hello"}')] * 3,
    ]


def polluters() -> Sequence[Kind]:
    """The table of tests/isolation."""
    found = [p for p in POLLUTERS if p.times == 1]
    return [Kind(p.name, p.operator, json.dumps(p.args), p.ends, timeout=p.timeout or 60.0) for p in found]


def hostile() -> Sequence[Kind]:
    """Values at the places where a worker takes them."""
    place = "benchmarks.isolation_values"
    digits = "1" + "0" * 5000
    ends = {"a cancel of half a text": ("cancelled",), "a success of 5,000 digits": ("succeeded", "failed")}
    returned = [
        Kind(f"returns {name}", "python", _python(f"{place}:returns", name), ends.get(name, ("failed",))) for name in VALUES
    ]
    return [
        *returned,
        Kind("raises what is no text", "python", _python(f"{place}:raises"), ("failed:exception",)),
        Kind("reports NaN", "python", _python(f"{place}:reports_nan"), ("failed",)),
        Kind("reports no JSON", "python", _python(f"{place}:reports_past_the_check", "{no json"), ("succeeded", "failed")),
        Kind("reports a half", "python", _python(f"{place}:reports_past_the_check", '"\\ud800\\u0000"'), ("succeeded", "failed")),
        Kind("says what is no text", "python", _python(f"{place}:says")),
        Kind("a large number", "python", f'{{"function": "{place}:takes", "args": [{digits}]}}', ("succeeded", "failed")),
        Kind("a number for bash", "bash", f'{{"command": "true", "env": {{"A": {digits}}}}}', ("failed",)),
        Kind("a number for sql", "sql", f'{{"connection": "here", "statement": "SELECT :n", "parameters": {{"n": {digits}}}}}',
             ("succeeded", "failed")),
        Kind("a result beyond all numbers", "sql", '{"connection": "here", "statement": "SELECT 10^5000 AS n"}',
             ("succeeded", "failed")),
        Kind("no such operator", "nonsense", "{}", ("failed:invalid",)),
        Kind("a path that leads out", "script", '{"path": "../../etc/passwd.sh"}', ("failed:invalid",)),
    ]  # fmt: skip


def pods() -> tuple[Sequence[Kind], Sequence[Kind]]:
    """Innocent pods, and templates that can never become one."""
    good = Kind("pod", "pod", json.dumps(shell("true")), placement="pod")
    bad = Kind("pod that fails", "pod", json.dumps(shell("exit 3")), ("failed",), placement="pod")
    digits = "1" + "0" * 5000
    templates = {
        "a number of 5,000 digits": f'{{"spec": {{"priority": {digits}}}}}',
        "a number as a label": f'{{"metadata": {{"labels": {{"a": {digits}}}}}}}',
        "a deep nest": '{"a": ' * 400 + "1" + "}" * 400,
        "a text that is no YAML": json.dumps("a: [b: {c"),
        "a text of anchors": json.dumps("a: &a [x]\nb: [*a, *a]\nc: !!python/object:os.system {}"),
        "a list": "[]",
    }
    hostile = [
        Kind(f"template with {name}", "pod", f'{{"image": "none", "template": {text}}}', ("failed:invalid",), placement="pod")
        for name, text in templates.items()
    ]
    return [good, good, bad], hostile

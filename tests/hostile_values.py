"""Values that can't be stored, or only by some databases, at every place where a worker writes what a body has said."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from halfstep.claims import Claim, Ending
from halfstep.outcomes import Cancelled, Failed, Retry, Succeeded
from halfstep.pods import PodRow
from halfstep_worker.desk import Outgoing, Release

MANY_DIGITS = 10**5000
"""Python refuses to write this down."""
DEEP = "[" * 200_000
INCOMPRESSIBLE = random.Random(1).randbytes(20_000).hex()
"""Too large for an index, in which reasons stand as labels."""
STORED = 1_700_000_000.5


@dataclass(frozen=True, slots=True)
class Case:
    """say: what the worker has to say of a claim. told: what stands in the report of its task then, of its log and its pod."""

    name: str
    say: Callable[[Claim], Outgoing]
    told: dict[str, Any]
    encoding: str = "UTF8"


def result(text: str) -> Callable[[Claim], Outgoing]:
    return ends(Succeeded(text))


def ends(outcome: Any, seconds: Any = 0.5) -> Callable[[Claim], Outgoing]:
    return lambda claim: Outgoing(endings=[Ending(claim, outcome, seconds)])


def retries(error: Any = "no", delay: Any = 3600.0, reason: Any = "exception") -> Callable[[Claim], Outgoing]:
    return lambda claim: Outgoing(retries=[(claim, Retry(error, delay, reason))])


def released(reason: Any) -> Callable[[Claim], Outgoing]:
    return lambda claim: Outgoing(releases=[Release(claim, reason, started=True)])


def progress(text: Any) -> Callable[[Claim], Outgoing]:
    return lambda claim: Outgoing(progress={claim.id: (claim, text)})


def logs(*lines: tuple[Any, ...]) -> Callable[[Claim], Outgoing]:
    return lambda claim: Outgoing(chunks=[chunk(claim, *lines)])


def line(text: Any, at: Any = STORED, stream: Any = "stdout") -> tuple[Any, Any, Any]:
    return at, stream, text


def chunk(claim: Claim, *lines: tuple[Any, ...]) -> dict[str, Any]:
    return {"task_id": claim.id, "attempt": claim.attempt, "chunk": 0, "lines": [list(line) for line in lines]}


def pod(**known: Any) -> Callable[[Claim], Outgoing]:
    return lambda claim: Outgoing(pods={claim.attempt_id: replace(pod_row(claim), **known)})


def pod_row(claim: Claim) -> PodRow:
    return PodRow(claim.attempt_id, claim.id, claim.attempt, "", "tasks", f"hs-{claim.attempt_id}", "u-1", {}, token=claim.token)


UNSTORABLE = {"state": "failed", "reason": "result", "error": "The result could not be stored: "}
RUNS = {"state": "running"}
AGAIN = {"state": "scheduled"}

ENDS = [
    Case("number beyond numeric", result("1e999999999"), UNSTORABLE),
    Case("half a record", result('{"a": '), UNSTORABLE),
    Case("open string", result('"'), UNSTORABLE),
    Case("nothing", result(""), UNSTORABLE),
    Case("another record", result('1},{"id":1'), UNSTORABLE),
    Case("escaped NUL", result('"\\u0000"'), UNSTORABLE),
    Case("NUL", result('"\0"'), UNSTORABLE),
    Case("escaped half of a pair", result('"\\ud800"'), UNSTORABLE),
    Case("half of a pair", result('"\ud800"'), UNSTORABLE),
    Case("NaN", result("NaN"), UNSTORABLE),
    Case("too deep", result(DEEP), UNSTORABLE),
    Case("no text at all", result(MANY_DIGITS), UNSTORABLE),  # type: ignore[arg-type]
    Case("NUL in an error", ends(Failed("a\0b", final=True)), {"state": "failed", "reason": "exception", "error": "a\\x00b"}),
    Case("half of a pair in an error", ends(Failed("a\udc80b")), {"state": "failed", "error": "a\\udc80b"}),
    Case("error that is a number", ends(Failed(MANY_DIGITS)), {"state": "failed", "error": "(int)"}),  # type: ignore[arg-type]
    Case("error that is none", ends(Failed(None)), {"state": "failed", "error": "None"}),  # type: ignore[arg-type]
    Case("endless reason", ends(Failed("no", INCOMPRESSIBLE)), {"state": "failed", "reason": INCOMPRESSIBLE[:40], "error": "no"}),
    Case("NUL in a reason", ends(Failed("no", "a\0")), {"state": "failed", "reason": "a\\x00"}),
    Case("NUL in a cancel", ends(Cancelled("a\0b")), {"state": "cancelled", "error": "a\\x00b"}),
    Case("NaN seconds", ends(Succeeded("7"), math.nan), {"state": "succeeded", "result": 7}),
    Case("endless seconds", ends(Succeeded("7"), math.inf), {"state": "succeeded", "result": 7}),
    Case("1e300 seconds", ends(Succeeded("7"), 1e300), {"state": "succeeded", "result": 7}),
    Case("seconds of 5,001 digits", ends(Succeeded("7"), MANY_DIGITS), {"state": "succeeded", "result": 7}),
    Case("seconds before 0", ends(Succeeded("7"), -1e300), {"state": "succeeded", "result": 7}),
    Case("euro in Latin 1", ends(Failed("5 €, né")), {"state": "failed", "error": "5 \\u20ac, n\\xe9"}, "LATIN1"),
    Case("euro as a result in Latin 1", result('"€"'), UNSTORABLE, "LATIN1"),
    Case("escaped euro as a result in Latin 1", result('"\\u20ac"'), UNSTORABLE, "LATIN1"),
    Case("accent in Latin 1", ends(Failed("né")), {"state": "failed", "error": "né"}, "LATIN1"),
    Case("euro in ASCII", ends(Failed("5 €")), {"state": "failed", "error": "5 €"}, "SQL_ASCII"),
    Case("euro as a result in ASCII", result('"€"'), {"state": "succeeded", "result": "€"}, "SQL_ASCII"),
    Case("escaped euro as a result in ASCII", result('"\\u20ac"'), UNSTORABLE, "SQL_ASCII"),
]
NO_DELAY = {
    "state": "scheduled",
    "last": ("failed", "exception"),
    "error": "no [halfstep: a delay is a number of 0 to 31536000 seconds",
}
HANDED_BACK = [
    Case("1e300 seconds", retries(delay=1e300), NO_DELAY),
    Case("endless delay", retries(delay=math.inf), NO_DELAY),
    Case("NaN delay", retries(delay=math.nan), NO_DELAY),
    Case("delay long before now", retries(delay=-1e300), NO_DELAY),
    Case("delay of 5,001 digits", retries(delay=MANY_DIGITS), NO_DELAY),
    Case("delay that is a text", retries(delay="soon"), NO_DELAY),
    Case("NUL in an error", retries("a\0b"), AGAIN | {"last": ("failed", "exception"), "error": "a\\x00b"}),
    Case("half of a pair in an error", retries("a\ud800"), AGAIN | {"error": "a\\ud800"}),
    Case("error that is a number", retries(MANY_DIGITS), AGAIN | {"error": "(int)"}),
    Case("endless reason", retries(reason=INCOMPRESSIBLE), AGAIN | {"last": ("failed", INCOMPRESSIBLE[:40]), "error": "no"}),
    Case("euro in Latin 1", retries("5 €"), AGAIN | {"error": "5 \\u20ac"}, "LATIN1"),
    Case("euro in ASCII", retries("5 €"), AGAIN | {"error": "5 €"}, "SQL_ASCII"),
    Case("NUL in a release", released("a\0b"), {"state": "ready", "last": ("released", "a\\x00b")}),
    Case("half of a pair in a release", released("\ud800"), {"state": "ready", "last": ("released", "\\ud800")}),
    Case("endless release", released(INCOMPRESSIBLE), {"state": "ready", "last": ("released", INCOMPRESSIBLE[:40])}),
    Case("release for a number", released(MANY_DIGITS), {"state": "ready", "last": ("released", "(int)")}),
    Case("euro in a release in Latin 1", released("€"), {"state": "ready", "last": ("released", "\\u20ac")}, "LATIN1"),
]
TOLD = [
    Case("no JSON", progress("half way"), RUNS | {"progress": "half way"}),
    Case("nothing", progress(""), RUNS | {"progress": ""}),
    Case("another record", progress('1},{"id":1'), RUNS | {"progress": '1},{"id":1'}),
    Case("open string", progress('"'), RUNS | {"progress": '"'}),
    Case("NaN", progress("NaN"), RUNS | {"progress": "nan"}),
    Case("endless", progress('{"left": 1e999999999}'), RUNS | {"progress": {"left": "inf"}}),
    Case("NUL", progress('{"a\\u0000": 1}'), RUNS | {"progress": {"a\\x00": 1}}),
    Case("half of a pair", progress('["\\ud800"]'), RUNS | {"progress": ["\\ud800"]}),
    Case("too deep", progress(DEEP), RUNS),
    Case("no text at all", progress(MANY_DIGITS), RUNS | {"progress": "a number of 16610 bits"}),
    Case("euro in Latin 1", progress('["€", "é"]'), RUNS | {"progress": ["\\u20ac", "\\xe9"]}, "LATIN1"),
    Case("escaped euro in ASCII", progress('["\\u20ac"]'), RUNS | {"progress": ["\\u20ac"]}, "SQL_ASCII"),
    Case("NUL in a line", logs(line("a\0b"), line("c")),
         RUNS | {"log": [(STORED, "stdout", "a\\x00b"), (STORED, "stdout", "c")]}),
    Case("half of a pair in a line", logs(line("a\udc80")), RUNS | {"log": [(STORED, "stdout", "a\\udc80")]}),
    Case("line that is a number", logs(line(MANY_DIGITS)), RUNS | {"log": [(STORED, "stdout", "(int)")]}),
    Case("NaN time", logs(line("a"), line("b", at=math.nan)), RUNS | {"log": [(STORED, "stdout", "a"), (STORED, "stdout", "b")]}),
    Case("endless time", logs(line("a", at=math.inf)), RUNS | {"log": [(0.0, "stdout", "a")]}),
    Case("time of 5,001 digits", logs(line("a", at=MANY_DIGITS)), RUNS | {"log": [(0.0, "stdout", "a")]}),
    Case("NUL in a stream", logs(line("a", stream="\0")), RUNS | {"log": [(STORED, "\\x00", "a")]}),
    Case("euro in a line in Latin 1", logs(line("5 €"), line("ok")),
         RUNS | {"log": [(STORED, "stdout", "5 \\u20ac"), (STORED, "stdout", "ok")]}, "LATIN1"),
    Case("NUL in a piece of a line", logs((*line("a\0b"), True), line("c")),
         RUNS | {"log": [(STORED, "stdout", "a\\x00b"), (STORED, "stdout", "c")]}),
    Case("euro in a piece of a line in Latin 1", logs((*line("5 €"), True), line("ok")),
         RUNS | {"log": [(STORED, "stdout", "5 \\u20ac"), (STORED, "stdout", "ok")]}, "LATIN1"),
    Case("letter in Windows' Latin 1", logs((*line("5 € ű"), True), line("é")),
         RUNS | {"log": [(STORED, "stdout", "5 \\u20ac \\u0171"), (STORED, "stdout", "\\xe9")]}, "WIN1252"),
    Case("euro in a line in ASCII", logs(line("5 €")), RUNS | {"log": [(STORED, "stdout", "5 €")]}, "SQL_ASCII"),
]  # fmt: skip


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


PODS = [
    Case("NUL", pod(facts={"waiting": "a\0b"}), RUNS | {"facts": {"waiting": "a\\x00b"}}),
    Case("half of a pair", pod(facts={"waiting": "\ud800"}), RUNS | {"facts": {"waiting": "\\ud800"}}),
    Case("NaN", pod(facts={"waiting": math.nan}), RUNS | {"facts": {"waiting": "nan"}}),
    Case(
        "number of 5,001 digits", pod(facts={"restarts": MANY_DIGITS}), RUNS | {"facts": {"restarts": "a number of 16610 bits"}}
    ),
    Case("no JSON", pod(facts={"waiting": {1, 2}}), RUNS | {"facts": {"waiting": "a set that can't be stored"}}),
    Case("too deep", pod(facts={"waiting": _nested(100_000)}), RUNS),
    Case("NaN moment", pod(facts={"a": 1}, parked_at=math.nan), RUNS | {"facts": {"a": 1}}),
    Case("moment that is a text", pod(facts={"a": 1}, running_since="now"), RUNS | {"facts": {"a": 1}}),
    Case("name kept for ever", pod(facts={"a": 1}, keep_seconds=1e300), RUNS | {"facts": {"a": 1}}),
    Case("euro in Latin 1", pod(facts={"waiting": "5 €"}), RUNS | {"facts": {"waiting": "5 \\u20ac"}}, "LATIN1"),
    Case("euro in ASCII", pod(facts={"waiting": "5 €"}), RUNS | {"facts": {"waiting": "5 €"}}, "SQL_ASCII"),
]

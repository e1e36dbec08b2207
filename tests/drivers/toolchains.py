"""Programs in other languages that call us by their own drivers: how they are made, and how a test talks to them.

Packages come from the languages' registries by their own clients, and lie with what is built of them in the user's cache folder
(HALFSTEP_TEST_CACHE names another), never in the repository.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple
from urllib.parse import urlencode

import sqlalchemy as sa

from waiting import PATIENCE

HERE = Path(__file__).parent
FETCHING = 300
"""Seconds for what a registry sends and a compiler makes, the first time."""


class MissingToolchain(Exception):
    """What a language needs can't be had here."""


class Parameter(NamedTuple):
    """as_: text, json, bigint, seconds (an interval) or moment; the program takes what its language has for it."""

    as_: str
    value: Any


@dataclass(frozen=True, slots=True)
class Request:
    """One transaction: statements that may fail, one whose first value is wanted, and its end."""

    sql: str
    parameters: Sequence[Parameter] = ()
    commit: bool = True
    before: Sequence[str] = ()
    mode: str = ""


class Answer(NamedTuple):
    """The value, or the SQLSTATE and the driver's message."""

    value: Any = None
    sqlstate: str | None = None
    message: str | None = None


@dataclass(slots=True)
class Program:
    """A program that answers one request a line. mark: how its driver writes the n-th parameter."""

    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    mark: Callable[[int], str] = "${}".format
    write: Callable[[str, Request], str] = lambda url, request: _as_json(url, request)
    read: Callable[[str], Answer] = lambda line: Answer(**json.loads(line))
    _process: subprocess.Popen[str] | None = None

    def ask(self, url: str, request: Request) -> Answer:
        """Does what the request says."""
        if self._process is None:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
                env={**os.environ, **self.environment},
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with ends_in_time(self._process):
            self._process.stdin.write(self.write(url, request) + "\n")
            self._process.stdin.flush()
            return self.read(self._process.stdout.readline())

    def close(self) -> None:
        """The program ends."""
        if self._process is not None:
            self._process.communicate()


def node() -> Program:
    """`pg` on Node."""
    _need("node", "npm")
    folder = _cached("node-pg-8")
    modules = folder / "node_modules"
    _make(modules, ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "pg@8"])
    return Program(["node", str(HERE / "node" / "callers.cjs")], {"NODE_PATH": str(modules)})


def go() -> Program:
    """pgx on Go."""
    _need("go")
    source = HERE / "go"
    text = b"".join(file.read_bytes() for file in sorted(source.iterdir()))
    built = _cached("go-pgx") / hashlib.sha256(text).hexdigest()[:16]
    _make(built, ["go", "build", "-o", str(built), "."], cwd=source)
    return Program([str(built)])


def java() -> Program:
    """JDBC on Java."""
    _need("java", "mvn")
    version = "42.7.7"
    folder = _cached("java-jdbc")
    jar = folder / f"postgresql-{version}.jar"
    _make(
        jar,
        ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact=org.postgresql:postgresql:{version}", f"-DoutputDirectory={folder}"],
    )
    command = ["java", "-cp", str(jar), str(HERE / "java" / "Callers.java")]
    return Program(command, mark=lambda n: "?", write=_as_fields, read=_of_fields)


@contextmanager
def ends_in_time(process: subprocess.Popen[str]) -> Iterator[None]:
    """A program that does not answer is killed."""
    timer = Timer(PATIENCE, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


LANGUAGES: dict[str, Callable[[], Program]] = {"Node": node, "Go": go, "Java": java}


def _need(*commands: str) -> None:
    missing = [command for command in commands if shutil.which(command) is None]
    if missing:
        raise MissingToolchain(f"{' and '.join(missing)} can't be run here")


def _cached(name: str) -> Path:
    given = os.environ.get("HALFSTEP_TEST_CACHE") or os.environ.get("XDG_CACHE_HOME")
    folder = (Path(given) if given else Path.home() / ".cache") / "halfstep-tests" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _make(wanted: Path, command: Sequence[str], cwd: Path | None = None) -> None:
    """Runs the command unless what it makes is there, and whole. Other test processes wait for it."""
    whole = wanted.parent / f"{wanted.name}.made"
    with _alone(wanted.parent / f"{wanted.name}.lock"):
        if wanted.exists() and whole.exists():
            return
        try:
            made = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=FETCHING)
        except subprocess.TimeoutExpired:
            raise MissingToolchain(f"{command[0]} did not get or build {wanted.name} in {FETCHING} s") from None
        if made.returncode != 0 or not wanted.exists():
            lines = (made.stderr or made.stdout).strip().splitlines() or ["no word"]
            raise MissingToolchain(f"{command[0]} can't get or build {wanted.name}: {lines[0]}")
        whole.touch()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _as_json(url: str, request: Request) -> str:
    parameters = [{"as": as_, "value": value} for as_, value in request.parameters]
    return json.dumps(
        {
            "url": url,
            "sql": request.sql,
            "parameters": parameters,
            "commit": request.commit,
            "before": list(request.before),
            "mode": request.mode,
        }
    )


def _as_fields(url: str, request: Request) -> str:
    """For Java, which has no JSON of its own."""
    parts = sa.make_url(url)
    login = urlencode({"user": parts.username, "password": parts.password, **parts.query, **_unspecified(request)})
    address = f"jdbc:postgresql://{parts.host}:{parts.port}/{parts.database}?{login}"
    values = [(as_, json.dumps(value) if as_ == "json" else str(value)) for as_, value in request.parameters]
    fields = [address, "commit" if request.commit else "rollback", str(len(request.before)), *request.before, request.sql]
    return " ".join(base64.b64encode(text.encode()).decode() for text in [*fields, *(part for pair in values for part in pair)])


def _unspecified(request: Request) -> dict[str, str]:
    return {"stringtype": request.mode} if request.mode else {}


def _of_fields(line: str) -> Answer:
    kind, _, text = line.strip().partition(" ")
    said = base64.b64decode(text).decode()
    return Answer(said) if kind == "value" else Answer(None, kind, said)

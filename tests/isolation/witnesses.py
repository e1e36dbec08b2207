"""Innocent tasks of every operator, and how what came of them differs from what comes of them in a new child."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from halfstep.outcomes import Succeeded
from isolation.bay import Given, Told

IMPORTS = ("isolation.polluters", "isolation.witness_bodies")
SEE = """
echo "arguments: $*"
pwd; umask; nice; ulimit -a
grep -E '^(Uid|Gid|Groups|SigBlk|SigIgn|SigCgt|SigPnd|ShdPnd|Cap|NoNewPrivs|Umask|Cpus_allowed_list)' /proc/self/status
env | grep -v -E '^(_|PPID|SHLVL)=' | sort
ls -l /proc/self/fd | grep -c . ; readlink /proc/self/fd/0
test ! -e /proc/self/fd/1 || echo stdout is there; test ! -e /proc/self/fd/2 || echo stderr is there >&2
date -d @0; cat
"""
SEE_IN_PYTHON = """
import json, os, signal, subprocess, sys
print("said by a script", sys.argv[1:])
print("said by a script to stderr", file=sys.stderr)
names = ("Uid", "SigBlk", "SigIgn", "SigCgt", "Umask", "NoNewPrivs")
status = [line.split() for line in open("/proc/self/status") if line.startswith(names)]
code = subprocess.run(["sh", "-c", "exit 4"]).returncode
kept = bytearray(100 * 2**20)
print(json.dumps({"status": status, "code": code, "folder": os.getcwd(), "environment": dict(sorted(os.environ.items())),
                  "nice": os.nice(0), "stdin": sys.stdin.read(), "group": os.getpgid(0) == os.getpgid(os.getppid())}))
"""
FAIL_IN_PYTHON = """
raise ValueError("this script fails")
"""
OURS = "[halfstep: "
"""What a line of the worker's own begins with."""
FRESH = "WORD = 'imported'\n"


@dataclass(frozen=True, slots=True)
class Ground:
    """What the witnesses stand on: the settings of the loader."""

    source: Path
    database_url: str
    port: int

    @property
    def loader_settings(self) -> dict[str, Any]:
        """For a pool."""
        return {
            "source": str(self.source),
            "imports": list(IMPORTS),
            "allow": ["isolation"],
            "connections": {"here": self.database_url, "web": f"http://127.0.0.1:{self.port}"},
        }

    def witnesses(self) -> list[Given]:
        """New ones, to be run in this order."""
        return [Given(name, operator, args) for name, (operator, args) in _WITNESSES.items()]


_WITNESSES: dict[str, tuple[str, dict[str, Any]]] = {
    "python": ("python", {"function": "isolation.witness_bodies:report"}),
    "python speaks": ("python", {"function": "isolation.witness_bodies:speak"}),
    "python fails": ("python", {"function": "isolation.witness_bodies:fail"}),
    "bash": ("bash", {"command": "echo first; echo to stderr >&2; echo last", "env": {"ADDED": "here"}}),
    "bash fails": ("bash", {"command": "exit 3"}),
    "bash is killed": ("bash", {"command": "kill -TERM $$"}),
    "bash sees": ("bash", {"command": SEE}),
    "script in python": ("script", {"path": "see.py", "parameters": {"size": 3}}),
    "script in python fails": ("script", {"path": "fail.py"}),
    "script in bash": ("script", {"path": "see.sh", "parameters": ["one"]}),
    "sql": ("sql", {"connection": "here", "statement": "SELECT n, 'a' t FROM generate_series(1, :n) n", "parameters": {"n": 2}}),
    "sql sees": ("sql", {"connection": "here", "statement": (
        "SELECT name, setting FROM pg_settings WHERE name IN ('search_path', 'statement_timeout', 'client_encoding', 'TimeZone',"
        " 'DateStyle', 'default_transaction_read_only', 'role', 'lock_timeout', 'session_authorization') ORDER BY name"
    )}),
    "sql fails": ("sql", {"connection": "here", "statement": "SELECT * FROM witness"}),
    "http": ("http", {"url": "/hello", "connection": "web"}),
    "http fails": ("http", {"url": "/missing", "connection": "web", "timeout": 20}),
}  # fmt: skip


def write_source(folder: Path) -> Path:
    """The scripts of the witnesses."""
    folder.mkdir()
    (folder / "see.py").write_text(SEE_IN_PYTHON)
    (folder / "fail.py").write_text(FAIL_IN_PYTHON)
    (folder / "see.sh").write_text(SEE)
    (folder / "this_is_a_witness.py").write_text(FRESH)
    return folder


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = json.dumps({"path": self.path}).encode()
        self.send_response(200 if self.path == "/hello" else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def web_server() -> Iterator[int]:
    """A small server on the loopback interface; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


Seen = dict[str, Any]
"""By witness and what is looked at: the outcome's fields, or for a report each of its parts; and the lines of each stream."""


def seen(told: Mapping[Any, Told], mark: str) -> dict[str, Seen]:
    """What came of the witnesses, without what differs from pool to pool."""
    return {name: _seen(told[name], mark) for name in _WITNESSES}


def _seen(told: Told, mark: str) -> Seen:
    assert told.outcome is not None
    fields = dict(_plain(dataclasses.asdict(told.outcome), mark))
    found: Seen = {"end": told.end, **fields, **{stream: _plain(lines, mark) for stream, lines in _said(told).items()}}
    if isinstance(told.outcome, Succeeded):
        result = json.loads(fields["result"])
        del found["result"]
        found |= {f"result: {key}": value for key, value in (result if isinstance(result, dict) else {"": result}).items()}
    return found


def _said(told: Told) -> dict[str, list[str]]:
    """By stream, what the body itself said."""
    said = {stream: [line for line in lines if not line.startswith(OURS)] for stream, lines in told.lines.items()}
    return {stream: lines for stream, lines in said.items() if lines}


def _plain(value: Any, mark: str) -> Any:
    return json.loads(json.dumps(value).replace(mark, "MARK").replace(f"pid={os.getpid()}", "PID"))


def differences(found: Mapping[str, Seen], expected: Mapping[str, Seen]) -> list[str]:
    """A line for each thing that is not as it should be."""
    return [
        f"{name}, {part}: {_change(expected[name].get(part), found[name].get(part))}"
        for name in expected
        for part in sorted(expected[name].keys() | found[name].keys())
        if expected[name].get(part) != found[name].get(part)
    ]


def _change(expected: object, found: object) -> str:
    """Both from a little before the first letter that differs."""
    texts = json.dumps(expected), json.dumps(found)
    same = next((place for place, letters in enumerate(zip(*texts, strict=False)) if len(set(letters)) > 1), min(map(len, texts)))
    begin = max(0, same - 40)
    return " became ".join(text[begin : begin + 160] for text in texts)

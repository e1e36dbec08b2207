"""What a body finds of the secrets of `halfstep up` when it looks at every process of its user: nothing."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from end_to_end.conftest import Up, descendants
from halfstep.database import Database, parse_url
from halfstep.producer import enqueue
from halfstep.reports import Reports
from halfstep_worker.children.kernel import forbid_tracing
from waiting import wait_until

SECRET = "geheim-der-verbindung"
SPY = '''
"""Says which secrets can be read where. The secrets come in a disguise, so that they stand in no memory but this one's."""
import base64, json, re

words, pids = json.load(open("given.json"))
secrets = {name: base64.b64decode(word) for name, word in words.items()}

def memory(pid):
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            first, last, rights = re.match("([0-9a-f]+)-([0-9a-f]+) (....)", line).groups()
            if rights.startswith("rw"):
                mem.seek(int(first, 16))
                try:
                    yield mem.read(int(last, 16) - int(first, 16))
                except OSError:
                    pass

def places(pid):
    for name in ("cmdline", "environ"):
        try:
            yield name, open(f"/proc/{pid}/{name}", "rb").read()
        except OSError:
            pass
    try:
        for part in memory(pid):
            yield "mem", part
    except OSError:
        pass

for pid in pids:
    for place, content in places(pid):
        for name, secret in secrets.items():
            if secret in content:
                print(pid, place, name)
print("looked at", len(pids))
'''


@pytest.fixture
def lair(data_folder: Path) -> Path:
    """A folder of the spy's, next to the data."""
    folder = data_folder.parent / "lair"
    folder.mkdir()
    (folder / "spy.py").write_text(SPY)
    return folder


@pytest.mark.parametrize("place", ["environment", "command line"])
def test_a_body_that_looks_at_every_process_of_its_user_finds_no_secret(
    start_up: Callable[..., Up], lair: Path, database_url: str, place: str
) -> None:
    named = ("--database", database_url) if place == "command line" else ()
    secrets = {"HALFSTEP_CONNECTION_SHOP": f"https://user:{SECRET}@api.example.com", "HALFSTEP_DATABASE_URL": database_url}
    # As root too, it has no more rights than its bodies: otherwise the kernel would keep them apart for that alone.
    up = start_up("--min", "1", "--workers", "1", *named, first=forbid_tracing, **secrets)
    up.await_status(lambda status: status["workers"] == 1, "a worker")
    words = {"connection": SECRET, "password": parse_url(database_url).password} | kept_in(up.folder / "access.json")
    assert found_by_a_body(database_url if named else up.url, lair, up, words) == []


def kept_in(access: Path) -> dict[str, str]:
    """The passwords of the embedded server, if it is used."""
    words = json.loads(access.read_text()) if access.exists() else {}
    return {name: word for name, word in words.items() if name.endswith("password")}


def found_by_a_body(url: str, lair: Path, up: Up, words: dict[str, str]) -> list[str]:
    """What the spy says, which runs in a bash body: process, place, name of the secret."""
    ours = sorted({up.process.pid, *descendants(up.process.pid)})
    disguised = {name: base64.b64encode(word.encode()).decode() for name, word in words.items()}
    (lair / "given.json").write_text(json.dumps([disguised, ours]))
    with closing(Database(url)) as database:
        command = f"cd '{lair}' && '{sys.executable}' spy.py > found.txt"
        task = enqueue(database, "bash", {"command": command})
        wait_until(lambda: Reports(database).states([task])[task] in ("succeeded", "failed"), what="the end of the look")
    *found, last = (lair / "found.txt").read_text().splitlines()
    assert last == f"looked at {len(ours)}"
    return found

"""On a terminal there are tables, colours and progress; with NO_COLOR, or without a terminal, plain lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from contextlib import closing

import pytest
from rich.cells import cell_len

from halfstep.outcomes import Failed
from halfstep.producer import enqueue
from waiting import PATIENCE


@pytest.fixture
def on_terminal(database_url: str, command_line, plain_environment) -> Callable[..., str]:
    """Runs a command whose stdout and stderr are a terminal; returns what the terminal was sent."""

    def run(*words: str, **changes: str) -> str:
        ours, theirs = os.openpty()
        chosen = plain_environment(HALFSTEP_DATABASE_URL=database_url, TERM="xterm", COLUMNS="120") | changes
        chosen = {name: value for name, value in chosen.items() if value}
        with subprocess.Popen(
            command_line(*words), env=chosen, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
        ) as running:
            os.close(theirs)
            with closing(os.fdopen(ours, "rb", buffering=0)) as terminal:
                seen = b"".join(iter(lambda: _read(terminal.fileno()), b""))
            running.wait(timeout=PATIENCE)
        return seen.decode()

    return run


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


def test_a_terminal_gets_a_table(halfstep, on_terminal):
    halfstep("enqueue", "bash", '{"command": "true"}')
    seen = on_terminal("tasks", NO_COLOR="")
    assert "───" in seen
    assert "\033[34mready" in seen


def test_no_color_means_plain_lines(halfstep, on_terminal):
    halfstep("enqueue", "bash", '{"command": "true"}')
    seen = on_terminal("tasks", NO_COLOR="1")
    assert "\033" not in seen
    assert seen.replace("\r\n", "\n") == halfstep("tasks").out


def test_waiting_shows_its_progress_on_a_terminal_only(on_terminal, start_worker):
    start_worker()
    words = ("enqueue", "bash", '{"command": "true"}', "--count", "3", "--wait")
    assert "3/3" in on_terminal(*words, NO_COLOR="")
    assert on_terminal(*words, NO_COLOR="1") == "4\r\n5\r\n6\r\n"


def test_doctor_is_green(on_terminal):
    assert "\033[32mok\033[0m  reachable" in on_terminal("doctor", NO_COLOR="")


# Each is told by a task, a body or a worker; PostgreSQL takes all of them.
HOSTILE = "\x1b[2J\x1b]0;t\x07\x9b31m\rgone\x08\u202egpj\u2066\u200e\u061c\u200b\ufeff\U000e0041\u2028\x85\x7f"
STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff]")
OUR_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def hostile(database, queue, worker):
    """Task 1 ran, and each text of it is hostile; task 2 runs on a worker of a hostile name."""
    for _ in range(2):
        enqueue(database, "bash", {"command": HOSTILE, HOSTILE: 1}, labels={"who" + HOSTILE: HOSTILE}, unique_key=None)
    one, _ = worker.claim(2)
    lines = [[1893456000.0, "stdout", f"\ttabs stay {HOSTILE}"], [1893456000.5, "stderr", HOSTILE, True], [0.0, "stderr", "end"]]
    queue.write_log([{"task_id": one.id, "attempt": 1, "chunk": 0, "lines": lines}])
    worker.finish(one, outcome=Failed(f"Oh{HOSTILE}\nno", HOSTILE[:20]))
    database.execute("UPDATE halfstep.worker SET name = name || %(text)s", {"text": HOSTILE})


@pytest.mark.parametrize(
    "words",
    [("tasks",), ("show", "1"), ("show", "2"), ("logs", "1"), ("logs", "1", "-t"), ("workers",), ("queues",), ("doctor",)],
    ids=" ".join,
)
@pytest.mark.parametrize("colour", ["", "1"], ids=["with colours", "with NO_COLOR"])
def test_nothing_of_a_task_steers_a_terminal(hostile, on_terminal, words, colour):
    seen = OUR_COLOURS.sub("", on_terminal(*words, NO_COLOR=colour)).replace("\r\n", "\n")
    assert not STEERS.findall(seen.replace("\t", "") if words[0] == "logs" else seen)
    if words[0] not in ("queues", "doctor"):
        assert "\\x1b[2J" in seen.replace("\n", "").replace(" ", "")


@pytest.mark.parametrize(
    ("words", "code"),
    [(("pause", f"q{HOSTILE}"), 5), (("tasks", "-s", HOSTILE), 2), ((f"x{HOSTILE}",), 2), (("enqueue", HOSTILE, "{}"), 2)],
    ids=["a queue's name", "a state", "a command", "an operator"],
)
def test_what_somebody_typed_comes_back_harmless(halfstep, words, code):
    said = halfstep(*words)
    assert said.code == code
    assert not STEERS.search(said.err)


def test_logs_are_shown_with_their_controls_visible_on_a_terminal(hostile, on_terminal):
    assert "\ttabs stay \\x1b[2J\\x1b]0;t\\x07\\x9b31m\\x0dgone\\x08\\u202egpj" in on_terminal("logs", "1")


def test_logs_are_as_they_were_written_in_a_pipe_and_with_raw(hostile, halfstep, on_terminal):
    assert halfstep("logs", "1").out == f"\ttabs stay {HOSTILE}\n{HOSTILE}end\n"
    assert f"\ttabs stay {HOSTILE}" in on_terminal("logs", "1", "--raw")


@pytest.mark.parametrize("words", [("tasks",), ("show", "1"), ("logs", "1"), ("workers", "-a"), ("queues",)], ids=" ".join)
def test_json_is_ascii_and_says_it_all(hostile, halfstep, words):
    out = halfstep(*words, "--json").out
    assert out.isascii()
    assert not STEERS.search(out)
    if words[0] != "queues":
        assert json.dumps(HOSTILE[:20])[1:-1] in out


@pytest.mark.parametrize("name", ["日本語のタスク", "e\u0301a\u0302\u0303", "❤️ fine", "plain"])
def test_wide_and_combining_characters_leave_the_columns_in_place(halfstep, database, worker, name):
    """The next column begins at the same cell in every line."""
    database.execute("UPDATE halfstep.worker SET name = %(name)s", {"name": name})
    heading, line = halfstep("workers").out.splitlines()
    begin = heading.index("STATE")
    before = line[: line.index("running")]
    assert cell_len(before) == begin


def test_whatever_is_stored_show_ends_well_and_names_it(halfstep, database, worker):
    enqueue(database, "bash", {"command": "true"})
    labels = "[" * 300 + '"deep"' + "]" * 300
    database.execute("UPDATE halfstep.task SET labels = CAST(%(labels)s AS jsonb)", {"labels": labels})
    for words in (("show", "1"), ("show", "1", "--json"), ("tasks",), ("tasks", "--json")):
        assert halfstep(*words).code == 0, words
    assert "[[[[" in halfstep("show", "1").out


def test_a_pod_of_odd_facts_is_shown(halfstep, database, worker):
    enqueue(database, "bash", {"command": "true"}, placement="pod")
    facts = {"node": HOSTILE, "created": 7, "ended": "4713-01-01 BC", "exit_code": {"a": [1]}, "phase": ["odd"]}
    database.execute(
        "INSERT INTO halfstep.pod (attempt_id, task_id, attempt, cluster, namespace, name, facts)"
        " VALUES (gen_random_uuid(), 1, 1, 'c', 'n', %(name)s, CAST(%(facts)s AS jsonb))",
        {"name": f"p{HOSTILE}", "facts": json.dumps(facts)},
    )
    for words in (("pods", "-a"), ("pods", "-a", "--json"), ("show", "1"), ("show", "1", "--json")):
        said = halfstep(*words)
        assert said.code == 0, words
        assert not STEERS.search(said.out)

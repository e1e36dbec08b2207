"""On a terminal there are tables, colours and progress; with NO_COLOR, or without a terminal, plain lines."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import closing

import pytest

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

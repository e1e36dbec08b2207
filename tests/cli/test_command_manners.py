"""What every command has in common: help, exit codes, pipes, secrets, where the database comes from, and how soon it starts."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
import typer

from halfstep import errors
from halfstep.errors import HalfstepError
from halfstep_cli.errors import MEANINGS, ExitCode, exit_code, sentence
from halfstep_cli.main import build
from waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


def all_commands() -> list[tuple[str, ...]]:
    """Every command's words."""
    app = build()
    found: list[tuple[str, ...]] = [(info.name,) for info in app.registered_commands]
    for group in app.registered_groups:
        name = group.name if isinstance(group.name, str) else group.typer_instance.info.name
        found += [(name, info.name) for info in group.typer_instance.registered_commands]
    return found


@pytest.mark.parametrize("words", all_commands(), ids="-".join)
def test_help_teaches_with_a_sentence_and_an_example(words, halfstep_at):
    said = halfstep_at(None, *words, "--help")
    assert (said.code, said.err) == (0, "")
    assert re.search(r"\n  [A-Z][^\n]+[.:]", said.out), said.out
    assert re.search(rf"Examples?:\n    halfstep {' '.join(words)}", said.out), said.out


def test_help_tells_every_exit_code(halfstep_at):
    for words in ((), ("--help",), ("-h",)):
        said = halfstep_at(None, *words)
        assert said.code == 0
        for code, meaning in MEANINGS.items():
            assert f"  {code.value:<3} {meaning}" in said.out


@pytest.mark.parametrize("code", list(ExitCode))
def test_every_exit_code_is_documented(code):
    text = (ROOT / "docs/reference/exit-codes.md").read_text()
    assert re.search(rf"^\| {code.value} \| {re.escape(MEANINGS[code])}", text, re.MULTILINE)


@pytest.mark.parametrize("words", all_commands(), ids="-".join)
def test_every_command_is_documented(words):
    assert f"`halfstep {' '.join(words)}" in (ROOT / "docs/reference/command.md").read_text()


def every_error() -> list[type[HalfstepError]]:
    """The errors that users can meet."""
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HalfstepError)]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_library_has_a_code_that_is_no_bug(kind):
    assert exit_code(kind("Something.")) not in (ExitCode.FINE, ExitCode.BUG)
    assert (exit_code(kind("Something.")) == ExitCode.NO) == (kind is HalfstepError)


def test_an_error_of_ours_says_how_to_report_it():
    assert exit_code(ZeroDivisionError("division by zero")) == ExitCode.BUG
    assert sentence(ZeroDivisionError("x")) == (
        "This is an error in halfstep (ZeroDivisionError: x); run it again with --debug and report it."
    )
    assert exit_code(typer.Abort()) == exit_code(KeyboardInterrupt()) == ExitCode.INTERRUPTED


def test_debug_shows_the_traceback_and_the_sentence(halfstep):
    said = halfstep("--debug", "show", "42")
    assert said.code == 5
    assert "Traceback (most recent call last)" in said.err
    assert said.err.endswith("halfstep: There is no task 42.\n")


def test_a_reader_that_goes_away_is_no_error(halfstep, start_command):
    halfstep("enqueue", "bash", '{"command": "true"}', "--count", "5000")
    listing = start_command("tasks", "--limit", "5000", "--json")
    assert listing.stdout.readline() == "[\n"
    listing.stdout.close()
    assert listing.stderr.read() == ""
    assert listing.wait(timeout=PATIENCE) == ExitCode.READER_GONE


def test_an_interrupted_wait_leaves_the_tasks_alone(halfstep, start_command):
    waiting = start_command("enqueue", "bash", '{"command": "true"}', "--wait")
    assert waiting.stdout.readline() == "1\n"
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(timeout=PATIENCE) == ExitCode.INTERRUPTED
    assert "Traceback" not in waiting.stderr.read()
    assert halfstep("show", "1", "--json").json["state"] == "ready"


def test_a_wait_that_nobody_serves_says_so(halfstep, start_command):
    waiting = start_command("enqueue", "bash", '{"command": "true"}', "--wait")
    assert waiting.stderr.readline() == "Task 1: no worker serves its queue.\n"
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(timeout=PATIENCE) == ExitCode.INTERRUPTED


def test_the_option_wins_over_the_environment(halfstep_at, database_url):
    elsewhere = "postgresql://nobody:secret@127.0.0.1:1/nowhere"
    assert halfstep_at(elsewhere, "--database", database_url, "tasks").code == 0
    said = halfstep_at(database_url, "--database", elsewhere, "tasks")
    assert said.code == 3
    assert "secret" not in said.err


def test_a_running_up_is_found_by_its_url_file(halfstep_at, database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "halfstep").mkdir()
    (tmp_path / "halfstep" / "url").write_text(database_url + "\n")
    assert halfstep_at(None, "tasks").code == 0
    (tmp_path / "halfstep" / "url").write_text("postgresql://halfstep:secret@127.0.0.1:1/halfstep\n")
    said = halfstep_at(None, "tasks")
    assert (said.code, said.err.count("\n")) == (3, 1)
    assert "start it: halfstep up." in said.err
    assert "secret" not in said.err


def test_enqueue_imports_nothing_that_it_does_not_need(start_command):
    heavy = ("kubernetes", "rich", "prometheus_client", "halfstep_cli.demo", "halfstep_cli.embedded", "halfstep_worker.worker")
    quick = start_command("enqueue", "bash", '{"command": "true"}', PYTHONPROFILEIMPORTTIME="1")
    out, imported = quick.communicate(timeout=PATIENCE)
    assert out == "1\n"
    names = {line.rpartition("|")[2].strip() for line in imported.splitlines()}
    assert "halfstep.producer" in names
    assert not {name for name in names if name.startswith(heavy)}

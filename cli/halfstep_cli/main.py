"""The entry point of `halfstep`: the commands, and what every one of them has in common."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from halfstep.shield import blot_out, shield
from halfstep_cli import commands
from halfstep_cli.errors import MEANINGS, report
from halfstep_cli.options import Command, Globals, spread
from halfstep_cli.session import Session


def build(words: Sequence[str] = ()) -> typer.Typer:
    """The command with its subcommands: all, or those that a command line of these words can mean."""
    codes = "\n".join(f"  {code.value:<3} {meaning}" for code, meaning in MEANINGS.items())
    app = typer.Typer(
        name="halfstep",
        rich_markup_mode=None,  # help as plain text: the same in a terminal, a pipe and a test
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=f"\b\nExit codes:\n{codes}",
    )
    app.callback(invoke_without_command=True)(_root())
    commands.register(app)
    known = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    if _first(words) not in known:
        _register_rooms(app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    words = list(arguments or ())
    if arguments is None:
        words = sys.argv[1:]
        _keep_secrets(words)
    try:
        _never_fail_to_print()
        done = build(words)(args=words, prog_name="halfstep", standalone_mode=False)
        sys.stdout.flush()
        return int(done or 0)
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 0
    except BaseException as error:
        return report(error, debug="--debug" in words)


def _keep_secrets(words: Sequence[str]) -> None:
    """This process is the command's own. Bodies of its user can't read its environment, nor a URL in its command line."""
    shield()
    for url in (word.removeprefix("--database=") for word in words):
        if url.startswith("postgres"):
            blot_out(url)


def _root() -> Command:
    def root(ctx: typer.Context, chosen: Globals) -> None:
        """Tasks in PostgreSQL, run by workers that come and go with the queue."""
        ctx.obj = Session(chosen.database, chosen.debug)
        if ctx.invoked_subcommand is None:
            typer.echo(ctx.get_help())

    return spread(root)


def _first(words: Sequence[str]) -> str | None:
    """The first word that is neither an option nor an option's value."""
    pairs = zip(("", *words), words, strict=False)
    return next((word for before, word in pairs if not word.startswith("-") and before != "--database"), None)


def _register_rooms(app: typer.Typer) -> None:
    """Commands that take longer to import than most others take to run."""
    from halfstep_cli import bench, demo, up

    up.register(app)
    demo.register(app)
    bench.register(app)


def _never_fail_to_print() -> None:
    """A character that the terminal's encoding lacks is shown as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())

"""The command line: one file a command, and nothing heavy imported before a command needs it."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated

import typer

from movinet.cli.common import guarded

#: command -> module whose function `command` runs it; in the order of the help
COMMANDS = {
    "list": "movinet.cli.list",
    "info": "movinet.cli.info",
    "convert": "movinet.cli.convert",
    "predict": "movinet.cli.predict",
}
#: commands that do their work without any argument instead of showing their help
_WITHOUT_ARGUMENTS = ("list",)


def main() -> None:
    """Run the `movinet` command with the arguments of the process."""
    for stream in (sys.stdout, sys.stderr):
        # A label that a terminal or a pipe cannot show is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    build_app()(prog_name="movinet")


def build_app() -> typer.Typer:
    """The application with all of `COMMANDS`."""
    app = typer.Typer(
        name="movinet",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, module in COMMANDS.items():
        helps = name not in _WITHOUT_ARGUMENTS
        app.command(name, no_args_is_help=helps)(guarded(import_module(module).command))
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from movinet import __version__

        typer.echo(f"movinet {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """MoViNets: mobile video networks for streaming action recognition.

    Run 'movinet COMMAND --help' for examples of a command.
    """
    del version  # it has been shown

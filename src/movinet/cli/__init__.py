"""The command line: one file a command, and nothing heavy imported before a command needs it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from importlib import import_module
from typing import Annotated

import typer

from movinet.cli.common import FAILED, INTERRUPTED, guarded, say

#: command -> module whose function `command` runs it; in the order of the help
COMMANDS = {
    "list": "movinet.cli.list",
    "info": "movinet.cli.info",
    "convert": "movinet.cli.convert",
    "predict": "movinet.cli.predict",
    "train": "movinet.cli.train",
    "watch": "movinet.cli.watch",
    "replay": "movinet.cli.replay",
    "segments": "movinet.cli.segments",
    "serve": "movinet.cli.serve",
    "eval": "movinet.cli.eval",
    "export": "movinet.cli.export",
    "bench": "movinet.cli.bench",
}
#: commands that do their work without any argument instead of showing their help
_WITHOUT_ARGUMENTS = ("list",)


def main() -> None:
    """Run the `movinet` command with the arguments of the process."""
    _prepare_streams()
    # PyTorch's threads spin while they wait for each other; on a busy machine a long spin takes
    # the time of the thread that is waited for (docs/performance.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    status = 0
    try:
        _stop_cleanly()
        try:
            build_app()(prog_name="movinet")
        except SystemExit as ended:
            status = ended.code
        sys.stdout.flush()  # not at exit, where a failure cannot be handled
    except KeyboardInterrupt:
        status = INTERRUPTED
    except OSError as error:
        # After a failure of its own the command has told. A reader that has gone wants no message,
        # and stderr may be as full as stdout.
        if not status and not isinstance(error, BrokenPipeError):
            with contextlib.suppress(OSError):
                say("error", f"the output cannot be written ({error.strerror})")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = status or FAILED
    sys.exit(status)


def _prepare_streams() -> None:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: `movinet ... >&-`
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8"))
        stream = getattr(sys, name)
        # A label that a terminal or a pipe cannot show is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _stop_cleanly() -> None:
    """Let a request to end be an exception: what is half written gets deleted."""

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)  # as shells have it

    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP; nohup ignores it
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


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
    app.add_typer(import_module("movinet.cli.data").app, name="data")
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from movinet.version import __version__

        typer.echo(f"movinet {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """MoViNets: mobile video networks for streaming action recognition.

    For example:

      movinet predict video.mp4 --model a0_stream --weights kinetics-600

    Run 'movinet COMMAND --help' for more examples of a command.
    """
    del version  # it has been shown

"""What every command shares: consoles, error lines, and exit codes."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ParamSpec

import typer

from movinet.errors import ConfigError, MovinetError
from movinet.text import printable

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")
#: Exit codes: work that failed, wrong usage, and Ctrl-C (128 + SIGINT, as shells have it).
FAILED, USAGE, INTERRUPTED = 1, 2, 130


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """A command whose errors become one line on stderr and an exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        _noted.clear()
        try:
            with _telling_warnings():
                command(*args, **kwargs)
            sys.stdout.flush()  # here, where a closed pipe can still be handled
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader has gone (`movinet ... | head`); nor can the interpreter flush at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from None
        except ConfigError as error:
            say("error", str(error))
            raise typer.Exit(USAGE) from None
        except MovinetError as error:
            say("error", str(error))
            raise typer.Exit(FAILED) from None
        except OSError as error:
            named = error.filename is not None and error.strerror is not None
            say("error", f"{error.filename}: {error.strerror}" if named else str(error))
            raise typer.Exit(FAILED) from None

    return run


@contextlib.contextmanager
def _telling_warnings() -> Iterator[None]:
    """Show warnings as lines of this program, without Python's file names and source lines."""

    def tell(message: Warning | str, *_where: object) -> None:
        say("warning", str(message))

    with warnings.catch_warnings():
        warnings.filterwarnings("always", module=r"movinet\.", category=UserWarning)
        warnings.showwarning = tell
        yield


def out() -> Console:
    """A console on stdout: results."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, markup=False, soft_wrap=True)


def err() -> Console:
    """A console on stderr: everything that is no result."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)


_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}


#: Notes of the running command: each is said once, however often a model is loaded.
_noted: set[str] = set()


def say(kind: str, message: str) -> None:
    """Write a line on stderr: ``error: ...``, ``warning: ...`` or ``note: ...``.

    A note is written once in a command.
    """
    from rich.text import Text

    if kind == "note":
        if message in _noted:
            return
        _noted.add(message)
    err().print(Text.assemble((f"{kind}: ", _STYLES[kind]), printable(message)))

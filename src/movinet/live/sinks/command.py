"""A command that runs when an event begins, and when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from typing import IO

from movinet.errors import ConfigError
from movinet.live.sinks.reports import Kind, Report
from movinet.live.sinks.worker import RefusedError, Sink
from movinet.text import one_line

#: Of what a command writes on stderr, bytes that are kept.
_KEPT = 1000


class Command(Sink):
    """Runs a command with a report as JSON on stdin, without a shell, one at a time.

    Args:
        text: Program and arguments, quoted as in a shell.
        seconds: After which it is ended.

    Raises:
        ConfigError: If there is no such program.
    """

    wants: frozenset[Kind] = frozenset(("new", "end"))

    def __init__(self, text: str, seconds: float = 30.0) -> None:
        try:
            words = shlex.split(text, posix=os.name == "posix")
        except ValueError:
            raise ConfigError("exec: its quotation marks are not closed") from None
        if not words:
            raise ConfigError("exec: expected a command behind it, as in exec:notify.sh")
        program = shutil.which(words[0])
        # Arguments may be secrets.
        self.name = f"exec:{one_line(os.path.basename(words[0]))}"  # noqa: PTH119 - of any text
        if program is None:
            raise ConfigError(f"{self.name}: there is no such program")
        self._words, self._seconds = [os.path.abspath(program), *words[1:]], seconds  # noqa: PTH100
        self._running: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Nothing: there is a process for each report."""

    def deliver(self, report: Report, seconds: float) -> None:  # noqa: ARG002
        """Run it; what has failed is not run again, since it may have done its work."""
        with tempfile.TemporaryFile() as told:
            told.write(json.dumps(dict(report.values)).encode() + b"\n")
            told.seek(0)
            try:
                process = subprocess.Popen(
                    self._words,
                    stdin=told,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C ends us, and not a command in its work
                )
            except OSError as error:
                raise RefusedError(f"cannot be run ({error.strerror})") from None
        self._running = process
        try:
            self._wait(process)
        finally:
            self._running = None

    def finish(self, seconds: float) -> None:
        """Nothing: no command runs."""

    def abandon(self) -> None:
        """End it."""
        if (process := self._running) is not None:
            _kill(process)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for its end, and read what it says meanwhile: a full pipe would stop it."""
        assert process.stderr is not None
        said = bytearray()
        reader = threading.Thread(target=_keep_last, args=(process.stderr, said), daemon=True)
        reader.start()
        try:
            code = process.wait(self._seconds)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise RefusedError(f"was ended after {self._seconds:g} s") from None
        reader.join(0.5)  # what it has left behind may hold the pipe for ever
        if code:
            lines = bytes(said).decode(errors="replace").strip().splitlines()
            why = f": {one_line(lines[-1])}" if lines else ""
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise RefusedError(f"failed with {how}{why}")


def _keep_last(pipe: IO[bytes], said: bytearray) -> None:
    with contextlib.suppress(OSError, ValueError), pipe:
        while data := os.read(pipe.fileno(), 4096):
            said += data
            del said[:-_KEPT]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children."""
    with contextlib.suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    end = time.monotonic() + 1
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)

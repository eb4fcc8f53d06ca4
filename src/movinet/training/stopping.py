"""Requests to stop: SIGTERM, Ctrl-C and a closed terminal let a run save first."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


class Stop:
    """Whether the process was asked to stop.

    Attributes:
        signal: The signal's number; 0 while nobody asked.
    """

    def __init__(self) -> None:
        self.signal = 0

    def ask(self, number: int, _frame: object = None) -> None:
        """Handle a signal; a second Ctrl-C does not wait any longer."""
        # torchrun passes Ctrl-C on to processes that the terminal has told already.
        alone = "TORCHELASTIC_RUN_ID" not in os.environ
        if self.signal == number == signal.SIGINT and alone:
            raise KeyboardInterrupt
        self.signal = self.signal or number


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Note requests to stop instead of dying of them; other threads than the main one cannot."""
    stop = Stop()
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):  # Windows has no SIGHUP
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup
                previous[number] = signal.signal(number, stop.ask)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

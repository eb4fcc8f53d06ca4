"""What `movinet watch` shows: one view of all sources in a terminal, else a line an event."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from movinet.cli.common import out, printable
from movinet.cli.prediction_table import bar, sparkline
from movinet.text import shorten

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from movinet.events import EventChange
    from movinet.live import LiveResult, SourceStatus

View = Callable[["LiveResult"], None]
#: Results of a sparkline, and for the rate that is shown.
_HISTORY = 24
_LABEL, _BAR, _EVENTS = 24, 12, 5
#: Between two drawings; for a terminal that stands still at the end; seconds.
_REDRAWN, _PATIENCE = 0.25, 2.0


def event_line(source: str, change: EventChange) -> str:
    """A report of an event as a line for people."""
    event = change.event
    name = f"{printable(source)}  {printable(event.label)}"
    if change.kind == "end":
        return (
            f"{name}  {clock(event.start)} to {clock(event.end)}, {event.end - event.start:.1f} s, "
            f"peak {event.peak:.0%}"
        )
    since = "since" if change.kind == "update" else "from"
    return f"{name}  {since} {clock(event.start)}, peak {event.peak:.0%}"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss.s."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}"


@contextlib.contextmanager
def lines_of_events() -> Iterator[View]:
    """A line for each event that begins or ends."""

    def view(result: LiveResult) -> None:
        for change in result.events:
            if change.kind != "update":
                word = "begins" if change.kind == "new" else "ended"
                print(f"{word:6}  {event_line(result.source, change)}", flush=True)

    yield view


@dataclass
class _Seen:
    """The latest results of one source."""

    result: LiveResult
    when: deque[float] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    best: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=_HISTORY))


class _Board:
    """What is shown, told by one thread and drawn by another."""

    def __init__(self, statuses: Mapping[str, SourceStatus]) -> None:
        self._statuses, self._lock = statuses, threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._events: deque[str] = deque(maxlen=_EVENTS)

    def see(self, result: LiveResult) -> None:
        """The next result."""
        with self._lock:
            one = self._seen.setdefault(result.source, _Seen(result))
            one.result = result
            if not result.ended:
                one.when.append(result.finished)
                one.best.append(result.probabilities)
            for change in result.events:
                if change.kind != "update":
                    word = "begins" if change.kind == "new" else "ended "
                    self._events.append(f"{word}  {event_line(result.source, change)}")

    def drawn(self, top: int, *, plain: bool) -> Group:
        """As it is now."""
        with self._lock:
            return _drawn(self._seen, dict(self._statuses), [*self._events], top, plain)


@contextlib.contextmanager
def live_view(statuses: Mapping[str, SourceStatus], top: int) -> Iterator[View]:
    """One view of all sources, redrawn four times a second at most.

    A thread draws it, so that a terminal that stands still (Ctrl-S, a lost connection) holds up
    neither results nor what they are sent to.
    """
    from rich.live import Live

    board, console, over = _Board(statuses), out(), threading.Event()

    def draw() -> None:
        plain = console.options.ascii_only
        with Live(console=console, auto_refresh=False, transient=False) as live:
            while True:
                last = over.wait(_REDRAWN)
                live.update(board.drawn(top, plain=plain), refresh=True)
                if last:
                    return

    thread = threading.Thread(target=draw, name="movinet view", daemon=True)
    thread.start()
    try:
        yield board.see
    finally:
        over.set()
        thread.join(_PATIENCE)


def _drawn(
    seen: Mapping[str, _Seen],
    statuses: Mapping[str, SourceStatus],
    events: list[str],
    top: int,
    plain: bool,
) -> Group:
    from rich.console import Group
    from rich.text import Text

    parts: list[Text | Table] = []
    for name in dict.fromkeys((*seen, *statuses)):
        status, one = statuses.get(name), seen.get(name)
        parts.append(Text.assemble((printable(name), "bold"), "  ", (_state(status, one), "dim")))
        if one is not None:
            parts.append(_classes(one, top, plain))
    if events:
        parts.append(Text("events", "bold"))
        parts += [Text(f"  {line}", no_wrap=True, overflow="ellipsis") for line in events]
    return Group(*parts)


def _state(status: SourceStatus | None, one: _Seen | None) -> str:
    """How a source is doing, in a few words."""
    words = ["connecting" if status is None else status.state]
    if one is not None and status is not None and status.connected:
        result = one.result
        spent = one.when[-1] - one.when[0] if len(one.when) > 1 else 0.0
        rate = (len(one.when) - 1) / spent if spent > 0 else 0.0
        words = [
            clock(result.time),
            f"{rate:.1f} results/s",
            f"age {result.age * 1000:.0f} ms",
            f"{status.dropped} dropped",
        ]
        if status.reconnects:
            words.append(f"{status.reconnects} reconnects")
        if time.time() - result.finished > 2:
            words.append("no new frame")
    return ", ".join(words)


def _classes(one: _Seen, top: int, plain: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    result = one.result
    order = np.argsort(-result.probabilities, kind="stable")[:top]
    for number in order:
        value = float(result.probabilities[number])
        history = np.array([row[number] for row in one.best]) if one.best else np.zeros(1)
        table.add_row(
            Text(f"  {shorten(printable(result.labels[number]), _LABEL):{_LABEL}}"),
            Text(f"{value:4.0%}"),
            Text(f"{bar(value, _BAR, plain):{_BAR}}"),
            Text(sparkline(history, min(_HISTORY, len(history)), plain)),
        )
    return table

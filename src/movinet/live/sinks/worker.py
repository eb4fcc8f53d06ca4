"""One thread a sink: it takes reports from a bounded queue, and tries again what fails."""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from movinet.live.sinks.reports import EVENTS, Counts, Kind, Report, ReportQueue

#: Called with "warning" or "note" and a line about a sink.
Say = Callable[[str, str], None]
#: The same trouble is told again after so long, seconds.
_SAID_FOR = 60.0
#: Reports that wait for a sink over the end of a run.
_KEPT = frozenset(("new", "end"))


class TryAgainError(Exception):
    """A report has not arrived, and may arrive later."""


class RefusedError(Exception):
    """A report has not arrived, and never will."""


@dataclass(frozen=True)
class Limits:
    """What a sink may take.

    Attributes:
        room: Reports that may wait.
        attempt: For passing on one report, seconds.
        shortest: Before trying again at first, seconds; doubled each time.
        longest: Before trying again at most, seconds.
        closing: For passing on what waits at the end, seconds.
    """

    room: int = 1000
    attempt: float = 10.0
    shortest: float = 0.5
    longest: float = 30.0
    closing: float = 5.0


class Sink(ABC):
    """Where reports go. All but `open` and `abandon` is called in the sink's own thread.

    Attributes:
        name: What it is called in messages; has no secrets.
        wants: Kinds of reports that it takes.
    """

    name: str
    wants: frozenset[Kind] = EVENTS

    @abstractmethod
    def open(self) -> None:
        """Prepare.

        Raises:
            ConfigError: If it is not possible.
        """

    @abstractmethod
    def deliver(self, report: Report, seconds: float) -> None:
        """Pass on a report.

        Args:
            report: Of a kind that it wants.
            seconds: That it may take.

        Raises:
            TryAgainError: If it has not arrived.
            RefusedError: If trying again is of no use.
        """

    @abstractmethod
    def finish(self, seconds: float) -> None:
        """Let go of everything, in so many seconds."""

    def size(self) -> int | None:
        """Of what it has written, bytes; None if it cannot look at that again."""
        return None

    def told(self, size: int) -> frozenset[str]:  # noqa: ARG002
        """The `key` of each report that it has told since its `size` was this."""
        return frozenset()

    def begun(self, size: int) -> dict[tuple[str, str], float]:  # noqa: ARG002
        """When events began that it has told since then, by source and id, seconds since 1970."""
        return {}

    def key(self, report: Report) -> str:
        """What tells a report from others."""
        values = report.values
        if report.kind == "result":
            return f"result {values['source']} {values['number']} {'ended' in values}"
        return f"{report.kind} {values['id']} {values['end'] if report.kind == 'update' else ''}"

    def abandon(self) -> None:  # noqa: B027 - most sinks have nothing to do
        """The time for closing is over: end what `deliver` is doing."""


class Worker:
    """Runs a sink.

    Args:
        sink: Opened.
        limits: What it may take.
        say: Called in the sink's thread when there is trouble, and when it is over.
    """

    def __init__(self, sink: Sink, limits: Limits, say: Say) -> None:
        self.sink = sink
        self._limits, self._say = limits, say
        self._queue = ReportQueue(limits.room)
        self._closing, self._end = threading.Event(), float("inf")
        self._said: dict[str, float] = {}
        self._told: frozenset[str] = frozenset()
        self._troubled = False
        self._thread = threading.Thread(target=self._run, name=f"movinet {sink.name}", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> Counts:
        """What became of its reports."""
        return self._queue.counts

    @property
    def waiting(self) -> int:
        """Reports that wait."""
        return len(self._queue)

    def put(self, report: Report) -> None:
        """Let it pass on a report, if it wants it and has not told it already; never waits."""
        if report.kind in self.sink.wants and not self._has_told(report):
            self._queue.put(report)

    def state(self) -> dict[str, Any]:
        """What a later run must know, as JSON values."""
        size = self.sink.size()  # first: what arrives meanwhile is found behind it
        waiting = [list(report) for report in self._queue.unsent() if report.kind in _KEPT]
        return {"name": self.sink.name, "size": size, "waiting": waiting}

    def resume(self, size: int | None, waiting: Sequence[Report]) -> None:
        """Go on after a run that was killed; before anything is put.

        Args:
            size: What `state` had.
            waiting: The same.
        """
        if size is not None:
            self._told = self.sink.told(size)
        for report in waiting:
            self.put(report)

    def _has_told(self, report: Report) -> bool:
        return bool(self._told) and self.sink.key(report) in self._told

    def close(self, end: float) -> None:
        """Pass on what waits until `end`, on the monotonic clock; `join` waits for it."""
        self._end = end
        self._closing.set()
        self._queue.close()

    def join(self) -> None:
        """Wait until it has closed, or its time is over."""
        self._thread.join(max(0.0, self._end - time.monotonic()))
        if self._thread.is_alive():
            self._queue.abandon()
            self.sink.abandon()
            self._thread.join(0.5)
            if (taken := self._queue.taken) is not None and self._thread.is_alive():
                self._queue.drop(taken)
        if self.counts.dropped:
            self._say("warning", f"{self.sink.name}: reports that did not arrive: {self.counts}")

    def _run(self) -> None:
        try:
            while (report := self._queue.get()) is not None:
                self._pass_on(report)
            self.sink.finish(max(0.0, min(self._left(), self._limits.closing)))
        except Exception as error:  # the others go on, and this one is no silent loss
            self._queue.abandon()
            self._say("warning", f"{self.sink.name}: stopped ({type(error).__name__})")

    def _left(self) -> float:
        """Seconds until it must have closed."""
        return self._end - time.monotonic()

    def _pass_on(self, report: Report) -> None:
        wait = self._limits.shortest
        while True:
            last = self._closing.is_set()
            try:
                self.sink.deliver(report, max(0.1, min(self._limits.attempt, self._left())))
            except RefusedError as error:
                self._tell(str(error))
                self._queue.drop(report)
                return
            except TryAgainError as error:
                self._tell(f"{error}; trying again" if not last else str(error))
            else:
                self._queue.delivered()
                if self._troubled:
                    self._troubled = False
                    self._say("note", f"{self.sink.name}: works again")
                return
            if last:  # nothing arrives any more: the rest would only take time
                self._queue.drop(report)
                self._queue.abandon()
                return
            if report.kind in ("result", "update") and len(self._queue):
                self._queue.drop(report)  # what waits behind it says more
                following = self._queue.get()
                if following is None:
                    return
                report = following
            # Cameras that lost a server together must not all come back at the same moment.
            self._closing.wait(wait * random.uniform(0.75, 1.25))
            wait = min(2 * wait, self._limits.longest)

    def _tell(self, reason: str) -> None:
        """Say what is wrong, once for each reason and minute."""
        self._troubled, now = True, time.monotonic()
        if now >= self._said.get(reason, 0.0):
            if len(self._said) > 20:
                self._said.clear()
            self._said[reason] = now + _SAID_FOR
            self._say("warning", f"{self.sink.name}: {reason}")

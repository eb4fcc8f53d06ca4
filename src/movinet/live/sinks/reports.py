"""What is told to sinks, and the queue in which it waits for one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["result", "new", "update", "end"]
#: What a full queue gives up first; of one rank, the oldest.
_RANK: dict[Kind, int] = {"result": 0, "update": 1, "new": 2, "end": 2}
EVENTS: frozenset[Kind] = frozenset(("new", "update", "end"))
EVERYTHING: frozenset[Kind] = EVENTS | frozenset[Kind](("result",))


class Report(NamedTuple):
    """Something to tell.

    Attributes:
        kind: A result of a tick, or what there is to say of an event.
        source: Name of the source.
        values: JSON values.
        active: Of an event: the labels of the source's events that go on after this report.
    """

    kind: Kind
    source: str
    values: Mapping[str, Any]
    active: tuple[str, ...] = ()


@dataclass
class Counts:
    """What became of a sink's reports.

    Attributes:
        accepted: Reports that the sink was given.
        delivered: Those that arrived.
        dropped: Those that were given up, by their kind.
    """

    accepted: int = 0
    delivered: int = 0
    dropped: dict[Kind, int] = field(default_factory=dict)

    def __str__(self) -> str:
        told = ", ".join(f"{self.dropped[kind]} {kind}" for kind in _RANK if kind in self.dropped)
        return told or "none"


class ReportQueue:
    """Reports in order, at most `room` of them; whoever puts one never waits.

    Args:
        room: Reports that may wait.

    Attributes:
        counts: What became of them; with `delivered` and `drop` for the one that was taken last.
    """

    def __init__(self, room: int) -> None:
        self.counts = Counts()
        self._room, self._next, self._closed = room, 0, False
        self._waiting: tuple[deque[tuple[int, Report]], ...] = (deque(), deque(), deque())
        self._changed = threading.Condition()
        self._taken: Report | None = None
        self._unsent: list[Report] = []

    def __len__(self) -> int:
        with self._changed:
            return self._count()

    def put(self, report: Report) -> None:
        """Let a report wait; in a full queue it takes the place of the least important one."""
        with self._changed:
            self.counts.accepted += 1
            if self._closed:
                self._drop(report)
                return
            self._waiting[_RANK[report.kind]].append((self._next, report))
            self._next += 1
            if self._count() > self._room:
                self._drop(next(rank for rank in self._waiting if rank).popleft()[1])
            self._changed.notify()

    def get(self) -> Report | None:
        """The oldest report, when there is one; None when the queue is closed and empty."""
        with self._changed:
            while not (ready := [rank for rank in self._waiting if rank]):
                if self._closed:
                    return None
                self._changed.wait()
            self._taken = min(ready, key=lambda rank: rank[0][0]).popleft()[1]
            return self._taken

    def unsent(self) -> list[Report]:
        """What has not arrived yet, in order; what the end came too early for is there, too."""
        with self._changed:
            taken = [] if self._taken is None else [self._taken]
            waiting = sorted(item for rank in self._waiting for item in rank)
            return [*self._unsent, *taken, *(report for _, report in waiting)]

    @property
    def taken(self) -> Report | None:
        """What was taken, and has not arrived yet."""
        return self._taken

    def delivered(self) -> None:
        """A report that was taken has arrived."""
        with self._changed:
            self.counts.delivered += 1
            self._taken = None

    def drop(self, report: Report) -> None:
        """A report that was taken is given up."""
        with self._changed:
            self._taken = None
            self._drop(report)

    def close(self) -> None:
        """Accept nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Accept nothing more, and give up what waits."""
        with self._changed:
            self._closed = True
            for rank in self._waiting:
                while rank:
                    self._drop(rank.popleft()[1])
            self._changed.notify_all()

    def _count(self) -> int:
        return sum(len(rank) for rank in self._waiting)

    def _drop(self, report: Report) -> None:
        dropped = self.counts.dropped
        dropped[report.kind] = dropped.get(report.kind, 0) + 1
        if self._closed and len(self._unsent) < self._room:
            self._unsent.append(report)

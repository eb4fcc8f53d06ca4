"""What the sinks of a killed run knew, as a file from anywhere says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from movinet.errors import CheckpointError
from movinet.live.sinks.reports import Report
from movinet.runtime.saved_run import finite

#: Of an event's report.
_TEXTS = ("source", "kind", "id", "label")
_NUMBERS = ("start", "end", "peak", "peak_time", "mean", "started")
#: Far more reports than ever wait.
_MOST = 100_000


@dataclass
class SavedSinks:
    """What sinks knew.

    Attributes:
        clocks: Of each source: what its time is short of the wall clock's, and its newest time.
        open: Of each source: the events that last, by their ids.
        targets: By name: the size of what it had written, and what waited for it.
    """

    clocks: dict[str, tuple[float, float]] = field(default_factory=dict)
    open: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    targets: dict[str, tuple[int | None, list[Report]]] = field(default_factory=dict)

    @classmethod
    def of(cls, state: Any, where: str) -> SavedSinks:
        """From JSON values that may be anything.

        Args:
            state: `Sinks.state`; None if there were no sinks.
            where: The file, for messages.

        Raises:
            CheckpointError: If they are something else.
        """
        if state is None:
            return cls()
        try:
            clocks = {name: (finite(a), finite(b)) for name, (a, b) in state["clocks"].items()}
            events = {
                source: {key: _event(values) for key, values in found.items()}
                for source, found in state["open"].items()
            }
            if not events.keys() <= clocks.keys():
                raise ValueError("events without a time")
            targets = {target["name"]: _target(target) for target in state["targets"]}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise CheckpointError(
                f"{where}: what it has of sinks is damaged; remove it to start again"
            ) from None
        return cls(clocks, events, targets)


def _target(target: dict[str, Any]) -> tuple[int | None, list[Report]]:
    size, waiting = target["size"], target["waiting"]
    if size is not None and (type(size) is not int or not 0 <= size < 2**63):
        raise ValueError("no size")
    if not isinstance(waiting, list) or len(waiting) > _MOST:
        raise ValueError("no reports")
    return size, [_report(*values) for values in waiting]


def _report(kind: Any, source: Any, values: Any, active: Any) -> Report:
    if kind not in ("new", "end") or not all(isinstance(one, str) for one in (source, *active)):
        raise ValueError("no report")
    return Report(kind, source, _event(values), tuple(active))


def _event(values: dict[str, Any]) -> dict[str, Any]:
    if not all(isinstance(values[name], str) for name in _TEXTS):
        raise ValueError("no texts")
    for name in _NUMBERS:
        finite(values[name])
    time_of_start(values)
    if values.keys() - {*_TEXTS, *_NUMBERS, "cut"} or values.get("cut", True) is not True:
        raise ValueError("something else")
    return dict(values)


def time_of_start(values: Mapping[str, Any]) -> float:
    """When an event began on the wall clock, seconds since 1970.

    Raises:
        ValueError: If it is none, or of a year without four digits.
    """
    started = finite(values["started"])
    if not -1e11 < started < 1e11:
        raise ValueError("no time")
    return started

"""Probabilities over time to events: one detector for live streams and for recordings.

Each class goes through the same steps: its log-odds are smoothed; an interval begins at `on` and
ends below `off`; intervals with a short gap are merged; what is then too short is dropped; after an
event follows a dead time. All of it needs only what has been seen, so an event is reported as soon
as it is certain that it is one, and its end as soon as no later frame can move it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from movinet.errors import ConfigError
from movinet.events.rules import Rules
from movinet.text import one_line

#: Probabilities are cut here before their log-odds are taken.
_LEAST = 1e-6
#: A millisecond's part: times are compared in binary floating point.
_SLACK = 1e-9


@dataclass(frozen=True)
class Event:
    """Something that happens from when to when.

    Attributes:
        id: The same for every report of the event, and again if the same stream is seen again.
        label: The class.
        start: Seconds in the stream, of the first frame of the event.
        end: Of the first frame that does not belong to it any more; while it lasts, of the newest
            frame.
        peak: Highest smoothed probability.
        peak_time: When that was, seconds.
        mean: Mean of the smoothed probability over the event's frames.
    """

    id: str
    label: str
    start: float
    end: float
    peak: float
    peak_time: float
    mean: float


@dataclass(frozen=True)
class EventChange:
    """A report of an event.

    Attributes:
        kind: "new" when it is certain that it is one, "update" while it lasts, "end" when it is
            certain that it has ended. Each event is new once and ends once.
        event: Its state then.
    """

    kind: Literal["new", "update", "end"]
    event: Event


@dataclass
class _Track:
    """A class's interval, as far as it is known.

    Attributes:
        start: Of its first frame, seconds.
        stop: When it fell below `off`; None while it is on.
        total, count: Of the smoothed probabilities of its frames.
        late_total, late_count: Of those since `stop`, which belong to it if it goes on.
        reported: When the event was last reported; None if it is not certain yet.
    """

    start: float
    stop: float | None = None
    peak: float = 0.0
    peak_time: float = 0.0
    total: float = 0.0
    count: int = 0
    late_total: float = 0.0
    late_count: int = 0
    reported: float | None = None

    @classmethod
    def of(cls, values: dict[str, Any]) -> _Track:
        """From `dataclasses.asdict`, checked.

        Raises:
            TypeError, ValueError, OverflowError: If it is something else.
        """
        track = cls(**values)
        for name in ("start", "peak", "peak_time", "total", "late_total"):
            _number(getattr(track, name))
        for optional in (track.stop, track.reported):
            if optional is not None:
                _number(optional)
        counts = track.count, track.late_count
        if not all(type(count) is int for count in counts) or track.count < 1 or counts[1] < 0:
            raise ValueError("its frames are not counted")
        return track


def _number(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # pyright: ignore[reportArgumentType]
        raise ValueError(f"{value!r} is no number")
    return float(value)  # pyright: ignore[reportArgumentType]


class Detector:
    """Finds events in one stream of probabilities.

    Args:
        labels: Names of the classes.
        rules: When events begin and end.
        source: Distinguishes the ids of several streams.

    Raises:
        ConfigError: If a rule names an unknown class.
    """

    def __init__(
        self, labels: Sequence[str], rules: Rules | None = None, *, source: str = ""
    ) -> None:
        rules = Rules() if rules is None else rules
        self._labels, self._source = tuple(labels), source
        self._rules, self._exclusive = rules.for_labels(labels), rules.exclusive
        self._smoothing = np.zeros(len(labels))
        self._on = np.full(len(labels), np.inf)
        for number, rule in self._rules.items():
            self._smoothing[number], self._on[number] = rule.smoothing, rule.on
        self._odds: NDArray[np.float64] | None = None
        self._time: float | None = None
        self._tracks: dict[int, _Track] = {}
        self._free: dict[int, float] = {}

    def update(self, time: float, probabilities: NDArray[np.floating]) -> list[EventChange]:
        """See the probabilities at a time.

        Args:
            time: Seconds in the stream; later than the time before.
            probabilities: (classes,) in [0, 1].

        Returns:
            What there is to report, classes in order.

        Raises:
            ConfigError: If the time does not increase, or the shape or a value is not allowed; the
                detector has not moved.
        """
        values = self._checked(time, probabilities)
        changes = self._break(time) if self._time is not None else []
        smooth = self._smooth(time, values)
        self._time = time
        if self._exclusive:
            smooth = np.where(smooth == smooth.max(), smooth, 0.0)
        begins = np.flatnonzero(smooth >= self._on)
        for number in sorted({*self._tracks, *begins.tolist()}):
            changes += self._see(number, time, float(smooth[number]))
        return changes

    def finish(self, time: float | None = None) -> list[EventChange]:
        """End every event, since the stream has ended.

        Args:
            time: Its end, seconds; None for its last frame.
        """
        end = max(self._time or 0.0, time or 0.0)
        changes: list[EventChange] = []
        for number in sorted(self._tracks):
            changes += self._close(number, end)
        return changes

    def state(self) -> dict[str, Any]:
        """Everything that it carries, as JSON values."""
        return {
            "time": self._time,
            "odds": None if self._odds is None else self._odds.tolist(),
            "tracks": {str(i): dataclasses.asdict(track) for i, track in self._tracks.items()},
            "free": {str(i): time for i, time in self._free.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave for the same classes and rules.

        Raises:
            ConfigError: If it is something else.
        """
        try:
            time = None if state["time"] is None else _number(state["time"])
            odds = None
            if state["odds"] is not None:
                odds = np.array([_number(value) for value in state["odds"]])
                if odds.shape != (len(self._labels),):
                    raise ValueError("another number of classes")
            tracks = {int(i): _Track.of(values) for i, values in state["tracks"].items()}
            free = {int(i): _number(end) for i, end in state["free"].items()}
            if not {*tracks, *free} <= self._rules.keys():
                raise ValueError("classes without a rule")
            if tracks and time is None:
                raise ValueError("events without a time")
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ConfigError(f"it is not the state of these events: {one_line(error)}") from None
        self._odds, self._tracks, self._free, self._time = odds, tracks, free, time

    def _checked(self, time: float, probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        values = np.asarray(probabilities, np.float64)
        if values.shape != (len(self._labels),):
            raise ConfigError(
                f"expected probabilities of shape ({len(self._labels)},), got {values.shape}"
            )
        if not ((values >= 0) & (values <= 1 + 1e-6)).all():
            raise ConfigError("probabilities must be in [0, 1]")
        if not math.isfinite(time) or (self._time is not None and time <= self._time):
            raise ConfigError(f"expected a time after {self._time} s, got {time} s")
        return values

    def _smooth(self, time: float, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Smoothed probabilities of all classes at `time`."""
        cut = np.clip(values, _LEAST, 1 - _LEAST)
        odds = np.log(cut) - np.log1p(-cut)
        if self._odds is not None and self._time is not None:
            passed = time - self._time
            constants = self._smoothing
            weight = np.ones_like(constants)
            slow = constants > 0
            weight[slow] = -np.expm1(-passed / constants[slow])
            odds = self._odds + weight * (odds - self._odds)
        self._odds = odds
        return 1 / (1 + np.exp(-odds))

    def _break(self, time: float) -> list[EventChange]:
        """End what a gap in the stream ends, at the last frame before it."""
        assert self._time is not None
        passed = time - self._time
        if passed <= min((rule.break_after for rule in self._rules.values()), default=math.inf):
            return []
        changes: list[EventChange] = []
        for number in sorted(self._tracks):
            if passed > self._rules[number].break_after:
                changes += self._close(number, self._time)
        return changes

    def _see(self, number: int, time: float, value: float) -> list[EventChange]:
        """A class's next frame."""
        rule, changes = self._rules[number], []
        track = self._tracks.get(number)
        if track is not None and track.stop is not None:
            over = time - track.stop >= rule.merge - _SLACK
            if over:
                changes += self._close(number, track.stop)
                track = None
            elif value >= rule.on:  # it goes on after a short gap
                track.total += track.late_total
                track.count += track.late_count
                track.stop, track.late_total, track.late_count = None, 0.0, 0
        if track is None:
            if value < rule.on or time < self._free.get(number, -math.inf) - _SLACK:
                return changes
            track = self._tracks[number] = _Track(time)
        if track.stop is None and value < rule.off:
            track.stop = time
        if track.stop is not None:
            track.late_total += value
            track.late_count += 1
            if rule.merge == 0:
                return changes + self._close(number, track.stop)
            return changes + self._report(number, time)
        track.total += value
        track.count += 1
        if value > track.peak:
            track.peak, track.peak_time = value, time
        return changes + self._report(number, time)

    def _report(self, number: int, time: float) -> list[EventChange]:
        """That an event is certain, or how it stands."""
        rule, track = self._rules[number], self._tracks[number]
        end = time if track.stop is None else track.stop
        if track.reported is None:
            if end - track.start < rule.shortest - _SLACK:
                return []
            track.reported = time
            return [EventChange("new", self._event(number, end))]
        if track.stop is None and time - track.reported >= rule.update - _SLACK:
            track.reported = time
            return [EventChange("update", self._event(number, end))]
        return []

    def _close(self, number: int, end: float) -> list[EventChange]:
        """End a class's interval."""
        rule, track = self._rules[number], self._tracks[number]
        end = end if track.stop is None else track.stop
        changes = []
        if track.reported is None and end - track.start >= rule.shortest - _SLACK:
            track.reported = end
            changes.append(EventChange("new", self._event(number, end)))
        if track.reported is not None:
            changes.append(EventChange("end", self._event(number, end)))
            self._free[number] = end + rule.dead
        del self._tracks[number]
        return changes

    def _event(self, number: int, end: float) -> Event:
        track = self._tracks[number]
        name = f"{self._source}/" if self._source else ""
        return Event(
            f"{name}{number}-{round(track.start * 1000)}",
            self._labels[number],
            track.start,
            end,
            track.peak,
            track.peak_time,
            track.total / track.count,
        )


def find_events(
    times: Iterable[float],
    probabilities: Iterable[NDArray[np.floating]],
    labels: Sequence[str],
    rules: Rules | None = None,
    *,
    end: float | None = None,
) -> list[Event]:
    """The events of a recording, by start and class.

    Args:
        times: Seconds, increasing.
        probabilities: (classes,) at each time.
        labels: Names of the classes.
        rules: When events begin and end.
        end: Of the recording, seconds; None for its last frame.

    Raises:
        ConfigError: As `Detector`.
    """
    detector = Detector(labels, rules)
    changes = [
        change
        for time, values in zip(times, probabilities, strict=True)
        for change in detector.update(time, values)
    ]
    ends = [change.event for change in (*changes, *detector.finish(end)) if change.kind == "end"]
    return sorted(ends, key=lambda event: (event.start, labels.index(event.label)))

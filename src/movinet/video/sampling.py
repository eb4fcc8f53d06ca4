"""Frames at a fixed rate from frames at any times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from movinet.errors import ConfigError
from movinet.video.pixels import Frame


class _Timed(Protocol):
    @property
    def time(self) -> float: ...


T = TypeVar("T", bound=_Timed)


def tolerance(frame_rate: float) -> float:
    """How late a frame may be for a tick, seconds: containers round times to milliseconds."""
    return min(1e-3, 0.25 / frame_rate)


def check_rate(frame_rate: float) -> None:
    """Raise ConfigError for a rate that is no positive number."""
    if not 0 < frame_rate < math.inf:
        raise ConfigError(f"frame_rate must be a positive number, not {frame_rate}")


def resample(frames: Iterable[Frame], frame_rate: float) -> Iterator[Frame]:
    """The frame on screen at every k / `frame_rate` seconds, by time and never by index.

    Frames are repeated where the source is slower and dropped where it is faster. The first tick
    is the first one with a frame on screen; the last frame stays as long as the one before it did.
    Holds one frame; a live source is passed on one frame late.

    Args:
        frames: In order of their times.
        frame_rate: Ticks a second.

    Yields:
        Frames with the tick as their time; at least one if there is any frame.

    Raises:
        ConfigError: If `frame_rate` is not a positive number.
    """
    check_rate(frame_rate)
    return (Frame(tick, frame.image) for tick, frame in at_rate(frames, frame_rate))


def at_rate(
    frames: Iterable[T],
    frame_rate: float,
    *,
    offset: float = 0.0,
    stay_of: Callable[[T], float] | None = None,
) -> Iterator[tuple[float, T]]:
    """`resample` for anything with a time: pairs of tick and frame.

    Args:
        frames: In order of their times.
        frame_rate: Ticks a second.
        offset: Ticks are at `offset` + k / `frame_rate` seconds.
        stay_of: How long a frame is shown if it is the last one, seconds; by default as long as the
            one before it.
    """
    slack = tolerance(frame_rate)
    shown, stay, k, ticks = None, 0.0, 0, 0
    for frame in frames:
        if shown is None:
            k = math.ceil((frame.time - offset - slack) * frame_rate)
        else:
            while (tick := offset + k / frame_rate) + slack < frame.time:
                yield tick, shown
                k, ticks = k + 1, ticks + 1
            stay = frame.time - shown.time
        shown = frame
    if shown is None:
        return
    if stay_of is not None:
        stay = stay_of(shown)
    while (tick := offset + k / frame_rate) + slack < shown.time + stay or not ticks:
        yield tick, shown
        k, ticks = k + 1, ticks + 1


def at_times(frames: Iterable[T], times: list[float], slack: float) -> Iterator[T]:
    """The frame on screen at each of the increasing `times`; the nearest one outside the frames.

    Yields:
        As many frames as `times`, or none if there are no frames.
    """
    remaining = iter(times)
    time = next(remaining, None)
    shown = None
    for frame in frames:
        while shown is not None and time is not None and time + slack < frame.time:
            yield shown
            time = next(remaining, None)
        if time is None:
            return
        shown = frame
    while shown is not None and time is not None:
        yield shown
        time = next(remaining, None)

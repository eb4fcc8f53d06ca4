"""From frames at any times to the ticks at which a model sees them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, TypeVar

from movinet.video.sampling import check_rate, tolerance

T = TypeVar("T")
#: A picture stays on screen for at most so long, seconds: behind that there is a gap.
LONGEST_HOLD = 2.0


@dataclass(frozen=True)
class Due(Generic[T]):
    """Ticks at which one frame is on screen.

    Attributes:
        frame: What is on screen.
        numbers: Of the ticks, in order; tick k is at k / rate seconds.
    """

    frame: T
    numbers: range


class Ticker(Generic[T]):
    """Tells the frame on screen at every k / `rate` seconds, as `movinet.video.resample` does.

    It is known when the next frame arrives, so a result is one frame of the source late. Where a
    stream pauses, its last picture is not repeated longer than `LONGEST_HOLD`.
    """

    def __init__(self, rate: float) -> None:
        check_rate(rate)
        self._rate, self._slack = rate, tolerance(rate)
        self._shown: tuple[float, T] | None = None
        self._next = 0

    def see(self, time: float, frame: T) -> Due[T] | None:
        """The ticks of the frame before, now that the next one is there.

        Args:
            time: Of the next frame, seconds; later than the frame before.
            frame: The next frame.
        """
        due = None
        if self._shown is None or time - self._shown[0] > LONGEST_HOLD:
            self._next = max(self._next, math.ceil((time - self._slack) * self._rate))
        else:
            first = self._next
            while self._next / self._rate + self._slack < time:
                self._next += 1
            if self._next > first:
                due = Due(self._shown[1], range(first, self._next))
        self._shown = (time, frame)
        return due

    def pause(self) -> None:
        """The connection was lost: what was on screen is not any more."""
        self._shown = None

    def skip_to(self, number: int) -> None:
        """Give no tick before a number."""
        self._next = max(self._next, number)

"""The time of a stream that may wrap, jump, go back or have no clock at all."""

from __future__ import annotations

#: Presentation times of MPEG transport and program streams wrap at 2**33 of 90 kHz, seconds.
WRAP = 2**33 / 90_000
#: How much further than the time that has passed a timestamp may go, seconds: servers send what
#: they have kept in one burst.
SLACK = 5.0
#: Two frames are further apart than this, seconds; timestamps that say less are broken.
_SHORTEST = 1e-6
#: Between two frames without usable timestamps that arrive together, seconds.
LEAST = 1e-3


class StreamClock:
    """Seconds in a stream, always increasing, from timestamps and from when frames arrive.

    Timestamps count while they go on as time does. One that goes back, or further ahead than the
    time that has passed allows, begins a new count: the stream goes on by the time that has passed.

    Args:
        start: Time of the first frame.

    Attributes:
        time: Of the frame seen last; None before the first.
        jumps: New counts so far.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._start = start
        self.time: float | None = None
        self.jumps = 0
        self._stamp: float | None = None
        self._arrival = 0.0

    def see(self, stamp: float | None, arrival: float) -> float:
        """The time of the next frame.

        Args:
            stamp: Its timestamp, seconds; None if it has none.
            arrival: When it arrived, seconds of a monotonic clock.
        """
        if self.time is None:
            self.time = self._start
        else:
            self.time += self._step(stamp, max(0.0, arrival - self._arrival))
        self._stamp, self._arrival = stamp, arrival
        return self.time

    def resume(self, time: float, arrival: float) -> None:
        """Go on after a frame of another process.

        Args:
            time: Of that frame.
            arrival: When it arrived, by the monotonic clock of this process.
        """
        self.time, self._stamp, self._arrival = time, None, arrival

    def restart(self) -> None:
        """The connection was lost: the timestamps that follow may be any."""
        self._stamp = None

    def _step(self, stamp: float | None, passed: float) -> float:
        """Seconds since the frame before."""
        if stamp is None or self._stamp is None:
            return max(passed, LEAST)
        for step in (stamp - self._stamp, stamp - self._stamp + WRAP):
            if _SHORTEST <= step <= passed + SLACK:
                return step
        self.jumps += 1
        return max(passed, LEAST)

"""One timeline for a video, whatever its file's clock does.

Files say when a picture is shown, and some say it wrongly: recordings put end to end begin anew,
clocks wrap or jump, a damaged timestamp lies hours ahead. Everything that reads a video takes its
times from here, so that all ways of reading it agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from av.format import Flags
from av.packet import Packet

from movinet.video.container import SkippedPacket, Source

#: A longer step between two frames, seconds, is a broken timestamp (as in ffplay).
_LONGEST_STEP = 3600.0
#: A frame may be on screen for so long, seconds, without further question.
_FREE = 10.0
#: Transport and program streams: a step of the clock back by more than the first or forward by more
#: than the second is another clock, not a gap (as in ffmpeg), seconds. Elsewhere: only back.
_BACK, _FORWARD, _BACK_ELSEWHERE = 0.1, 10.0, 1.0
#: Presentation times are not further ahead of decoding times than this, seconds, or are wrong.
_FAR = 1.0
#: Frames that a decoder holds back at most to bring them into order.
_MOST_HELD_BACK = 17

Report = Callable[[SkippedPacket], None]


class Rewinder:
    """Makes packets of clocks that begin anew, wrap or jump go on where the last one ended.

    In decoding order, by decoding times: presentation times go back and forth there.

    Args:
        source: Whose packets they are.
        report: Told of each jump.
    """

    def __init__(self, source: Source, report: Report) -> None:
        self._source, self._report = source, report
        jumping = bool(source.container.format.flags & Flags.ts_discont.value)
        tick = source.tick
        self._back = round((_BACK if jumping else _BACK_ELSEWHERE) / tick)
        self._forward = round(_FORWARD / tick) if jumping else None
        self._last: int | None = None
        self._step = self._shift = self._end = 0

    def place(self, packet: Packet) -> None:
        """Correct the times of the next packet of the stream in place."""
        if packet.dts is not None and not packet.is_discard:
            dts = packet.dts + self._shift
            if self._last is not None and self._jumps(dts - self._last):
                expected = self._last + self._step
                self._tell(expected, dts - expected)
                self._shift += expected - dts
                self._shift += self._overlap(packet)
                dts = packet.dts + self._shift
            self._last = dts
            self._step = packet.duration or round(self._source.step / self._source.tick)
            if packet.pts is not None:
                self._end = max(self._end, packet.pts + self._shift + self._step)
        if self._shift:
            pts, dts = packet.pts, packet.dts
            packet.pts = None if pts is None else pts + self._shift
            packet.dts = None if dts is None else dts + self._shift

    def _overlap(self, packet: Packet) -> int:
        """How much the first packet of another clock would be shown before the last one goes.

        Some decoding times are guesses of ffmpeg, not far from right.
        """
        if packet.pts is None:
            return 0
        overlap = self._end - (packet.pts + self._shift)
        return overlap if 0 < overlap * self._source.tick <= _FAR else 0

    def _jumps(self, step: int) -> bool:
        return step < -self._back or (self._forward is not None and step > self._forward)

    def _tell(self, timestamp: int, jump: int) -> None:
        reason = f"the clock jumps by {jump * self._source.tick:+.2f} s; times continue from here"
        self._report(SkippedPacket(self._source.seconds(timestamp), reason, note=True))


class Clock:
    """Presentation times that never go back and never stand still for hours.

    A frame whose timestamp is missing or before the frame shown last follows at the stream's usual
    distance. So does one behind a gap that a file of its size does not hold: frames may be on
    screen for 10 seconds each, and for a minute and a second for each `Source.BYTES_A_SECOND` more
    in all, never an hour at once. What follows it keeps its distance.

    Args:
        source: Whose frames they are.
        report: Told of each gap that is cut.

    Attributes:
        count: Frames told so far.
        time: Of the last one, seconds.
        cuts: Gaps that were cut.
    """

    def __init__(self, source: Source, report: Report) -> None:
        self._step, self._report = source.step, report
        self._left = source.most_still
        self._shift = self._shift_before = 0.0
        self.count = self.cuts = 0
        self.time = 0.0

    def tell(self, timestamp: float | None) -> float:
        """The time of the next frame.

        Args:
            timestamp: What the file says, seconds; None if it says nothing.
        """
        if not self.count:
            time = timestamp or 0.0
        elif timestamp is None:
            time = self.time + self._step
        else:
            time = self._after(timestamp)
        self.count += 1
        self.time = time
        return time

    def stay(self, duration: float) -> float:
        """How long the frame that was told last is shown if no other one follows, seconds.

        Args:
            duration: What the file says, seconds; 0 if it says nothing.
        """
        within = duration <= min(_FREE + self._left, _LONGEST_STEP)
        return duration if duration > 0 and within else self._step

    def _after(self, timestamp: float) -> float:
        step = timestamp + self._shift - self.time
        if step < 0:
            # A single timestamp was wrong, or this one is.
            if 0 <= timestamp + self._shift_before - self.time <= _FREE:
                self._shift = self._shift_before
                return timestamp + self._shift
            return self.time + self._step
        if step <= _FREE:
            return timestamp + self._shift
        if step <= _LONGEST_STEP and step - _FREE <= self._left:
            self._left -= step - _FREE
            return timestamp + self._shift
        self._tell(step)
        self._shift_before = self._shift
        self._shift += self._step - step
        return self.time + self._step

    def _tell(self, step: float) -> None:
        self.cuts += 1
        reason = f"no frame for {step:.5g} s, too long for a file of this size; the gap is cut"
        self._report(SkippedPacket(self.time, reason, note=True))


class Shown(NamedTuple):
    """What the file says of a packet.

    Attributes:
        time: When it is shown, seconds; None if unknown.
        decoded: When it is decoded, seconds; None if unknown.
        duration: For how long it is shown, seconds; 0 if unknown.
    """

    time: float | None
    decoded: float | None
    duration: float

    @classmethod
    def of(cls, source: Source, packet: Packet) -> Shown:
        """That of a packet."""
        dts = source.seconds(packet.dts)
        return cls(source.packet_time(packet), dts, source.duration(packet))


def shown_times(
    source: Source, packets: Sequence[Shown], report: Report
) -> tuple[list[float], float]:
    """When all frames of a video appear and the last one goes.

    Args:
        source: Whose they are.
        packets: In decoding order.
        report: Told of each gap that is cut.

    Returns:
        The times in order, and the end; seconds.
    """
    known = []
    for index, packet in enumerate(packets):
        time = index * source.step if packet.time is None else packet.time
        # No decoder holds so many frames back: where clocks meet, ffmpeg guesses times wrong.
        later = math.inf
        if index + _MOST_HELD_BACK < len(packets):
            later = packets[index + _MOST_HELD_BACK].decoded or math.inf
        if packet.decoded is not None and time > later + _FAR:
            time = packet.decoded + source.step
        known.append((time, packet.duration))
    known.sort()
    clock = Clock(source, report)
    times = [clock.tell(time) for time, _ in known]
    return times, times[-1] + clock.stay(known[-1][1]) if times else 0.0

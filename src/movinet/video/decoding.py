"""From packets to frames with presentation times, whatever state the file is in."""

from __future__ import annotations

import heapq
import math
from collections.abc import Generator, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame

from movinet.errors import VideoError
from movinet.video.container import (
    Region,
    SkippedPacket,
    Source,
    check_size,
    open_source,
    reason_of,
)
from movinet.video.timeline import Clock, Report, Rewinder, Shown, shown_times

#: How much earlier to look, seconds, when a seek ended after its target; then from the beginning.
_SEEK_BACK = (0.0, 2.0, 10.0)
#: Consecutive read errors after which the rest of a file is given up.
_MAX_READ_ERRORS = 16
#: Bytes of packets that are held at most while the keyframe before a start is looked for.
_MAX_HELD = 2**26


class Decoded(NamedTuple):
    """A decoded frame.

    Attributes:
        time: When it appears, seconds.
        picture: In ffmpeg's own pixel format.
        stay: How long it is shown if it is the last one, seconds.
        aspect: Width of a stored pixel, in heights.
    """

    time: float
    picture: VideoFrame
    stay: float = 0.0
    aspect: float = 1.0


class _Raw(NamedTuple):
    """A decoded frame, what its timestamps say (seconds or None), and the shape of its pixels."""

    picture: VideoFrame
    pts: int | None
    time: float | None
    duration: float
    aspect: float


class _Trouble(Exception):  # noqa: N818 - never leaves this module
    """Decoding with frame threads met something that it cannot place."""


def decode(source: Source, skipped: list[SkippedPacket], start: float = 0.0) -> Generator[Decoded]:
    """Decode a file's video in presentation order, and close it.

    Times are those of `movinet.video.timeline`, wherever decoding starts.

    A decoder with frame threads reports an error with a later packet than the one that caused it,
    and one met while flushing makes PyAV drop what is behind it. So at the first sign of trouble
    this goes on from the keyframe before, without frame threads; every error then belongs to the
    packet that was sent, and what is decoded does not depend on the number of processors.

    Args:
        source: Just opened.
        skipped: Packets that could not be decoded are appended here, and notes on the times.
        start: Begin at a keyframe at or before this time, seconds, or at the first frame.

    Raises:
        VideoError: If its frames are too large.
    """

    def report(packet: SkippedPacket) -> None:
        if packet not in skipped:  # decoding may begin twice
            skipped.append(packet)

    clock, last = Clock(source, report), _Last()
    if source.frame_threads:
        try:
            for frame in _steady(_decode_once(source, None, report, start)):
                yield last.of(clock, frame)
            return
        except _Trouble:
            source = open_source(source.path, "SLICE")
    # Behind a gap that was cut, the time of a frame does not say where in the file it is.
    resume = start if clock.cuts or last.time is None else last.time
    behind, passed = clock.count, clock.count == 0
    for frame in _steady(_decode_once(source, skipped, report, resume)):
        if not passed:
            behind -= 1
            if last.pts is None or frame.pts is None:
                passed = behind == 0
                continue
            passed = frame.pts >= last.pts
            if frame.pts <= last.pts:
                continue
        yield last.of(clock, frame)


class _Last:
    """What the file says of the frame that was decoded last.

    Attributes:
        pts: Its timestamp, None if it has none.
        time: The same in seconds.
    """

    def __init__(self) -> None:
        self.pts: int | None = None
        self.time: float | None = None

    def of(self, clock: Clock, frame: _Raw) -> Decoded:
        """The next frame, on the clock's time."""
        self.pts, self.time = frame.pts, None if frame.pts is None else frame.time
        time = clock.tell(frame.time)
        return Decoded(time, frame.picture, clock.stay(frame.duration), frame.aspect)


def _steady(frames: Iterator[_Raw]) -> Iterator[_Raw]:
    """Take the time from a frame that is after the next one, which goes on from the one before.

    A wrong timestamp ahead would move all frames behind it: times never go back.
    """
    before, held = -math.inf, None
    for frame in frames:
        if held is not None:
            if held.time is not None and frame.time is not None:
                if before < frame.time < held.time:
                    held = held._replace(pts=None, time=None)
                else:
                    before = held.time
            yield held
        held = frame
    if held is not None:
        yield held


def _decode_once(
    source: Source, skipped: list[SkippedPacket] | None, report: Report, start: float
) -> Iterator[_Raw]:
    """One pass over the file; without a list for `skipped`, errors are `_Trouble`."""
    try:
        source, packets = _position(source, skipped, report, start)
        sent, received, newest, shown = 0, 0, None, None
        # Where packets have decoding times only (AVI), frames get these in their order.
        unordered: list[int] = []
        shapes = _Shapes(source)
        for packet in packets:
            try:
                pictures = source.stream.codec_context.decode(packet)
            except FFmpegError as error:
                if skipped is None:
                    raise _Trouble from None
                skipped.append(SkippedPacket(source.packet_time(packet), reason_of(error)))
                continue
            if shapes.change(packet) and skipped is None and received:
                raise _Trouble  # which of the frames on their way have the new shape?
            if packet is not None and not packet.is_discard:
                sent += 1
                pts = source.pts(packet)
                if pts is not None:
                    newest = pts if newest is None else max(newest, pts)
                elif packet.dts is not None:
                    heapq.heappush(unordered, packet.dts)
            for picture in pictures:
                received += 1
                stamp = shown = source.pts(picture)
                check_size(source.path, picture.width, picture.height)
                if stamp is None and unordered:
                    stamp = heapq.heappop(unordered)
                time, duration = source.seconds(stamp), source.duration(picture)
                yield _Raw(picture, shown, time, duration, shapes.of(shown))
        lost = newest is None or shown is None or newest > shown
        if skipped is None and received < sent and lost:
            raise _Trouble
    finally:
        source.container.close()


class _Shapes:
    """The shape of the pixels of each frame, which PyAV's frames do not say.

    The decoder says it of the packet that it was given last, from which frames come later.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._now = self._newest = source.aspect
        self._changes: list[tuple[int | None, float]] = []

    def change(self, packet: Packet | None) -> bool:
        """Whether the shape is another one from this packet on, which has just been decoded."""
        aspect = self._source.aspect
        if aspect == self._newest:
            return False
        self._newest = aspect
        self._changes.append((None if packet is None else self._source.pts(packet), aspect))
        return True

    def of(self, pts: int | None) -> float:
        """The shape of the frame with this timestamp."""
        while self._changes:
            since, aspect = self._changes[0]
            if since is not None and pts is not None and pts < since:
                break
            self._now = aspect
            del self._changes[0]
        return self._now


def _position(
    source: Source, skipped: list[SkippedPacket] | None, report: Report, start: float
) -> tuple[Source, Iterator[Packet | None]]:
    """Begin at the keyframe at or before `start`.

    Returns:
        The source (opened again where seeking failed) and its packets from there on. Frames shown
        before the keyframe but stored behind it lack what they refer to; they are before `start`.
    """
    if start <= 0 or not source.has_pts:
        return source, _packets(source, skipped, report)
    if source.can_seek and start < source.declared_end <= source.most_still:
        for back in _SEEK_BACK:
            target = source.timestamp(max(start - back, 0.0))
            try:
                source.container.seek(target, stream=source.stream)
            except FFmpegError:
                break
            packets = _packets(source, skipped, report)
            for packet in packets:
                if packet is not None and packet.is_keyframe and packet.pts is not None:
                    if packet.pts > source.timestamp(start):
                        break  # too late; look earlier
                    return source, chain([packet], packets)
    elif (walked := _walk(source, skipped, report, start)) is not None:
        return source, walked
    source.container.close()
    source = open_source(source.path, source.thread_type)
    return source, _packets(source, skipped, report)


def _walk(
    source: Source, skipped: list[SkippedPacket] | None, report: Report, start: float
) -> Iterator[Packet | None] | None:
    """Read on to the keyframe at or before `start`, where seeking does not lead to the same frames.

    Clocks that begin anew and gaps that are cut are known only to who reads from the beginning.

    Returns:
        The packets from there on; None if everything has to be decoded.
    """
    packets, clock = _packets(source, skipped, report), Clock(source, report)
    held: list[Packet] = []
    size, newest = 0, -math.inf
    for packet in packets:
        if packet is None:
            break
        pts = source.seconds(packet.pts)
        if pts is not None and packet.is_keyframe and pts <= start:
            held, size = [], 0
        held.append(packet)
        size += packet.size
        if pts is not None and pts > newest and not packet.is_discard:
            newest = pts
            clock.tell(pts)
        dts = source.seconds(packet.dts)
        # What is behind a packet is shown after the time at which that is decoded.
        if size > _MAX_HELD or (dts is not None and dts > start):
            return None if clock.cuts else chain(held, packets)
    return None if clock.cuts else chain(held, [None])


def _packets(
    source: Source, skipped: list[SkippedPacket] | None, report: Report
) -> Iterator[Packet | None]:
    """The stream's packets, then None to flush the decoder; read errors are passed over."""
    errors, rewinder = 0, Rewinder(source, report)
    while errors < _MAX_READ_ERRORS:
        try:
            for packet in source.container.demux(source.stream):
                if packet.size:  # an empty packet would end decoding
                    errors = 0
                    rewinder.place(packet)
                    yield packet
            break
        except FFmpegError as error:
            if skipped is None:
                raise _Trouble from None
            errors += 1
            if errors == 1:
                skipped.append(SkippedPacket(None, f"cannot be read: {reason_of(error)}"))
    yield None


def extent(path: Path | Region) -> tuple[float, float]:
    """When the first frame appears and the last one goes, from the packets alone.

    A container's own duration may be missing, wrong, or that of the sound.

    Returns:
        Seconds, on the same timeline as `decode`.

    Raises:
        VideoError: If the file cannot be opened or has no packet of video.
    """
    source = open_source(path)
    try:
        found = [
            Shown.of(source, packet)
            for packet in _packets(source, [], _nothing)
            if packet is not None and not packet.is_discard
        ]
    finally:
        source.container.close()
    if not found:
        raise VideoError(f"{path}: its video stream is empty")
    times, end = shown_times(source, found, _nothing)
    # Players begin at 0: what an edit list cuts off is stored before it.
    return (max(times[0], 0.0) if end > 0 else times[0]), end


def _nothing(_packet: SkippedPacket) -> None:
    """Report to nobody: whoever decodes the file is told."""

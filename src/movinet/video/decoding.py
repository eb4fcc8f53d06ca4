"""From packets to frames with presentation times, whatever state the file is in."""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator
from dataclasses import dataclass
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

#: A longer step forward between two frames, seconds, is a broken timestamp (as in ffplay).
_LONGEST_STEP = 3600.0
#: How much earlier to look, seconds, when a seek ended after its target; then from the beginning.
_SEEK_BACK = (0.0, 2.0, 10.0)
#: Consecutive read errors after which the rest of a file is given up.
_MAX_READ_ERRORS = 16


class Decoded(NamedTuple):
    """A decoded frame in ffmpeg's own pixel format, `time` in seconds."""

    time: float
    picture: VideoFrame


class _Raw(NamedTuple):
    """A decoded frame, what its timestamp says (seconds or None), and the usual step, seconds."""

    picture: VideoFrame
    pts: int | None
    time: float | None
    nominal: float


class _Trouble(Exception):  # noqa: N818 - never leaves this module
    """Decoding with frame threads met something that it cannot place."""


def decode(source: Source, skipped: list[SkippedPacket], start: float = 0.0) -> Generator[Decoded]:
    """Decode a file's video in presentation order, and close it.

    Times never go back: a frame whose timestamp is missing, before the frame shown last or more
    than an hour after it follows at the stream's usual distance.

    A decoder with frame threads reports an error with a later packet than the one that caused it,
    and one met while flushing makes PyAV drop what is behind it. So at the first sign of trouble
    this goes on from the keyframe before, without frame threads; every error then belongs to the
    packet that was sent, and what is decoded does not depend on the number of processors.

    Args:
        source: Just opened.
        skipped: Packets that could not be decoded are appended here.
        start: Begin at a keyframe at or before this time, seconds, or at the first frame.

    Raises:
        VideoError: If its frames are too large.
    """
    clock = _Clock()
    if source.frame_threads:
        try:
            for frame in _decode_once(source, None, start):
                yield Decoded(clock.tell(frame), frame.picture)
            return
        except _Trouble:
            source = open_source(source.path, "SLICE")
    resume = start if clock.resume is None else clock.resume
    passed, behind = clock.count == 0, clock.count
    for frame in _decode_once(source, skipped, resume):
        if not passed:
            behind -= 1
            if clock.pts is None or frame.pts is None:
                passed = behind == 0
                continue
            passed = frame.pts >= clock.pts
            if frame.pts <= clock.pts:
                continue
        yield Decoded(clock.tell(frame), frame.picture)


@dataclass
class _Clock:
    """Presentation times that never go back, and where to resume decoding.

    Attributes:
        count: Frames told so far.
        pts: Timestamp of the last one, None if it had none.
        resume: Where in the file the last one is, seconds; None if it had no timestamp.
        time: Of the last one, seconds.
    """

    count: int = 0
    pts: int | None = None
    resume: float | None = None
    time: float = 0.0

    def tell(self, frame: _Raw) -> float:
        """The time of the next frame."""
        time = frame.time
        if self.count:
            if time is None or not 0 <= time - self.time <= _LONGEST_STEP:
                time = self.time + frame.nominal
        elif time is None:
            time = 0.0
        self.count += 1
        self.pts = frame.pts
        self.resume = None if self.pts is None else frame.time
        self.time = time
        return time


def _decode_once(
    source: Source, skipped: list[SkippedPacket] | None, start: float
) -> Iterator[_Raw]:
    """One pass over the file; without a list for `skipped`, errors are `_Trouble`."""
    try:
        source, packets = _position(source, skipped, start)
        sent, received, newest, shown = 0, 0, None, None
        # Where packets have decoding times only (AVI), frames get these in their order.
        unordered: list[int] = []
        for packet in packets:
            try:
                pictures = source.stream.codec_context.decode(packet)
            except FFmpegError as error:
                if skipped is None:
                    raise _Trouble from None
                skipped.append(SkippedPacket(source.packet_time(packet), reason_of(error)))
                continue
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
                yield _Raw(picture, shown, source.seconds(stamp), source.nominal)
        lost = newest is None or shown is None or newest > shown
        if skipped is None and received < sent and lost:
            raise _Trouble
    finally:
        source.container.close()


def _position(
    source: Source, skipped: list[SkippedPacket] | None, start: float
) -> tuple[Source, Iterator[Packet | None]]:
    """Seek to the keyframe at or before `start`.

    Returns:
        The source (opened again where seeking failed) and its packets from there on. Frames shown
        before the keyframe but stored behind it lack what they refer to; they are before `start`.
    """
    if start <= 0 or not source.has_pts:
        return source, _packets(source, skipped)
    for back in _SEEK_BACK:
        target = source.timestamp(max(start - back, 0.0))
        try:
            source.container.seek(target, stream=source.stream)
        except FFmpegError:
            break
        packets = _packets(source, skipped)
        for packet in packets:
            if packet is not None and packet.is_keyframe and packet.pts is not None:
                if packet.pts > source.timestamp(start):
                    break  # too late; look earlier
                return source, chain([packet], packets)
    source.container.close()
    source = open_source(source.path, source.thread_type)
    return source, _packets(source, skipped)


def _packets(source: Source, skipped: list[SkippedPacket] | None) -> Iterator[Packet | None]:
    """The stream's packets, then None to flush the decoder; read errors are passed over."""
    errors = 0
    while errors < _MAX_READ_ERRORS:
        try:
            for packet in source.container.demux(source.stream):
                if packet.size:  # an empty packet would end decoding
                    errors = 0
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
        Seconds.

    Raises:
        VideoError: If the file cannot be opened or has no packet of video.
    """
    source = open_source(path)
    first, last, previous, count = float("inf"), 0.0, None, 0
    try:
        for packet in _packets(source, []):
            if packet is None or packet.is_discard:
                continue
            time = source.packet_time(packet)
            if time is None:
                time = count * source.nominal
            elif previous is not None and abs(time - previous) > _LONGEST_STEP:
                continue
            previous, count = time, count + 1
            first = min(first, time)
            last = max(last, time + ((packet.duration or 0) * source.tick or source.nominal))
    finally:
        source.container.close()
    if not count:
        raise VideoError(f"{path}: its video stream is empty")
    return first, last

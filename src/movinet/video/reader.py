"""Reading a video file frame by frame in constant memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

import av
from av.format import Flags

from movinet.errors import ConfigError, VideoError
from movinet.video.container import Region, SkippedPacket, Source, open_source
from movinet.video.decoding import Decoded, decode
from movinet.video.pixels import Frame, RgbConverter, orientation, upright_size
from movinet.video.sampling import at_rate, check_rate, tolerance

ThreadType = Literal["AUTO", "FRAME", "SLICE", "NONE"]


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of its video.

    Attributes:
        width: Of the frames as they are shown, upright and of square pixels.
        height: The same, pixels.
        frame_rate: Average frames per second; None if unknown.
        duration: Seconds, from the header; None if unknown. Not to be relied on: headers lie.
        rotation: Degrees clockwise that the stored frames are turned to be upright.
        codec: ffmpeg's name of the codec.
        pixel_format: ffmpeg's name of the stored pixel format.
    """

    width: int
    height: int
    frame_rate: float | None
    duration: float | None
    rotation: int
    codec: str
    pixel_format: str


class Header(NamedTuple):
    """What a video reports of itself, as a data set needs it.

    Attributes:
        seconds: Its length.
        width: Pixels.
        height: Pixels.
        rate: Frames per second.
    """

    seconds: float
    width: int
    height: int
    rate: float


class VideoReader:
    """The frames of a local video file, decoded one by one when asked for.

    Memory does not grow with the length of the file. Every iteration starts at the beginning. Use
    it as a context manager, or call `close`, to free the decoder of an iteration that was left.

    ```python
    with VideoReader("video.mp4", start=2.0, end=4.0) as reader:
        for time, image in reader:
            ...
    ```

    Args:
        path: A local file: no URL, no playlist; or a region of one.
        start: Leave out what is before this time, seconds. Decoding begins at the keyframe before.
        end: Stop before this time, seconds.
        frame_rate: The frame on screen at every k / `frame_rate` seconds (see `resample`) instead
            of all frames; faster than resampling afterwards, as only these become RGB.
        thread_type: How ffmpeg decodes in parallel.

    Attributes:
        info: Size, rate and format.
        skipped: Packets that could not be decoded in the latest iteration, so far, and notes.

    Raises:
        ConfigError: If `start`, `end`, `frame_rate` or `offset` make no sense.
        VideoError: If the file is missing, no video, without a single decodable frame, or has
            frames of an absurd size.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Region,
        *,
        start: float | None = None,
        end: float | None = None,
        frame_rate: float | None = None,
        offset: float = 0.0,
        thread_type: ThreadType = "AUTO",
    ) -> None:
        check_range(start, end)
        if frame_rate is not None:
            check_rate(frame_rate)
        if not 0 <= offset < math.inf:
            raise ConfigError(f"offset must be a time in seconds from 0 on, not {offset}")
        self.path = path if isinstance(path, Region) else Path(os.fspath(path))
        self.skipped: list[SkippedPacket] = []
        self._start, self._end = start or 0.0, math.inf if end is None else end
        self._frame_rate, self._offset = frame_rate, offset
        self._thread_type: ThreadType = thread_type
        source = open_source(path, thread_type)
        duration = _duration(source)  # while it is open: decoding may open the file again
        self._decoding = decode(source, self.skipped)
        first = next(self._decoding, None)
        if first is None:
            raise VideoError(f"{self.path}: not one frame can be decoded{self._why()}")
        self.info = _info(source, first, duration)
        # A whole pass goes on from the frame that was decoded for `info`.
        self._first: Decoded | None = first
        if self._start > 0:
            self.close()

    def __iter__(self) -> Iterator[Frame]:
        if self._first is not None:
            frames = chain([self._first], self._decoding)
            self._first = None
        else:
            self.close()
            self.skipped.clear()
            source = open_source(self.path, self._thread_type)
            frames = self._decoding = decode(source, self.skipped, self._start)
        chosen = frames if self._frame_rate is None else self._ticks(frames, self._frame_rate)
        slack = 1e-6 if self._frame_rate is None else 0.5 * tolerance(self._frame_rate)
        to_rgb = RgbConverter(str(self.path), self.skipped)
        try:
            for frame in chosen:
                if frame.time >= self._end - slack:
                    return
                if frame.time >= self._start - slack:
                    yield Frame(frame.time, to_rgb(frame.picture, frame.aspect))
        finally:
            self.close()

    def close(self) -> None:
        """Free the decoder; iterating again opens the file again."""
        self._decoding.close()
        self._first = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ticks(self, frames: Iterator[Decoded], frame_rate: float) -> Iterator[Decoded]:
        at_ticks = at_rate(
            frames, frame_rate, offset=self._offset, stay_of=lambda frame: frame.stay
        )
        return (frame._replace(time=tick) for tick, frame in at_ticks)

    def _why(self) -> str:
        if not self.skipped:
            return ""
        return f" ({len(self.skipped)} broken packets: {self.skipped[0].reason})"


def check_range(start: float | None, end: float | None) -> None:
    """Raise ConfigError for a part of a video that cannot be."""
    for name, value in (("start", start), ("end", end)):
        if value is not None and not (0 <= value < math.inf):
            raise ConfigError(f"{name} must be a time in seconds from 0 on, not {value}")
    if end is not None and end <= (start or 0.0):
        raise ConfigError(f"end {end} must be after start {start or 0.0}")


def _info(source: Source, first: Decoded, duration: float | None) -> VideoInfo:
    picture, stream = first.picture, source.stream
    width, height = upright_size(picture, first.aspect)
    rate = stream.average_rate
    return VideoInfo(
        width=width,
        height=height,
        frame_rate=float(rate) if rate else None,
        duration=duration,
        rotation=orientation(picture).rotation,
        codec=stream.codec_context.name,
        pixel_format=picture.format.name,
    )


def _duration(source: Source) -> float | None:
    if source.container.format.flags & Flags.no_timestamps.value:
        return None  # a raw stream: ffmpeg guesses from the bit rate
    if source.stream.duration:
        return source.stream.duration * source.tick
    if source.container.duration:
        return source.container.duration / av.time_base
    return None

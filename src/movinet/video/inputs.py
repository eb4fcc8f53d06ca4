"""Video as callers have it: a file, the bytes of one, or an array of frames; or a part of it."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import ConfigError, VideoError
from movinet.video.container import SkippedPacket
from movinet.video.finding import local_path
from movinet.video.media import Image, Media, VideoFile
from movinet.video.pixels import Frame
from movinet.video.reader import VideoReader
from movinet.video.sampling import at_rate, at_times, tolerance

#: How bytes and arrays are called where a file has its name.
BYTES, ARRAY = Path("bytes"), Path("array")


@dataclass(frozen=True, eq=False)
class ArrayVideo:
    """Frames in memory behind the protocol of stored video.

    Attributes:
        images: (time, height, width, 3) uint8 RGB.
        frame_rate: Frames per second; frame i is shown from i / `frame_rate` seconds on.
    """

    images: NDArray[np.uint8]
    frame_rate: float

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(ARRAY)

    def extent(self) -> tuple[float, float]:
        """See `Media.extent`."""
        return 0.0, len(self.images) / self.frame_rate

    def told_end(self) -> float:
        """See `Media.told_end`."""
        return self.extent()[1]

    def frames(
        self,
        times: Sequence[float],
        slack: float,
        skipped: list[SkippedPacket],  # noqa: ARG002 - nothing has to be decoded
    ) -> Iterator[Image]:
        """See `Media.frames`."""
        return (frame.image for frame in at_times(self.all_frames(), list(times), slack))

    def all_frames(self) -> Iterator[Frame]:
        """Every frame with its time."""
        for index, image in enumerate(self.images):
            yield Frame(index / self.frame_rate, image)


@dataclass(frozen=True)
class VideoInput:
    """A video, or a part of one.

    Attributes:
        path: Its file, or `BYTES` or `ARRAY`.
        media: Where frames at any times come from.
        start: Where the part begins, seconds; None is the beginning.
        end: Where it ends, seconds; None is the end.
    """

    path: Path
    media: Media
    start: float | None = None
    end: float | None = None

    def span(self) -> tuple[float, float]:
        """When the part begins and ends, seconds.

        Raises:
            VideoError: If the video cannot be read, or the part is not in it.
        """
        first, last = self.media.extent()
        begin = first if self.start is None else max(first, self.start)
        end = last if self.end is None else min(last, self.end)
        if begin >= end:
            raise self.nothing()
        return begin, end

    def nothing(self) -> VideoError:
        """The error for a part in which nothing is shown."""
        till = "the end" if self.end is None else f"{self.end:g} s"
        return VideoError(f"{self.path}: no frame is shown from {self.start or 0:g} s to {till}")

    @contextlib.contextmanager
    def frames(
        self, frame_rate: float, offset: float
    ) -> Iterator[tuple[Iterator[Frame], list[SkippedPacket]]]:
        """The frames on screen at `offset` + k / `frame_rate` seconds.

        Yields:
            The frames, and what could not be decoded, which grows as they are taken.
        """
        if isinstance(self.media, ArrayVideo):
            yield self._of_array(self.media, frame_rate, offset), []
            return
        assert isinstance(self.media, VideoFile)
        assert isinstance(self.media.source, Path)
        with VideoReader(
            self.media.source,
            start=self.start,
            end=self.end,
            frame_rate=frame_rate,
            offset=offset,
        ) as reader:
            yield iter(reader), reader.skipped

    def _of_array(self, media: ArrayVideo, frame_rate: float, offset: float) -> Iterator[Frame]:
        slack = 0.5 * tolerance(frame_rate)
        ticks = at_rate(
            media.all_frames(), frame_rate, offset=offset, stay_of=lambda _: 1 / media.frame_rate
        )
        for tick, frame in ticks:
            if self.end is not None and tick >= self.end - slack:
                return
            if tick >= (self.start or 0.0) - slack:
                yield Frame(tick, frame.image)


def check_input(
    video: object, fps: float | None, start: float | None, end: float | None
) -> VideoInput | bytes:
    """What a caller gives, checked before anything is read.

    Args:
        video: A path; the bytes of a video file; or (time, height, width, 3) uint8 RGB.
        fps: Frames per second of an array.
        start: See `VideoInput`.
        end: See `VideoInput`.

    Returns:
        The input; bytes as they are, for `opened`.

    Raises:
        ConfigError: If it is none of those, or a time is not allowed.
        VideoError: If a name is empty or a URL.
    """
    for name, value in (("start", start), ("end", end)):
        if value is not None and not (_is_number(value) and 0 <= value < math.inf):
            raise ConfigError(f"{name} must be a time in seconds from 0 on, not {value!r}")
    if end is not None and end <= (start or 0.0):
        raise ConfigError(f"end {end:g} must be after start {start or 0.0:g}")
    if isinstance(video, np.ndarray):
        return VideoInput(ARRAY, ArrayVideo(_checked(video), _rate(fps)), start, end)
    if fps is not None:
        raise ConfigError("fps is for arrays of frames: files say their own")
    if isinstance(video, bytes | bytearray | memoryview):
        if not len(video):
            raise VideoError(f"{BYTES}: empty, and no video file")
        return bytes(video)
    if not isinstance(video, str | os.PathLike):
        raise ConfigError(
            "a video is a path, the bytes of a file, or an array (time, height, width, 3) of "
            f"uint8, not {type(video).__name__}"
        )
    path = local_path(video)
    return VideoInput(path, VideoFile(path), start, end)


@contextlib.contextmanager
def opened(
    given: VideoInput | bytes, start: float | None, end: float | None
) -> Iterator[VideoInput]:
    """The input while it is read; bytes lie in a temporary file meanwhile."""
    if isinstance(given, VideoInput):
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        file = Path(folder) / "video"
        file.write_bytes(given)
        try:
            yield VideoInput(BYTES, VideoFile(file), start, end)
        except VideoError as error:
            raise VideoError(str(error).replace(str(file), str(BYTES))) from None


def _checked(images: NDArray[Any]) -> NDArray[np.uint8]:
    if images.ndim != 4 or images.shape[-1] != 3 or not images.size or images.dtype != np.uint8:
        raise ConfigError(
            "an array of frames is (time, height, width, 3) uint8 RGB in [0, 255], not "
            f"{images.shape} {images.dtype}"
        )
    return images


def _rate(fps: float | None) -> float:
    if fps is None:
        raise ConfigError("give the frame rate of an array of frames: fps=25")
    if not _is_number(fps) or not 0 < fps < math.inf:
        raise ConfigError(f"fps must be a positive number of frames per second, not {fps!r}")
    return float(fps)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)

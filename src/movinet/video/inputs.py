"""Video as callers have it: a file, the bytes of one, or an array of frames; or a part of it."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import ConfigError, VideoError
from movinet.video.container import SkippedPacket
from movinet.video.finding import local_path
from movinet.video.frame_folder import FrameFolder, check_frame_rate
from movinet.video.media import Media, VideoFile
from movinet.video.pixels import Frame, Image
from movinet.video.sequence import FrameSequence

#: How bytes and arrays are called where a file has its name.
BYTES, ARRAY = Path("bytes"), Path("array")
_ONLY_FRAMES = "fps is for arrays and folders of frames: files have their own"


@dataclass(frozen=True, eq=False)
class ArrayVideo(FrameSequence):
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

    def places(self) -> NDArray[np.int64]:
        """See `FrameSequence.places`."""
        return np.arange(len(self.images), dtype=np.int64)

    def picture(
        self,
        index: int,
        skipped: list[SkippedPacket],  # noqa: ARG002 - nothing has to be decoded
    ) -> Image:
        """See `FrameSequence.picture`."""
        return self.images[index]


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

    def frames(
        self, frame_rate: float, offset: float
    ) -> AbstractContextManager[tuple[Iterator[Frame], list[SkippedPacket]]]:
        """The frames of the part at `offset` + k / `frame_rate` seconds: see `Media.stream`."""
        return self.media.stream(frame_rate, start=self.start, end=self.end, offset=offset)


def open_media(video: str | os.PathLike[str], frame_rate: float | None = None) -> Media:
    """A video file, or a folder of numbered pictures, as one video.

    Args:
        video: Its path.
        frame_rate: Frames per second of a folder.

    Raises:
        ConfigError: If the frame rate is missing, not allowed, or given for a file.
        VideoError: If the name is empty or a URL.
    """
    path = local_path(video)
    if frame_rate is not None:
        frame_rate = check_frame_rate(frame_rate, "fps")
    if not _is_folder(path):
        if frame_rate is not None:
            raise ConfigError(f"{path}: {_ONLY_FRAMES}")
        return VideoFile(path)
    if frame_rate is None:
        raise ConfigError(
            f"{path}: a folder; if numbered pictures in it are the frames of a video, give their "
            "frame rate: fps=25"
        )
    return FrameFolder(path, frame_rate)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # reported when it is opened
        return False


def check_input(
    video: object, fps: float | None, start: float | None, end: float | None
) -> VideoInput | bytes:
    """What a caller gives, checked before anything is read.

    Args:
        video: A path of a file or of a folder of numbered pictures; the bytes of a video file; or
            (time, height, width, 3) uint8 RGB.
        fps: Frames per second of an array or a folder.
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
    if isinstance(video, bytes | bytearray | memoryview):
        if fps is not None:
            raise ConfigError(_ONLY_FRAMES)
        if not len(video):
            raise VideoError(f"{BYTES}: empty, and no video file")
        return bytes(video)
    if not isinstance(video, str | os.PathLike):
        raise ConfigError(
            "a video is a path, the bytes of a file, or an array (time, height, width, 3) of "
            f"uint8, not {type(video).__name__}"
        )
    media = open_media(video, fps)
    return VideoInput(local_path(video), media, start, end)


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

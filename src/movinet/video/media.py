"""Stored video, wherever its bytes lie."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from movinet.errors import VideoError
from movinet.video.container import Region, SkippedPacket, open_source
from movinet.video.decoding import decode, extent
from movinet.video.pixels import RgbConverter
from movinet.video.sampling import at_times

#: (height, width, 3) uint8 RGB, upright and of square pixels.
Image = NDArray[np.uint8]


class Media(Protocol):
    """Video that can be read at any times; small, hashable and picklable.

    It names the bytes and does not hold them.
    """

    @property
    def name(self) -> str:
        """For messages: a path, or an archive and what is in it."""
        ...

    def extent(self) -> tuple[float, float]:
        """When the first frame appears and the last one goes, seconds.

        Raises:
            VideoError: If it cannot be read.
        """
        ...

    def told_end(self) -> float:
        """When the header says that it ends, seconds; 0 if it says nothing, and it may be wrong.

        Raises:
            VideoError: If it cannot be read.
        """
        ...

    def frames(
        self, times: Sequence[float], slack: float, skipped: list[SkippedPacket]
    ) -> Iterator[Image]:
        """The frame on screen at each of some times; the nearest one outside the video.

        Only the needed part is decoded. Where two times show one frame, the same array comes twice.

        Args:
            times: Increasing, seconds.
            slack: How late a frame may be for a time, seconds (`movinet.video.sampling.tolerance`).
            skipped: Packets that could not be decoded are appended here, and notes.

        Raises:
            VideoError: If it cannot be read, ends before the first time, or no frame can be
                decoded.
        """
        ...


@dataclass(frozen=True)
class VideoFile:
    """A video file, or one that lies within another file.

    Attributes:
        source: A path, or a region of a file.
        thread_type: How ffmpeg decodes in parallel; "NONE" where several files are read at once.
    """

    source: Path | Region
    thread_type: str = "AUTO"

    @property
    def name(self) -> str:
        """The path, or the archive and the member."""
        return str(self.source)

    def extent(self) -> tuple[float, float]:
        """See `Media.extent`."""
        return _extent(self.source)

    def told_end(self) -> float:
        """See `Media.told_end`."""
        return _told_end(self.source)

    def frames(
        self, times: Sequence[float], slack: float, skipped: list[SkippedPacket]
    ) -> Iterator[Image]:
        """See `Media.frames`."""
        source = open_source(self.source, self.thread_type)
        if times[0] >= source.declared_end:  # which may be wrong
            source.container.close()
            last = self.extent()[1]
            if times[0] >= last + slack:
                raise VideoError(f"{self.name}: ends at {last:.4g} s, before {times[0]:.4g} s")
            source = open_source(self.source, self.thread_type)
        decoded = decode(source, skipped, float(times[0]))
        to_rgb, shown, image = RgbConverter(self.name, skipped), None, None
        try:
            for frame in at_times(decoded, list(map(float, times)), slack):
                if image is None or frame is not shown:
                    image, shown = to_rgb(frame.picture, frame.aspect), frame
                yield image
        finally:
            decoded.close()
        if shown is None:
            raise _nothing(self.name, float(times[0]), skipped)


def _nothing(name: str, start: float, skipped: Sequence[SkippedPacket]) -> VideoError:
    why = f": {skipped[0].reason}" if skipped else ""
    return VideoError(f"{name}: no frame from {start:.3g} s on can be decoded{why}")


@functools.lru_cache(maxsize=100_000)
def _extent(source: Path | Region) -> tuple[float, float]:
    """The extent of a file; kept, since finding it reads through all packets."""
    return extent(source)


@functools.lru_cache(maxsize=100_000)
def _told_end(path: Path | Region) -> float:
    """What the header says; kept, since every clip asks."""
    source = open_source(path, "NONE")
    with source.container:
        end = source.declared_end if source.tells_length else 0.0
    return end if math.isfinite(end) else 0.0

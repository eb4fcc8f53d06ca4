"""Video behind one door, wherever its bytes are: prediction and data sets read it here."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from movinet.errors import VideoError
from movinet.video.container import Region, SkippedPacket, open_source
from movinet.video.decoding import decode, extent
from movinet.video.inspection import check_file, decode_part, header_of
from movinet.video.pixels import Frame, Image, RgbConverter
from movinet.video.reader import Header, ThreadType, VideoInfo, VideoReader
from movinet.video.sampling import at_times


class Media(Protocol):
    """Video that can be read at any times; small, hashable and picklable.

    It names the bytes and does not hold them. `VideoFile` is one for what ffmpeg reads; separate
    pictures become one with `movinet.video.sequence.FrameSequence`.
    """

    @property
    def name(self) -> str:
        """For messages: a path, or an archive and what is in it."""
        ...

    @property
    def path(self) -> Path | None:
        """The file or folder that is this video and nothing else; None within another file."""
        ...

    @property
    def given_rate(self) -> float | None:
        """Frames per second that must be given with `path`; None if they are stored."""
        ...

    @property
    def video_file(self) -> Path | Region | None:
        """The bytes of a video file that others can read; None if it is stored as pictures."""
        ...

    def files(self) -> tuple[Path | Region, ...]:
        """Where all of its bytes are, in order; none if they are in memory."""
        ...

    def info(self) -> VideoInfo:
        """Size, rate and format; the first picture is decoded, nothing is read through.

        Raises:
            VideoError: If it cannot be read, or not one picture be decoded.
        """
        ...

    def header(self) -> Header:
        """Length, size and rate; read through only where no header states the length.

        One picture is decoded; its size is that of what is shown.

        Raises:
            VideoError: If it cannot be opened.
        """
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

    def stream(
        self,
        frame_rate: float,
        *,
        start: float | None = None,
        end: float | None = None,
        offset: float = 0.0,
    ) -> AbstractContextManager[tuple[Iterator[Frame], list[SkippedPacket]]]:
        """The frames on screen at `offset` + k / `frame_rate` seconds, read from front to back.

        Memory does not grow with the length.

        Args:
            frame_rate: Frames per second.
            start: Omit what is before this time, seconds.
            end: Stop before this time, seconds.
            offset: Of the times, seconds.

        Returns:
            Gives the frames, and what could not be decoded and notes: a list that grows as frames
            are taken.

        Raises:
            ConfigError: If a number is not allowed.
            VideoError: On entering and while frames are taken, if it cannot be read.
        """
        ...

    def check(self, start: float, end: float) -> tuple[int, str]:
        """Look for damage without decoding.

        Returns:
            Frames stored between two times, seconds, and what is wrong with how it is stored; empty
            if nothing was found.

        Raises:
            VideoError: If it cannot be opened.
        """
        ...

    def decode_all(self, start: float, end: float, skipped: list[SkippedPacket]) -> None:
        """Decode every frame between two times, seconds, only to see whether it can be.

        Raises:
            VideoError: If it cannot be opened.
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
    thread_type: ThreadType = "AUTO"

    @property
    def name(self) -> str:
        """The path, or the archive and the member."""
        return str(self.source)

    @property
    def path(self) -> Path | None:
        """See `Media.path`."""
        return self.source if isinstance(self.source, Path) else None

    @property
    def given_rate(self) -> float | None:
        """See `Media.given_rate`."""
        return None

    @property
    def video_file(self) -> Path | Region | None:
        """See `Media.video_file`."""
        return self.source

    def files(self) -> tuple[Path | Region, ...]:
        """See `Media.files`."""
        return (self.source,)

    def info(self) -> VideoInfo:
        """See `Media.info`."""
        with VideoReader(self.source, thread_type=self.thread_type) as reader:
            return reader.info

    def header(self) -> Header:
        """See `Media.header`."""
        return header_of(self.source, self.thread_type)

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

    @contextmanager
    def stream(
        self,
        frame_rate: float,
        *,
        start: float | None = None,
        end: float | None = None,
        offset: float = 0.0,
    ) -> Iterator[tuple[Iterator[Frame], list[SkippedPacket]]]:
        """See `Media.stream`."""
        with VideoReader(
            self.source,
            start=start,
            end=end,
            frame_rate=frame_rate,
            offset=offset,
            thread_type=self.thread_type,
        ) as reader:
            yield iter(reader), reader.skipped

    def check(self, start: float, end: float) -> tuple[int, str]:
        """See `Media.check`."""
        return check_file(self.source, self.thread_type, start, end)

    def decode_all(self, start: float, end: float, skipped: list[SkippedPacket]) -> None:
        """See `Media.decode_all`."""
        decode_part(self.source, self.thread_type, (start, end), skipped)


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

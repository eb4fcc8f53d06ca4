"""Pictures at given times behind the protocol of stored video."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from movinet.errors import VideoError
from movinet.video.container import Region, SkippedPacket
from movinet.video.pixels import Frame, Image
from movinet.video.reader import Header, VideoInfo, check_range
from movinet.video.sampling import at_rate, check_rate, tolerance


class Moment(NamedTuple):
    """When a picture of a sequence appears.

    Attributes:
        time: Seconds.
        place: Which picture it is, from 0.
    """

    time: float
    place: int


class FrameSequence(ABC):
    """A video of separate pictures: `movinet.video.Media` for a class that can give each of them.

    A picture that cannot be decoded is replaced by the last one before it that can, or else by the
    first one.
    """

    frame_rate: float

    @property
    @abstractmethod
    def name(self) -> str:
        """See `Media.name`."""

    @abstractmethod
    def places(self) -> NDArray[np.int64]:
        """(pictures,) when each one appears, counted in frames, increasing from 0; at least one.

        Raises:
            VideoError: If there is none.
        """

    @abstractmethod
    def picture(self, index: int, skipped: list[SkippedPacket]) -> Image | None:
        """One of them; None, with an entry in `skipped`, if it cannot be decoded."""

    @property
    def path(self) -> Path | None:
        """See `Media.path`."""
        return None

    @property
    def given_rate(self) -> float | None:
        """See `Media.given_rate`."""
        return None

    @property
    def video_file(self) -> Path | Region | None:
        """See `Media.video_file`."""
        return None

    def files(self) -> tuple[Path | Region, ...]:
        """See `Media.files`."""
        return ()

    def times(self) -> NDArray[np.float64]:
        """(pictures,) when each one appears, seconds.

        Raises:
            VideoError: If there is none.
        """
        return self.places() / self.frame_rate

    def notes(self) -> list[SkippedPacket]:
        """What is doubtful about the times."""
        return []

    def extent(self) -> tuple[float, float]:
        """See `Media.extent`."""
        return 0.0, (int(self.places()[-1]) + 1) / self.frame_rate

    def told_end(self) -> float:
        """See `Media.told_end`."""
        return self.extent()[1]

    def info(self) -> VideoInfo:
        """See `Media.info`."""
        first = next(self.frames([0.0], 0.0, []))
        return VideoInfo(
            width=first.shape[1],
            height=first.shape[0],
            frame_rate=self.frame_rate,
            duration=self.extent()[1],
            rotation=0,
            codec="pictures",
            pixel_format="rgb24",
        )

    def header(self) -> Header:
        """See `Media.header`."""
        info = self.info()
        return Header(self.extent()[1], info.width, info.height, self.frame_rate)

    def frames(
        self, times: Sequence[float], slack: float, skipped: list[SkippedPacket]
    ) -> Iterator[Image]:
        """See `Media.frames`."""
        starts = self.times()
        add_notes(skipped, self.notes())
        shown = _Shown(self, len(starts), skipped)
        places = np.searchsorted(starts, np.asarray(times, np.float64) + slack, side="right") - 1
        for index in np.maximum(places, 0).tolist():
            yield shown.at(index)

    @contextlib.contextmanager
    def stream(
        self,
        frame_rate: float,
        *,
        start: float | None = None,
        end: float | None = None,
        offset: float = 0.0,
    ) -> Iterator[tuple[Iterator[Frame], list[SkippedPacket]]]:
        """See `Media.stream`."""
        check_range(start, end)
        check_rate(frame_rate)
        skipped = self.notes()
        yield self._stream(frame_rate, start or 0.0, end, offset, skipped), skipped

    def _stream(
        self,
        frame_rate: float,
        start: float,
        end: float | None,
        offset: float,
        skipped: list[SkippedPacket],
    ) -> Iterator[Frame]:
        starts, slack = self.times(), 0.5 * tolerance(frame_rate)
        shown = _Shown(self, len(starts), skipped)
        first = max(0, int(np.searchsorted(starts, start - slack, side="right")) - 1)
        moments = (Moment(float(starts[i]), i) for i in range(first, len(starts)))
        stay = 1 / self.frame_rate
        for tick, moment in at_rate(moments, frame_rate, offset=offset, stay_of=lambda _: stay):
            if end is not None and tick >= end - slack:
                return
            if tick >= start - slack:
                yield Frame(tick, shown.at(moment.place))

    def check(self, start: float, end: float) -> tuple[int, str]:
        """See `Media.check`."""
        times = self.times()
        return int(np.sum((times >= start - 1e-6) & (times < end - 1e-6))), ""

    def decode_all(self, start: float, end: float, skipped: list[SkippedPacket]) -> None:
        """See `Media.decode_all`."""
        for index, time in enumerate(self.times().tolist()):
            if start - 1e-6 <= time < end - 1e-6:
                self.picture(index, skipped)


class _Shown:
    """The picture that is on screen while those after it are asked for in order."""

    def __init__(self, sequence: FrameSequence, count: int, skipped: list[SkippedPacket]) -> None:
        self._sequence, self._count, self._skipped = sequence, count, skipped
        self._index, self._image = -1, None

    def at(self, index: int) -> Image:
        """The picture with this index, the same array as long as it is the same."""
        if index == self._index:
            assert self._image is not None
            return self._image
        image = self._sequence.picture(index, self._skipped)
        if image is not None:
            self._note_size(image, index)
            self._image = image
        elif self._image is None:
            self._image = self._nearest(index)
        self._index = index
        return self._image

    def _nearest(self, index: int) -> Image:
        """The last one before a picture that cannot be decoded, or else the first one."""
        faults: list[SkippedPacket] = []
        for other in (*range(index - 1, -1, -1), *range(index + 1, self._count)):
            if (image := self._sequence.picture(other, faults)) is not None:
                return image
        reason = self._skipped[-1].reason if self._skipped else "unreadable"
        raise VideoError(f"{self._sequence.name}: not one picture can be decoded ({reason})")

    def _note_size(self, image: Image, index: int) -> None:
        if self._image is None or self._image.shape == image.shape:
            return
        before, now = (f"{i.shape[1]}x{i.shape[0]}" for i in (self._image, image))
        time = float(self._sequence.times()[index])
        if not any(n.note and n.reason.startswith("pictures change size") for n in self._skipped):
            reason = f"pictures change size from {before} to {now} pixels"
            self._skipped.append(SkippedPacket(time, reason, note=True))


def add_notes(skipped: list[SkippedPacket], notes: Sequence[SkippedPacket]) -> None:
    """Append those that are not there yet."""
    skipped += [note for note in notes if note not in skipped]

"""What every data set gives: labelled pieces of video, whatever they are stored in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from movinet.video.container import SkippedPacket

#: (height, width, 3) uint8 RGB of the stored size.
Image = NDArray[np.uint8]


class Media(Protocol):
    """Stored video, wherever its bytes lie: a file, a member of a shard, JPEG frames in a record.

    Small and picklable: it names the bytes and does not hold them.
    """

    @property
    def name(self) -> str:
        """For messages: a path, or a shard and what is in it."""
        ...

    def extent(self) -> tuple[float, float]:
        """When the first frame appears and the last one goes, seconds.

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
            skipped: Packets that could not be decoded are appended here.

        Raises:
            VideoError: If it cannot be read, or no frame can be decoded.
        """
        ...


@dataclass(frozen=True)
class Sample:
    """One labelled piece of video.

    Attributes:
        key: Names the sample in its data set; stable, each once.
        media: The video that it is a piece of.
        labels: Classes, by their index in `DataSet.labels`; one in single-label data.
        start: Where the piece begins in the video, seconds; None is its beginning.
        end: Where it ends, seconds; None is its end.
        group: What must not be split between training and validation (a subject, a recording).
    """

    key: str
    media: Media
    labels: tuple[int, ...]
    start: float | None = None
    end: float | None = None
    group: str | None = None


@dataclass(frozen=True)
class DataSet:
    """Samples and the names of their classes.

    Attributes:
        name: Where it came from, for messages.
        samples: In a stable order.
        labels: Names of the classes, in the order of a model's outputs.
        multi_label: Whether a sample may have any number of labels.
    """

    name: str
    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.samples)



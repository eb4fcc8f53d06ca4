"""What every data set gives: labelled pieces of video, whatever they are stored in."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import NamedTuple

from movinet.text import printable
from movinet.video.media import Media


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

    @property
    def part(self) -> Part:
        """The piece of video that it is, whatever it is called."""
        return Part(self.media, self.start, self.end)


class Part(NamedTuple):
    """What identifies a sample in any data set: a piece of a video.

    Attributes:
        media: See `Sample`.
        start: See `Sample`.
        end: See `Sample`.
    """

    media: Media
    start: float | None
    end: float | None


class Labelled(NamedTuple):
    """A sample as a source finds it, with the names of its classes.

    Attributes:
        key: See `Sample`.
        media: See `Sample`.
        labels: Names; numbers, counted from 0, where the source has no names.
        where: File and line, for messages.
        start: See `Sample`.
        end: See `Sample`.
        group: See `Sample`.
    """

    key: str
    media: Media
    labels: tuple[str | int, ...]
    where: str
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

    def repeats(self) -> list[int]:
        """Indices of the samples that are the same piece of video as an earlier one."""
        seen: set[Part] = set()
        found = []
        for index, sample in enumerate(self.samples):
            if sample.part in seen:
                found.append(index)
            seen.add(sample.part)
        return found

    def warn_of_repeats(self) -> None:
        """Warn if figures measured on the samples count some more than once.

        Warns:
            UserWarning: If samples are repeated.
        """
        if repeats := self.repeats():
            warnings.warn(
                printable(
                    f"{self.name}: {len(repeats)} of {len(self)} samples repeat earlier ones and "
                    "count again in the figures; list each once to measure with"
                ),
                stacklevel=3,
            )

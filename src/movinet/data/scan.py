"""What a data set has: samples, seconds, sizes and rates of each class; and it as a manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from movinet.data.annotations import Row, write_rows
from movinet.data.samples import DataSet, Sample
from movinet.errors import ConfigError, VideoError
from movinet.text import is_file_name
from movinet.video.media import Media
from movinet.video.reader import Header

Progress = Callable[[int, int], None]


@dataclass
class Contents:
    """What some samples have together.

    Attributes:
        samples: How many.
        seconds: Their length together; of those that can be opened.
        sizes: How many have which (width, height).
        rates: How many have which frame rate, frames per second.
    """

    samples: int = 0
    seconds: float = 0.0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    rates: Counter[float] = field(default_factory=Counter)

    def add(self, seconds: float | None, header: Header | None) -> None:
        """Count a sample; None for what cannot be opened."""
        self.samples += 1
        if header is not None and seconds is not None:
            self.seconds += seconds
            self.sizes[header.width, header.height] += 1
            self.rates[round(header.rate, 2)] += 1


@dataclass(frozen=True)
class Scan:
    """What a data set has.

    Attributes:
        classes: By label, in the order of the data set's.
        total: Of all samples; with several labels a sample counts once.
        unreadable: Name and reason of those that cannot be opened.
    """

    classes: dict[str, Contents]
    total: Contents
    unreadable: list[tuple[str, str]]


def scan_data(data: DataSet, *, workers: int = 1, progress: Progress | None = None) -> Scan:
    """Ask every video for its length, size and rate.

    Headers are read and pictures are not: it is quick, and finds no damage behind them.

    Args:
        data: The data set.
        workers: Threads.
        progress: Called with the videos looked at and all videos.
    """
    scan = Scan({label: Contents() for label in data.labels}, Contents(), [])
    headers = _headers(data, workers, progress)
    for sample in data.samples:
        header, seconds = headers[sample.media], None
        if isinstance(header, str):
            scan.unreadable.append((sample.media.name, header))
            header = None
        else:
            seconds = _seconds(sample, header)
        for contents in (scan.total, *(scan.classes[data.labels[c]] for c in sample.labels)):
            contents.add(seconds, header)
    return scan


def _headers(data: DataSet, workers: int, progress: Progress | None) -> dict[Media, Header | str]:
    """Of each video its header, or why it cannot be opened."""
    media = list(dict.fromkeys(sample.media for sample in data.samples))
    found = {}
    pool = ThreadPoolExecutor(workers)
    try:
        for number, header in enumerate(pool.map(_header, media)):
            found[media[number]] = header
            if progress is not None:
                progress(number + 1, len(media))
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _header(media: Media) -> Header | str:
    try:
        return media.header()
    except VideoError as error:
        return str(error).removeprefix(f"{media.name}: ")


def _seconds(sample: Sample, header: Header) -> float:
    """The length of a sample's part of its video."""
    end = header.seconds if sample.end is None else min(sample.end, header.seconds)
    return max(0.0, end - (sample.start or 0.0))


def write_samples(path: Path, data: DataSet, indices: Iterable[int]) -> None:
    """Write some samples of a data set as a manifest.

    Paths of videos below the folder of the manifest are relative, so that both can be moved
    together; others are absolute.

    Raises:
        ConfigError: If the samples lie in shards or records, or a name cannot be written.
        OSError: If the manifest cannot be written.
    """
    folder = path.parent.absolute()
    write_rows(path, [_row(data, index, folder) for index in indices])


def _row(data: DataSet, index: int, folder: Path) -> Row:
    sample = data.samples[index]
    media = sample.media
    if media.path is None:
        raise ConfigError(
            f"{media.name}: a manifest names files, and this sample lies within one; shards and "
            "records are trained on as they are"
        )
    video = media.path.absolute()
    name = str(video.relative_to(folder) if video.is_relative_to(folder) else video)
    if not is_file_name(name):
        raise ConfigError(
            f"{name!r}: a manifest cannot hold a name with line ends or control characters; rename "
            "the file"
        )
    labels = tuple(data.labels[c] for c in sample.labels)
    return Row(name, labels, sample.start, sample.end, sample.group, frame_rate=media.given_rate)
